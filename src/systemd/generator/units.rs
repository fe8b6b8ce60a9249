//! The names of the units and places that belong to a log.

use super::escape::escape;
use crate::config::LogName;

/// The unit that an operator enables; everything else hangs on it.
pub const TARGET: &str = "moca-file-log.target";

/// The length that systemd allows to the name of a unit.
const LONGEST_UNIT: usize = 255;

/// The length that the kernel allows to the path of a socket.
const LONGEST_SOCKET: usize = 107;

/// The service of a log.
#[must_use]
pub fn service_unit(name: &LogName) -> String {
    format!("moca-file-log@{}.service", escape(name.as_str()))
}

/// The socket unit of a log's address.
#[must_use]
pub fn socket_unit(name: &LogName) -> String {
    format!("moca-file-log@{}.socket", escape(name.as_str()))
}

/// The socket unit by which `mocactl` talks to a log.
#[must_use]
pub fn admin_socket_unit(name: &LogName) -> String {
    format!("moca-file-log-admin@{}.socket", escape(name.as_str()))
}

/// The path of that socket.
#[must_use]
pub fn admin_path(name: &LogName) -> String {
    format!("/run/moca-file-log/{name}.sock")
}

/// Why a log of this name can have no units.
pub(super) fn too_long(name: &LogName) -> Option<String> {
    let socket = admin_path(name).len();
    let unit = admin_socket_unit(name).len();
    if socket > LONGEST_SOCKET {
        let most = LONGEST_SOCKET + name.as_str().len() - socket;
        Some(format!("the name has {} bytes, expected at most {most} for its sockets", name.as_str().len()))
    } else if unit > LONGEST_UNIT {
        let over = unit - LONGEST_UNIT;
        Some(format!("the name is {over} bytes too long for systemd, where a special character counts four"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_name_may_be() {
        let wrong = |name: String| too_long(&name.parse().unwrap());
        assert_eq!(wrong("a".repeat(83)), None);
        assert!(wrong("a".repeat(84)).unwrap().contains("at most 83"));
        assert_eq!(wrong(" ".repeat(57)), None);
        assert!(wrong(" ".repeat(58)).unwrap().contains("4 bytes too long"));
    }
}
