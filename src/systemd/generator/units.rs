//! The names of the units and places that belong to a log.

use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::escape::escape;
use crate::config::LogName;

/// The unit that an operator enables; everything else hangs on it.
pub const TARGET: &str = "moca-file-log.target";

/// The length that systemd allows to the name of a unit.
const MAX_UNIT_NAME_BYTES: usize = 255;

/// The length that the kernel allows to the path of a socket.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// What systemd writes differently when it notes the path of an open socket for the time after a reload, and then does
/// not find again, so that the socket is closed; all that is not ASCII as well. The percent sign, because it says so.
const ENCODED_IN_PATHS: &AsciiSet = &CONTROLS.add(b'"').add(b'\'').add(b'\\').add(b'%');

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

/// The path of that socket: `/run/moca-file-log/NAME.sock`, percent-encoded where the name is not plain ASCII. Where this
/// is too long for a socket, a digest stands for the name.
#[must_use]
pub fn admin_path(name: &LogName) -> String {
    let path = format!("{RUN_DIR}/{}.sock", utf8_percent_encode(name.as_str(), ENCODED_IN_PATHS));
    if path.len() <= MAX_SOCKET_PATH_BYTES {
        return path;
    }
    let digest = HEXLOWER.encode(&Sha256::digest(name.as_str())[..16]);
    format!("{RUN_DIR}/%{digest}.sock")
}

/// Whether the template of the unit names that path already.
pub(super) fn admin_path_is_plain(name: &LogName) -> bool {
    admin_path(name) == format!("{RUN_DIR}/{name}.sock")
}

const RUN_DIR: &str = "/run/moca-file-log";

/// Why a log of this name can have no units.
pub(super) fn too_long(name: &LogName) -> Option<String> {
    let over = admin_socket_unit(name).len().checked_sub(MAX_UNIT_NAME_BYTES).filter(|&over| over > 0)?;
    Some(format!(
        "the name is {over} letters too long for systemd, where all but a-z, A-Z, 0-9, `_`, `.` and `:` count four a byte"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_name_may_be() {
        let wrong = |name: String| too_long(&name.parse().unwrap());
        assert_eq!(wrong("a".repeat(200)), None);
        assert_eq!(wrong(" ".repeat(57)), None);
        assert!(wrong(" ".repeat(58)).unwrap().contains("4 letters too long"));
    }

    #[test]
    fn the_operators_socket_has_a_path_that_systemd_finds_again() {
        let path = |name: &str| admin_path(&name.parse().unwrap());
        assert_eq!(path("two words;$(x)-.:"), "/run/moca-file-log/two words;$(x)-.:.sock");
        assert_eq!(path("größe"), "/run/moca-file-log/gr%C3%B6%C3%9Fe.sock");
        assert_eq!(path("100%25"), "/run/moca-file-log/100%2525.sock");
        assert_eq!(path("q\"u'o\\te"), "/run/moca-file-log/q%22u%27o%5Cte.sock");
        assert_eq!(path(&"a".repeat(83)).len(), 107);
        assert!(!path(&"a".repeat(83)).contains('%'));
        assert_eq!(path(&"a".repeat(84)).len(), 57);
        assert_ne!(path(&"a".repeat(84)), path(&"a".repeat(85)));
        // no name is encoded into the digest of another
        assert!(!path("%0").starts_with("/run/moca-file-log/%0"));
        assert!(admin_path_is_plain(&"two words".parse().unwrap()));
        assert!(!admin_path_is_plain(&"größe".parse().unwrap()));
    }
}
