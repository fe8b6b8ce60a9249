//! Makes the names of the units of a log.

use std::path::Path;

use crate::config::LogName;
use crate::ctl::error::Error;
use crate::exit::Exit;
use crate::systemd::generator::{
    Directories, Plan, admin_socket_unit, applied, datagram_socket_unit, service_unit, socket_unit,
    stream_socket_unit,
};

/// The target that starts all enabled units.
pub(crate) const TARGET: &str = "moca-file-log.target";

/// Names the units of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Units {
    pub(crate) service: String,
    pub(crate) socket: String,
    pub(crate) admin: String,
}

/// Maximum length of a unit name in systemd.
const MAX_UNIT_NAME_BYTES: usize = 255;

impl Units {
    pub(crate) fn of(log: &LogName) -> Result<Self, Error> {
        let units =
            Self { service: service_unit(log), socket: socket_unit(log), admin: admin_socket_unit(log) };
        if units.admin.len() > MAX_UNIT_NAME_BYTES {
            let message = format!("the name of log {:?} is too long for a unit of systemd", log.as_str());
            return Err(Error::new(Exit::Config, message));
        }
        Ok(units)
    }
}

/// Returns all units of these logs, the sockets first.
pub(crate) fn all_units(names: &[LogName]) -> Result<Vec<String>, Error> {
    // Without a plan in force, systemd has no other sockets.
    let plan = applied(&generated().snapshot).ok().flatten().unwrap_or_default();
    let mut all = Vec::with_capacity(3 * names.len());
    for name in names {
        let Units { service, socket, admin } = Units::of(name)?;
        all.extend([socket, admin]);
        all.extend(other_sockets(name, &plan));
        all.push(service);
    }
    Ok(all)
}

/// Returns the units of the sockets of a log that are not HTTP.
pub(crate) fn other_sockets(log: &LogName, plan: &Plan) -> Vec<String> {
    let Some(units) = plan.logs.get(log) else { return Vec::new() };
    let streams = (!units.sockets.streams.is_empty()).then(|| stream_socket_unit(log));
    let datagrams = (!units.sockets.datagrams.is_empty()).then(|| datagram_socket_unit(log));
    streams.into_iter().chain(datagrams).collect()
}

/// Returns the directories of the generator. Tests set a variable to give the generator and these commands
/// another root directory.
pub(crate) fn generated() -> Directories {
    let root = std::env::var_os("MOCA_FILE_LOG_ROOT").unwrap_or_else(|| "/".into());
    Directories::below(Path::new(&root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_for_a_unit_is_an_error() {
        let fits: LogName = "x".repeat(200).parse().unwrap();
        assert!(Units::of(&fits).is_ok());
        let long: LogName = "ü".repeat(100).parse().unwrap();
        assert!(Units::of(&long).unwrap_err().to_string().contains("too long"));
    }
}
