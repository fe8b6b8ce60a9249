//! Reads the state of instances and describes each by one word.

use crate::config::LogName;
use crate::ctl::error::Error;
use crate::ctl::paths::Directories;
use crate::ctl::system::systemctl::{self, UnitProperties};
use crate::ctl::system::units::Units;

/// The state of an instance that answers requests. A request to an instance in another state may
/// start it.
pub(crate) const RUNNING: &str = "running";

/// Returns the state of each log, or `None` on a machine without systemd.
pub(crate) fn states(units: &[Units]) -> Result<Option<Vec<&'static str>>, Error> {
    let both: Vec<String> =
        units.iter().flat_map(|units| [units.service.clone(), units.socket.clone()]).collect();
    let Some(shown) = systemctl::show(&both, &["Id", "ActiveState", "SubState"])? else { return Ok(None) };
    let (service, socket) = (|index| shown.get(2 * index), |index| shown.get(2 * index + 1));
    Ok(Some((0..units.len()).map(|index| state(service(index), socket(index))).collect()))
}

/// Returns the state on a machine without systemd. A log with an admin socket counts as running.
pub(crate) fn state_by_socket(name: &LogName, directories: &Directories) -> &'static str {
    if directories.admin_socket(name).exists() { RUNNING } else { "stopped" }
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
        _ => "stopped",
    }
}
