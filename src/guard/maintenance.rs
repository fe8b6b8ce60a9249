//! Maintenance: on while `system.json` says so or while it was switched on by signal. The latter is kept in a marker
//! file, `NAME.maintenance`, and so outlives restart and reboot.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::client_addr::ClientAddr;
use super::refusal::Refusal;
use super::rules::Rules;
use super::state_file;
use crate::config::LogName;

/// The state of maintenance of one log.
///
/// What runs while the service does not (the operator's tool) opens it too, to switch an instance that is not there.
pub struct Maintenance {
    by_signal: AtomicBool,
    marker: PathBuf,
    /// held while the marker is changed
    changing: Mutex<()>,
}

impl Maintenance {
    /// The state as the marker file in the state directory has it. Only its presence counts, not its content.
    #[must_use]
    pub fn open(state_dir: &Path, log: &LogName) -> Self {
        let marker = state_file::state_file(state_dir, log, "maintenance");
        let by_signal = marker.try_exists().unwrap_or_else(|error| {
            let path = marker.display();
            crate::event!(warn, STATE_FILE_BROKEN; "{path} cannot be looked for ({error}), taken as absent");
            false
        });
        Self { by_signal: AtomicBool::new(by_signal), marker, changing: Mutex::new(()) }
    }

    /// Whether it is on, for whatever reason.
    #[must_use]
    pub fn is_on(&self, rules: &Rules) -> bool {
        rules.system.maintenance_mode || self.is_on_by_signal()
    }

    /// Whether it is on by signal; `maintenance_mode` in `system.json` may keep it on without.
    #[must_use]
    pub fn is_on_by_signal(&self) -> bool {
        self.by_signal.load(Ordering::Acquire)
    }

    /// Switches it. The new state is in force at once; when this returns without an error, it is also on disk.
    /// Blocks: call it where blocking is allowed.
    ///
    /// # Errors
    /// When the marker cannot be written or removed: the state is in force, but would not survive a restart.
    pub fn set_by_signal(&self, on: bool) -> io::Result<()> {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let was_on = self.by_signal.swap(on, Ordering::AcqRel);
        let outcome = if on {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            state_file::replace(&self.marker, format!("{{\"since\":{since}}}\n").as_bytes())
        } else {
            state_file::remove(&self.marker)
        };
        drop(changing);
        if was_on != on {
            let word = if on { "on" } else { "off" };
            match (&outcome, on) {
                (Ok(()), true) => crate::event!(info, MAINTENANCE_ON; "maintenance by signal is {word}"),
                (Ok(()), false) => crate::event!(info, MAINTENANCE_OFF; "maintenance by signal is {word}"),
                (Err(error), true) => crate::event!(
                    error, MAINTENANCE_ON;
                    "maintenance by signal is {word}, but would not survive a restart: {error}"
                ),
                (Err(error), false) => crate::event!(
                    error, MAINTENANCE_OFF;
                    "maintenance by signal is {word}, but would not survive a restart: {error}"
                ),
            }
        }
        outcome
    }

    /// Refuses whoever is not in `maintenance_mode_whitelist` while it is on; the admin socket always passes.
    pub(super) fn check(&self, rules: &Rules, client: &ClientAddr) -> Result<(), Refusal> {
        match client {
            ClientAddr::Ip(address)
                if self.is_on(rules) && !rules.system.maintenance_mode_whitelist.contains(*address) =>
            {
                Err(Refusal::Maintenance)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::config::{Files, IpSet, System};
    use crate::guard::testing;

    fn rules(on: bool) -> Rules {
        let system = System {
            maintenance_mode: on,
            maintenance_mode_whitelist: IpSet::from_texts(["192.0.2.0/24"]).unwrap(),
            ..testing::system()
        };
        Rules::new(&Files { system, ..testing::files() })
    }

    #[test]
    fn kept_across_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let name: LogName = "a log".parse().unwrap();
        let open = || Maintenance::open(dir.path(), &name);
        assert!(!open().is_on_by_signal());
        for _ in 0..2 {
            open().set_by_signal(true).unwrap();
            assert!(open().is_on_by_signal());
        }
        assert!(!Maintenance::open(dir.path(), &"other".parse().unwrap()).is_on_by_signal());
        for _ in 0..2 {
            open().set_by_signal(false).unwrap();
            assert!(!open().is_on_by_signal());
        }
    }

    #[test]
    fn either_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let maintenance = Maintenance::open(dir.path(), &"a".parse().unwrap());
        assert!(!maintenance.is_on(&rules(false)) && maintenance.is_on(&rules(true)));
        maintenance.set_by_signal(true).unwrap();
        assert!(maintenance.is_on(&rules(false)) && maintenance.is_on(&rules(true)));
    }

    #[test]
    fn who_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let maintenance = Maintenance::open(dir.path(), &"a".parse().unwrap());
        let client = |text: &str| ClientAddr::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(maintenance.check(&rules(false), &client("203.0.113.7")), Ok(()));
        let on = rules(true);
        assert_eq!(maintenance.check(&on, &client("203.0.113.7")), Err(Refusal::Maintenance));
        assert_eq!(maintenance.check(&on, &client("127.0.0.1")), Err(Refusal::Maintenance));
        assert_eq!(maintenance.check(&on, &client("192.0.2.9")), Ok(()));
        assert_eq!(maintenance.check(&on, &ClientAddr::Local), Ok(()));
    }

    #[test]
    fn a_change_that_cannot_be_kept_is_in_force_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let maintenance = Maintenance::open(&dir.path().join("missing"), &"a".parse().unwrap());
        assert!(maintenance.set_by_signal(true).is_err());
        assert!(maintenance.is_on_by_signal());
    }
}
