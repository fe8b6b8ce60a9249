//! Reads the state of instances and describes each by one word.

use crate::config::LogName;
use crate::ctl::error::Error;
use crate::ctl::paths::Directories;
use crate::ctl::system::systemctl::{self, UnitProperties};
use crate::ctl::system::units::Units;

/// The state of an instance that answers requests. A request to an instance in another state may
/// start it.
pub(crate) const RUNNING: &str = "running";

/// The state of an instance that does not run and that no request starts.
pub(crate) const STOPPED: &str = "stopped";

/// The state of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) word: &'static str,
    /// Set if only the file of an admin socket says that the instance runs, which may be left over
    /// from a process that was killed. This is the state if no process listens on the socket.
    pub(crate) unless_it_listens: Option<&'static str>,
}

/// Reads the states of the instances of an installation.
pub(crate) struct StateReader<'d> {
    directories: &'d Directories,
    has_systemd: bool,
}

impl<'d> StateReader<'d> {
    pub(crate) fn new(directories: &'d Directories) -> Self {
        Self { directories, has_systemd: true }
    }

    /// Returns whether systemd told the states of its units.
    pub(crate) fn has_systemd(&self) -> bool {
        self.has_systemd
    }

    /// Returns the state of each log, in the order of the names.
    pub(crate) fn read(&mut self, names: &[LogName]) -> Result<Vec<State>, Error> {
        let units: Vec<Units> = names.iter().map(Units::of).collect::<Result<_, _>>()?;
        // Without systemd it is asked once only.
        let known = if self.has_systemd { of_units(&units)? } else { None };
        self.has_systemd = known.is_some();
        let mut states = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let word = known.as_ref().and_then(|known| known.get(index).copied()).unwrap_or(STOPPED);
            let may_run = matches!(word, STOPPED | "failed");
            states.push(if may_run && has_own_socket(name, self.directories, self.has_systemd)? {
                State { word: RUNNING, unless_it_listens: Some(word) }
            } else {
                State { word, unless_it_listens: None }
            });
        }
        Ok(states)
    }
}

/// Returns whether there is an admin socket that systemd does not hold, so that a server which
/// systemd did not start may listen there. A request to a socket of systemd would start the service.
pub(crate) fn has_own_socket(
    name: &LogName,
    directories: &Directories,
    has_systemd: bool,
) -> Result<bool, Error> {
    let socket = directories.admin_socket(name);
    if !socket.exists() {
        return Ok(false);
    }
    if !has_systemd || !directories.are_installed() || !socket.starts_with(&directories.run) {
        return Ok(true);
    }
    let shown = systemctl::show(&[Units::of(name)?.admin], &["ActiveState"])?;
    Ok(shown.is_none_or(|shown| shown.first().is_none_or(|unit| unit.get("ActiveState") != "active")))
}

/// Returns the state of each log by its units, or `None` on a machine without systemd.
fn of_units(units: &[Units]) -> Result<Option<Vec<&'static str>>, Error> {
    let both: Vec<String> =
        units.iter().flat_map(|units| [units.service.clone(), units.socket.clone()]).collect();
    let Some(shown) = systemctl::show(&both, &["Id", "ActiveState", "SubState"])? else { return Ok(None) };
    let (service, socket) = (|index| shown.get(2 * index), |index| shown.get(2 * index + 1));
    Ok(Some((0..units.len()).map(|index| state(service(index), socket(index))).collect()))
}

/// Returns one word for the state of both units.
fn state(service: Option<&UnitProperties>, socket: Option<&UnitProperties>) -> &'static str {
    match service.map_or("", |service| service.get("ActiveState")) {
        "active" | "reloading" => RUNNING,
        "activating" if service.is_some_and(|s| s.get("SubState").starts_with("auto-restart")) => {
            "restarting"
        }
        "activating" => "starting",
        "deactivating" => "stopping",
        "failed" => "failed",
        // The first request starts the service.
        _ if socket.is_some_and(|socket| socket.get("ActiveState") == "active") => "waiting",
        _ => STOPPED,
    }
}
