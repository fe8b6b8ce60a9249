//! Notifies the service manager (sd_notify(3)): ready, status, reloading, stopping, watchdog.
//!
//! Without a service manager nothing is sent. A failed notification is no error, since the service
//! works without it.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::record::Escaped;

/// Sends notifications to the service manager that the environment names.
#[derive(Debug, Clone)]
pub struct Notifier {
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Creates a notifier for the service manager of this process, if there is one.
    #[must_use]
    pub fn from_env() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled()
                .filter(|timeout| !timeout.is_zero())
                .map(|timeout| timeout / 2),
        }
    }

    /// Reports that the service is ready, after a start or a reload, with its status.
    pub fn ready(&self, status: &str) {
        send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// Sets the status line of `systemctl status`.
    pub fn status(&self, text: &str) {
        send(&[NotifyState::Status(&one_line(text))]);
    }

    /// Reports that a reload has begun. Call [`Self::ready`] at its end.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            // Without the time stamp, newer versions of systemd take the reload for failed and kill
            // the service.
            Err(error) => log::debug!("no monotonic clock for systemd: {error}"),
            Ok(now) => send(&[NotifyState::Reloading, now]),
        }
    }

    /// Reports that the service is stopping.
    pub fn stopping(&self) {
        send(&[NotifyState::Stopping]);
    }

    /// Asks for at least `by` more time for the current start or stop.
    pub fn extend_timeout(&self, by: Duration) {
        send(&[NotifyState::ExtendTimeoutUsec(u32::try_from(by.as_micros()).unwrap_or(u32::MAX))]);
    }

    /// Returns the interval for [`Self::watchdog`], half of the timeout of systemd; `None` if the
    /// watchdog is off.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Reports that the service is alive.
    pub fn watchdog(&self) {
        send(&[NotifyState::Watchdog]);
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::debug!("systemd was not notified: {error}");
    }
}

/// Escapes line breaks, which would start another assignment of the protocol.
fn one_line(text: &str) -> String {
    Escaped(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::child;
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    #[ignore = "runs in a child process of the other tests"]
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
    fn notifications_follow_the_protocol() {
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
    fn unreachable_or_absent_manager_is_no_error() {
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
    #[ignore = "runs in a child process of the other tests"]
    fn unwatched_in_child() {
        assert_eq!(Notifier::from_env().watchdog_interval(), None);
    }

    #[test]
    fn watchdog_is_off_without_a_timeout_or_for_another_process() {
        for (micros, process) in [("0", ""), ("", ""), ("30000000", "1")] {
            let mut child = child::command("systemd::notify::tests::unwatched_in_child");
            child.env("WATCHDOG_USEC", micros).env("WATCHDOG_PID", process);
            child::run(&mut child);
        }
    }
}
