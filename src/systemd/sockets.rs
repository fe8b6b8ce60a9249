//! Sockets that systemd opened for us and keeps open over restarts (`sd_listen_fds(3)`).

use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt};

/// A socket that systemd passed: listening, non-blocking, closed on exec.
#[derive(Debug)]
pub struct PassedSocket {
    /// `FileDescriptorName=` of the socket unit, else the unit's name; `None` when nobody said
    pub name: Option<String>,
    /// the socket
    pub listener: Listener,
}

/// The two kinds of socket that we serve.
#[derive(Debug)]
pub enum Listener {
    /// `ListenStream=` with an address and port
    Tcp(TcpListener),
    /// `ListenStream=` with a path
    Unix(UnixListener),
}

/// Why a passed socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// a datagram socket, a FIFO, a file…
    #[error(
        "passed socket {index} ({name}) is neither a TCP nor a Unix stream socket; its unit must use ListenStream="
    )]
    Kind {
        /// counted from 0, in the order in which they were passed
        index: usize,
        /// its name, as far as known
        name: String,
    },
    /// a connection instead of a listener
    #[error("passed socket {index} ({name}) does not listen; its unit must have Accept=no")]
    NotListening {
        /// counted from 0, in the order in which they were passed
        index: usize,
        /// its name, as far as known
        name: String,
    },
    /// the system refused
    #[error("passed socket {index} ({name}) cannot be prepared: {source}")]
    Io {
        /// counted from 0, in the order in which they were passed
        index: usize,
        /// its name, as far as known
        name: String,
        /// what the system said
        source: io::Error,
    },
}

/// Takes the sockets that systemd passed to this process, in its order; empty when it passed none.
///
/// Call it once, first thing in `main`, before any thread starts: it takes `LISTEN_FDS` and `LISTEN_PID` out of the
/// environment, and a second call finds nothing.
///
/// # Errors
/// The first socket that is not a listening stream socket.
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
    // a socket of the other kind is an error of the first attempt and stays in its place
    let listener = if let Ok(Some(tcp)) = fds.take_tcp_listener(index) {
        tcp.set_nonblocking(true).map_err(io)?;
        Listener::Tcp(tcp)
    } else if let Ok(Some(unix)) = fds.take_unix_listener(index) {
        unix.set_nonblocking(true).map_err(io)?;
        Listener::Unix(unix)
    } else {
        return Err(SocketError::Kind { index, name: name.to_owned() });
    };
    let listens = match &listener {
        Listener::Tcp(tcp) => getsockopt(&tcp.as_fd(), sockopt::AcceptConn),
        Listener::Unix(unix) => getsockopt(&unix.as_fd(), sockopt::AcceptConn),
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
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::process::{Command, Output, Stdio};

    /// What [`passed`] says in a child whose descriptors 3 and 4 are these two.
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
    #[ignore = "run by the others as a child"]
    fn in_child() {
        match passed() {
            Err(error) => eprintln!("\npassed: {error}"),
            Ok(sockets) => {
                for PassedSocket { name, listener } in sockets {
                    let (kind, blocks) = match &listener {
                        Listener::Tcp(tcp) => ("tcp", tcp.accept().map(|_| ())),
                        Listener::Unix(unix) => ("unix", unix.accept().map(|_| ())),
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
    fn none_here() {
        assert!(passed().unwrap().is_empty());
    }

    #[test]
    fn names_kinds_and_order() {
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
    fn of_another_process_or_unreadable_is_none() {
        for environment in ["LISTEN_PID=1 LISTEN_FDS=2", "LISTEN_FDS=many", "LISTEN_PID=$$ LISTEN_FDS=0"] {
            assert_eq!(passed_in_child([tcp(), tcp()], environment), "");
        }
    }

    #[test]
    fn the_wrong_kind_is_named() {
        let environment = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=http:admin";
        let datagram = UnixDatagram::unbound().unwrap().into();
        let text = passed_in_child([tcp(), datagram], environment);
        assert!(text.contains("1 (admin)") && text.contains("ListenStream="), "{text}");
        let file = std::fs::File::open("/dev/null").unwrap().into();
        let text = passed_in_child([file, tcp()], environment);
        assert!(text.contains("0 (http)") && text.contains("ListenStream="), "{text}");
        let connection = UnixStream::pair().unwrap().0.into();
        let text = passed_in_child([connection, tcp()], environment);
        assert!(text.contains("0 (http)") && text.contains("Accept=no"), "{text}");
    }
}
