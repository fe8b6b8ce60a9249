//! Takes the sockets that systemd opened for the service and keeps open across restarts
//! (sd_listen_fds(3)).

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};

/// The `FileDescriptorName=` of sockets that are not HTTP (`listen` in `log.json`).
pub const LISTEN_NAME: &str = "listen";

/// A socket that systemd passed: non-blocking and closed on exec. One for connections listens.
#[derive(Debug)]
pub struct PassedSocket {
    /// The `FileDescriptorName=` of the socket unit, by default the unit's name; `None` if the
    /// environment has no names.
    pub name: Option<String>,
    /// The socket.
    pub listener: Listener,
}

/// A socket of one of the supported kinds.
#[derive(Debug)]
pub enum Listener {
    /// A TCP socket: `ListenStream=` with an address and a port.
    Tcp(TcpListener),
    /// A Unix stream socket: `ListenStream=` with a path.
    Unix(UnixListener),
    /// A UDP socket: `ListenDatagram=` with an address and a port.
    Udp(UdpSocket),
    /// A Unix datagram socket: `ListenDatagram=` with a path.
    UnixDatagram(UnixDatagram),
}

impl Listener {
    /// Returns the address of an IP socket.
    #[must_use]
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok(),
            Self::Udp(udp) => udp.local_addr().ok(),
            Self::Unix(_) | Self::UnixDatagram(_) => None,
        }
    }

    /// Returns the path of a Unix socket.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        let address = match self {
            Self::Unix(unix) => unix.local_addr(),
            Self::UnixDatagram(unix) => unix.local_addr(),
            Self::Tcp(_) | Self::Udp(_) => return None,
        };
        address.ok()?.as_pathname().map(ToOwned::to_owned)
    }

    /// Returns whether the socket is for datagrams.
    #[must_use]
    pub const fn is_datagram(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::UnixDatagram(_))
    }
}

/// The reason why a passed socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The descriptor is a FIFO, a file, a socket of another family or something else.
    #[error(
        "passed socket {index} ({name}) is no TCP, UDP or Unix socket; its unit must use ListenStream= or ListenDatagram="
    )]
    Kind {
        /// The position of the socket among the passed ones, from 0.
        index: usize,
        /// The name of the socket, if known.
        name: String,
    },
    /// The socket is a connection and does not listen.
    #[error("passed socket {index} ({name}) does not listen; its unit must have Accept=no")]
    NotListening {
        /// The position of the socket among the passed ones, from 0.
        index: usize,
        /// The name of the socket, if known.
        name: String,
    },
    /// The operating system refused to inspect or configure the socket.
    #[error("passed socket {index} ({name}) cannot be prepared: {source}")]
    Io {
        /// The position of the socket among the passed ones, from 0.
        index: usize,
        /// The name of the socket, if known.
        name: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Takes the sockets that systemd passed to this process, in their order. The list is empty if
/// there are none.
///
/// Call it once at the start of `main`, before any thread starts, because it removes `LISTEN_FDS`
/// and `LISTEN_PID` from the environment. A second call finds no sockets.
///
/// # Errors
/// Fails at the first socket of another kind, and at one for connections that does not listen.
pub fn passed() -> Result<Vec<PassedSocket>, SocketError> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut fds = ListenFd::from_env();
    (0..fds.len())
        .map(|index| {
            let name = names.next().filter(|name| !name.is_empty()).map(str::to_owned);
            let listener = take(&mut fds, index, name.as_deref().unwrap_or("without a name"))?;
            Ok(PassedSocket { name, listener })
        })
        .collect()
}

fn take(fds: &mut ListenFd, index: usize, name: &str) -> Result<Listener, SocketError> {
    let io = |source| SocketError::Io { index, name: name.to_owned(), source };
    // Taking a socket of the other kind fails and leaves it in place for the second attempt.
    let listener = if let Ok(Some(tcp)) = fds.take_tcp_listener(index) {
        tcp.set_nonblocking(true).map_err(io)?;
        Listener::Tcp(tcp)
    } else if let Ok(Some(unix)) = fds.take_unix_listener(index) {
        unix.set_nonblocking(true).map_err(io)?;
        Listener::Unix(unix)
    } else if let Ok(Some(udp)) = fds.take_udp_socket(index) {
        udp.set_nonblocking(true).map_err(io)?;
        return Ok(Listener::Udp(udp));
    } else if let Ok(Some(unix)) = fds.take_unix_datagram(index) {
        unix.set_nonblocking(true).map_err(io)?;
        return Ok(Listener::UnixDatagram(unix));
    } else {
        return Err(SocketError::Kind { index, name: name.to_owned() });
    };
    let listens = match &listener {
        Listener::Tcp(tcp) => getsockopt(&tcp.as_fd(), sockopt::AcceptConn),
        Listener::Unix(unix) => getsockopt(&unix.as_fd(), sockopt::AcceptConn),
        Listener::Udp(_) | Listener::UnixDatagram(_) => Ok(true),
    };
    if listens.map_err(|errno| io(errno.into()))? {
        Ok(listener)
    } else {
        Err(SocketError::NotListening { index, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::child;
    use super::*;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Output, Stdio};

    /// Returns the result of [`passed`] in a child process with these descriptors 3 and 4.
    fn passed_in_child(sockets: [OwnedFd; 2], environment: &str) -> String {
        let [three, four] = sockets;
        let Output { stderr, .. } = Command::new("sh")
            .args(["-c", &format!("{environment} exec \"$@\" 3<&0 4<&1 0</dev/null 1>&2"), "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(child::arguments("systemd::sockets::tests::in_child"))
            .stdin(Stdio::from(three))
            .stdout(Stdio::from(four))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let text = String::from_utf8(stderr).unwrap();
        assert!(text.contains("test result: ok. 1 passed"), "{text}");
        text.lines().filter_map(|line| line.strip_prefix("passed: ")).collect::<Vec<_>>().join("; ")
    }

    #[test]
    #[ignore = "runs in a child process of the other tests"]
    fn in_child() {
        match passed() {
            Err(error) => eprintln!("\npassed: {error}"),
            Ok(sockets) => {
                for PassedSocket { name, listener } in sockets {
                    let (kind, blocks) = match &listener {
                        Listener::Tcp(tcp) => ("tcp", tcp.accept().map(|_| ())),
                        Listener::Unix(unix) => ("unix", unix.accept().map(|_| ())),
                        Listener::Udp(udp) => ("udp", udp.recv(&mut [0]).map(|_| ())),
                        Listener::UnixDatagram(unix) => ("unix datagram", unix.recv(&mut [0]).map(|_| ())),
                    };
                    assert_eq!(blocks.unwrap_err().kind(), io::ErrorKind::WouldBlock);
                    eprintln!("\npassed: {kind} {name:?}");
                }
                assert!(passed().unwrap().is_empty());
            }
        }
    }

    fn tcp() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    #[test]
    fn no_sockets_without_systemd() {
        assert!(passed().unwrap().is_empty());
    }

    #[test]
    fn sockets_keep_their_names_kinds_and_order() {
        let dir = tempfile::tempdir().unwrap();
        let unix = || UnixListener::bind(dir.path().join("s")).unwrap().into();
        let both = passed_in_child([tcp(), unix()], "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=http:admin");
        assert_eq!(both, "tcp Some(\"http\"); unix Some(\"admin\")");
        let unnamed = passed_in_child([tcp(), tcp()], "LISTEN_PID=$$ LISTEN_FDS=2");
        assert_eq!(unnamed, "tcp None; tcp None");
        let ipv6 = TcpListener::bind("[::1]:0").map_or_else(|_| tcp(), OwnedFd::from);
        assert_eq!(passed_in_child([ipv6, tcp()], "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=:"), "tcp None");
    }

    #[test]
    fn datagram_sockets_are_taken_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let unix = UnixDatagram::bind(dir.path().join("s")).unwrap().into();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap().into();
        let both = passed_in_child([udp, unix], "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=listen:listen");
        assert_eq!(both, "udp Some(\"listen\"); unix datagram Some(\"listen\")");
    }

    #[test]
    fn sockets_of_another_process_are_ignored() {
        for environment in ["LISTEN_PID=1 LISTEN_FDS=2", "LISTEN_FDS=many", "LISTEN_PID=$$ LISTEN_FDS=0"] {
            assert_eq!(passed_in_child([tcp(), tcp()], environment), "");
        }
    }

    #[test]
    fn unusable_sockets_are_named() {
        let environment = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=http:admin";
        let file = std::fs::File::open("/dev/null").unwrap().into();
        let text = passed_in_child([file, tcp()], environment);
        assert!(text.contains("0 (http)") && text.contains("ListenStream="), "{text}");
        let connection = UnixStream::pair().unwrap().0.into();
        let text = passed_in_child([connection, tcp()], environment);
        assert!(text.contains("0 (http)") && text.contains("Accept=no"), "{text}");
    }
}
