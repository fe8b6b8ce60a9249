//! The addresses of sockets that are not HTTP: `udp://127.0.0.1:5514`, `unix:/run/x.syslog`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Maximum length of the path of a Unix socket (unix(7)).
const MAX_PATH_BYTES: usize = 107;

/// The address of a socket for datagrams or connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ListenAddress {
    /// `udp://ADDRESS:PORT`.
    Udp(SocketAddr),
    /// `tcp://ADDRESS:PORT`.
    Tcp(SocketAddr),
    /// `tls://ADDRESS:PORT`: TCP with the certificate of the log.
    Tls(SocketAddr),
    /// `unix:PATH`. The format decides whether it is a socket for datagrams or for connections.
    Unix(PathBuf),
    /// `unix-stream:PATH`: connections, for a format whose Unix sockets are for datagrams.
    UnixStream(PathBuf),
}

/// Describes the valid texts, for errors.
pub(crate) const EXPECTED: &str = "an address such as `udp://127.0.0.1:5514`, `tcp://[::1]:5514`, `tls://0.0.0.0:6514` or \
     `unix:/run/moca-file-log/NAME.syslog`, with an IP address or localhost";

impl ListenAddress {
    /// Reads an address. `None` for a text that is none, or names a host that has to be looked up.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let network = |make: fn(SocketAddr) -> Self| rest.strip_prefix("//").and_then(socket_addr).map(make);
        match scheme {
            "udp" => network(Self::Udp),
            "tcp" => network(Self::Tcp),
            "tls" => network(Self::Tls),
            "unix" => socket_path(rest).map(Self::Unix),
            "unix-stream" => socket_path(rest).map(Self::UnixStream),
            _ => None,
        }
    }

    /// Returns the address of a TCP socket.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Tls(address) => Some(*address),
            _ => None,
        }
    }

    /// Returns the address of an IP socket.
    #[must_use]
    pub const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Udp(address) | Self::Tcp(address) | Self::Tls(address) => Some(*address),
            Self::Unix(_) | Self::UnixStream(_) => None,
        }
    }

    /// Returns the path of a Unix socket.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) | Self::UnixStream(path) => Some(path),
            _ => None,
        }
    }

    /// Reports whether two sockets cannot both be bound. `::` takes its port on every address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Udp(a), Self::Udp(b)) => addresses_overlap(*a, *b),
            _ => match (self.tcp(), other.tcp()) {
                (Some(a), Some(b)) => addresses_overlap(a, b),
                _ => self.path().is_some_and(|path| other.path() == Some(path)),
            },
        }
    }
}

/// Returns whether two addresses cannot both be bound. `::` takes its port on every address.
pub(crate) fn addresses_overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |wide: IpAddr, other: IpAddr| {
        wide == other
            || wide == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            || (wide == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && other.is_ipv4())
    };
    a.port() == b.port() && (covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Tls(address) => write!(f, "tls://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::UnixStream(path) => write!(f, "unix-stream:{}", path.display()),
        }
    }
}

/// Reads `127.0.0.1:514`, `[::1]:514` or `localhost:514`. The port is never 0.
fn socket_addr(text: &str) -> Option<SocketAddr> {
    let address = match text.rsplit_once(':') {
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => {
            let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port.parse().ok().filter(|_| is_number)?)
        }
        _ => text.parse().ok()?,
    };
    (address.port() != 0).then_some(address)
}

/// Reads an absolute path that a Unix socket can have.
fn socket_path(text: &str) -> Option<PathBuf> {
    // `unix:///run/x` is the same path as `unix:/run/x`.
    let text = text.strip_prefix("//").unwrap_or(text);
    let path = Path::new(text);
    let is_valid = text.starts_with('/')
        && text.len() <= MAX_PATH_BYTES
        && !text.ends_with('/')
        && path.file_name().is_some()
        && !text.contains(char::is_control)
        && !path.components().any(|component| component == Component::ParentDir);
    is_valid.then(|| path.components().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for text in [
            "udp://127.0.0.1:5514",
            "tcp://[::]:514",
            "tls://0.0.0.0:6514",
            "unix:/run/moca-file-log/a b.syslog",
            "unix-stream:/run/x",
        ] {
            assert_eq!(ListenAddress::parse(text).unwrap().to_string(), text);
        }
        let read = |text| ListenAddress::parse(text).map(|address| address.to_string());
        assert_eq!(read("udp://LocalHost:1").as_deref(), Some("udp://127.0.0.1:1"));
        assert_eq!(read("unix:///run/./x").as_deref(), Some("unix:/run/x"));
        for other in [
            "",
            "5514",
            "127.0.0.1:5514",
            "udp:127.0.0.1:5514",
            "udp://127.0.0.1",
            "udp://127.0.0.1:0",
            "udp://127.0.0.1:65536",
            "udp://logs.example:514",
            "udp://localhost:+5",
            "UDP://127.0.0.1:1",
            "http://127.0.0.1:1",
            "unix:",
            "unix:run/x",
            "unix:/run/../x",
            "unix:/run/x/",
            "unix:/run/\n",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(read(&format!("unix:/{}", "a".repeat(107))), None);
    }

    #[test]
    fn sockets_overlap_where_they_cannot_both_be_bound() {
        let overlap = |a, b| {
            let (a, b) = (ListenAddress::parse(a).unwrap(), ListenAddress::parse(b).unwrap());
            assert_eq!(a.overlaps(&b), b.overlaps(&a));
            a.overlaps(&b)
        };
        assert!(overlap("udp://0.0.0.0:1", "udp://127.0.0.1:1"));
        assert!(overlap("tcp://[::]:1", "tls://127.0.0.1:1"));
        assert!(overlap("unix:/a", "unix-stream:/a"));
        assert!(!overlap("tcp://127.0.0.1:1", "udp://127.0.0.1:1"));
        assert!(!overlap("tcp://127.0.0.1:1", "tcp://127.0.0.2:1"));
        assert!(!overlap("tcp://127.0.0.1:1", "tcp://127.0.0.1:2"));
        assert!(!overlap("unix:/a", "udp://127.0.0.1:1"));
    }
}
