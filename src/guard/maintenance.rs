//! Keeps the maintenance mode, which is on while `system.json` sets it or after a signal switched
//! it on.
//!
//! The marker file `NAME.maintenance` keeps the state of the signal, so that it survives restart
//! and reboot.

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

/// The maintenance mode of one log.
///
/// `mocactl` opens it too, to switch the mode of an instance that does not run.
pub struct Maintenance {
    by_signal: AtomicBool,
    marker: PathBuf,
    /// Held while the marker file changes.
    changing: Mutex<()>,
    /// False when the last change of the marker file failed.
    is_saved: AtomicBool,
}

impl Maintenance {
    /// Reads the state from the marker file in the state directory. The presence of the file
    /// counts, not its content.
    #[must_use]
    pub fn open(state_dir: &Path, log: &LogName) -> Self {
        let marker = state_file::state_file(state_dir, log, "maintenance");
        let by_signal = marker.try_exists().unwrap_or_else(|error| {
            let path = marker.display();
            crate::event!(warn, STATE_FILE_BROKEN; "{path} cannot be looked for ({error}), taken as absent");
            false
        });
        Self {
            by_signal: AtomicBool::new(by_signal),
            marker,
            changing: Mutex::new(()),
            is_saved: AtomicBool::new(true),
        }
    }

    /// Returns whether maintenance is on, by configuration or by signal.
    #[must_use]
    pub fn is_on(&self, rules: &Rules) -> bool {
        rules.system.maintenance_mode || self.is_on_by_signal()
    }

    /// Returns whether maintenance is on by signal, regardless of `maintenance_mode` in
    /// `system.json`.
    #[must_use]
    pub fn is_on_by_signal(&self) -> bool {
        self.by_signal.load(Ordering::Acquire)
    }

    /// Switches maintenance on or off, at once and on disk. Blocks.
    ///
    /// # Errors
    /// Fails when the marker cannot be written or removed. The new state then applies, but does not
    /// survive a restart.
    pub fn set_by_signal(&self, on: bool) -> io::Result<()> {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let was_on = self.by_signal.swap(on, Ordering::AcqRel);
        let outcome = if on { self.write_marker() } else { state_file::remove(&self.marker) };
        self.is_saved.store(outcome.is_ok(), Ordering::Relaxed);
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

    /// Returns whether the state on disk is the one in force, as far as is known.
    pub(super) fn is_saved(&self) -> bool {
        self.is_saved.load(Ordering::Relaxed)
    }

    /// Writes the marker file again if maintenance is on by signal: another program removed the
    /// directory. Blocks.
    pub(super) fn save_again(&self) -> io::Result<()> {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = if self.is_on_by_signal() { self.write_marker() } else { Ok(()) };
        self.is_saved.store(outcome.is_ok(), Ordering::Relaxed);
        drop(changing);
        outcome
    }

    fn write_marker(&self) -> io::Result<()> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        state_file::replace(&self.marker, format!("{{\"since\":{since}}}\n").as_bytes())
    }

    /// Refuses clients outside `maintenance_mode_whitelist` while maintenance is on. The admin
    /// socket always passes.
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
    fn the_state_survives_a_restart() {
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
    fn the_configuration_or_a_signal_switches_it_on() {
        let dir = tempfile::tempdir().unwrap();
        let maintenance = Maintenance::open(dir.path(), &"a".parse().unwrap());
        assert!(!maintenance.is_on(&rules(false)) && maintenance.is_on(&rules(true)));
        maintenance.set_by_signal(true).unwrap();
        assert!(maintenance.is_on(&rules(false)) && maintenance.is_on(&rules(true)));
    }

    #[test]
    fn whitelist_and_admin_socket_pass() {
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
    fn a_change_applies_even_if_it_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let not_a_directory = dir.path().join("file");
        std::fs::write(&not_a_directory, "").unwrap();
        let maintenance = Maintenance::open(&not_a_directory, &"a".parse().unwrap());
        assert!(maintenance.set_by_signal(true).is_err());
        assert!(maintenance.is_on_by_signal() && !maintenance.is_saved());
    }

    #[test]
    fn removed_directory_is_made_again_while_maintenance_is_on() {
        let dir = tempfile::tempdir().unwrap();
        let (state, name) = (dir.path().join("state"), "a".parse().unwrap());
        std::fs::create_dir(&state).unwrap();
        let maintenance = Maintenance::open(&state, &name);
        maintenance.save_again().unwrap();
        assert!(!Maintenance::open(&state, &name).is_on_by_signal());
        maintenance.set_by_signal(true).unwrap();
        std::fs::remove_dir_all(&state).unwrap();
        maintenance.save_again().unwrap();
        assert!(Maintenance::open(&state, &name).is_on_by_signal() && maintenance.is_saved());
    }
}
