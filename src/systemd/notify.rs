//! Telling systemd how the service is (`sd_notify(3)`): ready, its status line, reloading, stopping, alive.
//!
//! Silent where nobody listens, and never an error: a service must not fail because its supervisor did not hear it.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::record::Escaped;

/// Speaks to the service manager named by the environment.
#[derive(Debug, Clone)]
pub struct Notifier {
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The service manager of this process, or nobody.
    #[must_use]
    pub fn from_env() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled()
                .filter(|timeout| !timeout.is_zero())
                .map(|timeout| timeout / 2),
        }
    }

    /// The service serves: after the start, and after a reload.
    pub fn ready(&self, status: &str) {
        send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// Sets what `systemctl status` shows.
    pub fn status(&self, text: &str) {
        send(&[NotifyState::Status(&one_line(text))]);
    }

    /// The configuration is being read again; [`Self::ready`] follows when it is done.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            // without its time, newer versions take a reload for failed and kill the service: then say nothing
            Err(error) => log::debug!("no monotonic clock for systemd: {error}"),
            Ok(now) => send(&[NotifyState::Reloading, now]),
        }
    }

    /// The service stops: no more connections, those in flight are being answered.
    pub fn stopping(&self) {
        send(&[NotifyState::Stopping]);
    }

    /// Asks for at least this much more time for the start or stop in progress.
    pub fn extend_timeout(&self, by: Duration) {
        send(&[NotifyState::ExtendTimeoutUsec(u32::try_from(by.as_micros()).unwrap_or(u32::MAX))]);
    }

    /// How often [`Self::watchdog`] is due: half of what systemd allows; `None` when it does not watch.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The service is alive.
    pub fn watchdog(&self) {
        send(&[NotifyState::Watchdog]);
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd was not notified: {error}");
    }
}

/// A line break would begin the next assignment of the protocol.
fn one_line(text: &str) -> String {
    Escaped(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::child;
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    #[ignore = "run by the others as a child"]
    fn in_child() {
        let notifier = Notifier::from_env();
        assert_eq!(notifier.watchdog_interval(), Some(Duration::from_secs(15)));
        notifier.ready("18 records");
        notifier.status("a\nREADY=0");
        notifier.reloading();
        notifier.extend_timeout(Duration::from_secs(5));
        notifier.extend_timeout(Duration::from_secs(1 << 40));
        notifier.watchdog();
        notifier.stopping();
    }

    #[test]
    fn what_systemd_hears() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut child = child::command("systemd::notify::tests::in_child");
        child.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "30000000").env_remove("WATCHDOG_PID");
        child::run(&mut child);
        let mut heard = Vec::new();
        let mut buffer = [0; 1024];
        while let Ok(len) = socket.recv(&mut buffer) {
            heard.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
        }
        let reloading = heard.remove(2);
        let monotonic = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(monotonic.parse::<u64>().unwrap() > 0);
        assert_eq!(
            heard,
            [
                "READY=1\nSTATUS=18 records\n",
                "STATUS=a\\nREADY=0\n",
                "EXTEND_TIMEOUT_USEC=5000000\n",
                "EXTEND_TIMEOUT_USEC=4294967295\n",
                "WATCHDOG=1\n",
                "STOPPING=1\n",
            ]
        );
    }

    #[test]
    fn a_deaf_or_absent_manager_is_no_error() {
        let mut child = child::command("systemd::notify::tests::in_child");
        child
            .env("NOTIFY_SOCKET", "/nonexistent/notify")
            .env("WATCHDOG_USEC", "30000000")
            .env_remove("WATCHDOG_PID");
        child::run(&mut child);
        child.env_remove("NOTIFY_SOCKET");
        child::run(&mut child);
    }

    #[test]
    #[ignore = "run by the others as a child"]
    fn unwatched_in_child() {
        assert_eq!(Notifier::from_env().watchdog_interval(), None);
    }

    #[test]
    fn no_watchdog_without_time_or_for_another_process() {
        for (micros, process) in [("0", ""), ("", ""), ("30000000", "1")] {
            let mut child = child::command("systemd::notify::tests::unwatched_in_child");
            child.env("WATCHDOG_USEC", micros).env("WATCHDOG_PID", process);
            child::run(&mut child);
        }
    }
}
