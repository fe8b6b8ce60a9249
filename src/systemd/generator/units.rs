//! Names the units of a log and the path of its admin socket.

use data_encoding::HEXLOWER;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::escape::escape;
use crate::config::LogName;

/// The unit that an operator enables. It wants the units of all logs.
pub const TARGET: &str = "moca-file-log.target";

/// Maximum length of a unit name in systemd.
const MAX_UNIT_NAME_BYTES: usize = 255;

/// Maximum length of the path of a Unix socket (unix(7)).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The ASCII characters that are percent-encoded in the path of an admin socket.
///
/// When systemd reloads, it serialises the path of an open socket. With these characters, or with
/// any that is not ASCII, it then does not recognise the path and closes the socket. The percent
/// sign is encoded because it marks an encoded byte.
const ENCODED_IN_PATHS: &AsciiSet = &CONTROLS.add(b'"').add(b'\'').add(b'\\').add(b'%');

/// Returns the name of the service of a log.
#[must_use]
pub fn service_unit(name: &LogName) -> String {
    format!("moca-file-log@{}.service", escape(name.as_str()))
}

/// Returns the name of the socket unit for the address of a log.
#[must_use]
pub fn socket_unit(name: &LogName) -> String {
    format!("moca-file-log@{}.socket", escape(name.as_str()))
}

/// Returns the name of the socket unit through which `mocactl` administers a log.
#[must_use]
pub fn admin_socket_unit(name: &LogName) -> String {
    format!("moca-file-log-admin@{}.socket", escape(name.as_str()))
}

/// Returns the name of the socket unit for the connections of a log that are not HTTP.
#[must_use]
pub fn stream_socket_unit(name: &LogName) -> String {
    format!("moca-file-log-stream@{}.socket", escape(name.as_str()))
}

/// Returns the name of the socket unit for the datagrams of a log.
#[must_use]
pub fn datagram_socket_unit(name: &LogName) -> String {
    format!("moca-file-log-datagram@{}.socket", escape(name.as_str()))
}

/// Returns the path of the admin socket: `/run/moca-file-log/NAME.sock`.
#[must_use]
pub fn admin_path(name: &LogName) -> String {
    format!("{RUN_DIR}/{}", admin_socket_file(name))
}

/// Returns the file name of the admin socket: `NAME.sock`.
///
/// The name is percent-encoded where it is not plain ASCII. If the path in [`RUN_DIR`] becomes too
/// long for a socket, a digest replaces the name.
#[must_use]
pub fn admin_socket_file(name: &LogName) -> String {
    let file = format!("{}.sock", utf8_percent_encode(name.as_str(), ENCODED_IN_PATHS));
    if RUN_DIR.len() + 1 + file.len() <= MAX_SOCKET_PATH_BYTES {
        return file;
    }
    let digest = HEXLOWER.encode(&Sha256::digest(name.as_str())[..16]);
    format!("%{digest}.sock")
}

/// Returns whether the path in the template unit is correct for this log.
pub(super) fn admin_path_is_plain(name: &LogName) -> bool {
    admin_path(name) == format!("{RUN_DIR}/{name}.sock")
}

/// The directory of the admin sockets of the installed service.
pub const RUN_DIR: &str = "/run/moca-file-log";

/// Returns a message if the unit names of a log would be too long for systemd.
pub(super) fn too_long(name: &LogName) -> Option<String> {
    let over = admin_socket_unit(name).len().checked_sub(MAX_UNIT_NAME_BYTES).filter(|&over| over > 0)?;
    Some(format!(
        "the name is {over} characters too long for systemd, which needs four characters for each byte that is not a-z, A-Z, 0-9, `_`, `.` or `:`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_long_names_are_reported() {
        let wrong = |name: String| too_long(&name.parse().unwrap());
        assert_eq!(wrong("a".repeat(200)), None);
        assert_eq!(wrong(" ".repeat(57)), None);
        assert!(wrong(" ".repeat(58)).unwrap().contains("4 characters too long"));
    }

    #[test]
    fn admin_socket_path_is_encoded() {
        let path = |name: &str| admin_path(&name.parse().unwrap());
        assert_eq!(path("two words;$(x)-.:"), "/run/moca-file-log/two words;$(x)-.:.sock");
        assert_eq!(path("größe"), "/run/moca-file-log/gr%C3%B6%C3%9Fe.sock");
        assert_eq!(path("100%25"), "/run/moca-file-log/100%2525.sock");
        assert_eq!(path("q\"u'o\\te"), "/run/moca-file-log/q%22u%27o%5Cte.sock");
        assert_eq!(path(&"a".repeat(83)).len(), 107);
        assert!(!path(&"a".repeat(83)).contains('%'));
        assert_eq!(path(&"a".repeat(84)).len(), 57);
        assert_ne!(path(&"a".repeat(84)), path(&"a".repeat(85)));
        // No encoded name looks like a digest.
        assert!(!path("%0").starts_with("/run/moca-file-log/%0"));
        assert!(admin_path_is_plain(&"two words".parse().unwrap()));
        assert!(!admin_path_is_plain(&"größe".parse().unwrap()));
    }
}
