//! Provides the sockets of an instance: those that systemd passed, or one bound to the address in
//! `log.json` and the admin socket.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use moca_file_log::config::{LogEntry, LogName};
use moca_file_log::exit::Exit;
use moca_file_log::http::Socket;
use moca_file_log::listen::BoundSocket;
use moca_file_log::systemd::{Listener, PassedSocket};
use nix::sys::socket::{setsockopt, sockopt::Ipv6V6Only};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use crate::admin_socket::{self, AdminSocketFile};
use crate::failure::StartError;
use crate::listen_sockets::{self, SocketFile};

/// The sockets of an instance, and their addresses as text.
pub(crate) struct Sockets {
    pub(crate) sockets: Vec<Socket>,
    /// The sockets that are not HTTP.
    pub(crate) others: Vec<BoundSocket>,
    pub(crate) addresses: Vec<String>,
    /// The file of the admin socket, if this process bound it.
    pub(crate) admin_file: Option<AdminSocketFile>,
    /// The files of the other Unix sockets that this process bound.
    pub(crate) files: Vec<SocketFile>,
}

/// Takes the passed sockets. Without any, binds the address of `log` and the admin socket in
/// `run_dir`.
pub(crate) fn sockets(
    passed: Vec<PassedSocket>,
    name: &LogName,
    log: &LogEntry,
    backlog: u32,
    run_dir: &Path,
) -> Result<Sockets, StartError> {
    if passed.is_empty() { bound(name, log, backlog, run_dir) } else { of_systemd(passed, log) }
}

fn bound(name: &LogName, log: &LogEntry, backlog: u32, run_dir: &Path) -> Result<Sockets, StartError> {
    let listener = bind(log, backlog)?;
    let mut addresses = vec![address_text(&listener)];
    let mut sockets = vec![Socket::Tcp { listener, belongs_to_us: true }];
    let mut admin_file = None;
    if let Some((listener, file)) = admin_socket::bind(run_dir, name)? {
        addresses.push(format!("unix:{}", file.path().display()));
        sockets.push(Socket::Unix(listener));
        admin_file = Some(file);
    }
    let (others, files) = listen_sockets::bind(&log.listen, backlog)?;
    addresses.extend(others.iter().map(|other| other.listen.on.to_string()));
    Ok(Sockets { sockets, others, addresses, admin_file, files })
}

fn of_systemd(passed: Vec<PassedSocket>, log: &LogEntry) -> Result<Sockets, StartError> {
    let unusable =
        |error: std::io::Error| StartError::new(Exit::OsErr, format!("a passed socket is unusable: {error}"));
    let (passed, others) = listen_sockets::of_systemd(passed, &log.listen)?;
    let mut all =
        Sockets { sockets: Vec::new(), others, addresses: Vec::new(), admin_file: None, files: Vec::new() };
    for socket in passed {
        let socket = match socket.listener {
            Listener::Tcp(listener) => {
                let listener = TcpListener::from_std(listener).map_err(unusable)?;
                all.addresses.push(address_text(&listener));
                Socket::Tcp { listener, belongs_to_us: false }
            }
            Listener::Unix(listener) => {
                let path =
                    listener.local_addr().ok().and_then(|address| Some(address.as_pathname()?.to_owned()));
                all.addresses.extend(path.map(|path| format!("unix:{}", path.display())));
                Socket::Unix(UnixListener::from_std(listener).map_err(unusable)?)
            }
            // These were taken before.
            Listener::Udp(_) | Listener::UnixDatagram(_) => continue,
        };
        all.sockets.push(socket);
    }
    all.addresses.extend(all.others.iter().map(|other| other.listen.on.to_string()));
    Ok(all)
}

fn address_text(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|_| "an unknown address".into(), |address| format!("http://{address}"))
}

fn bind(log: &LogEntry, backlog: u32) -> Result<TcpListener, StartError> {
    let place = format!("{}:{}", log.host, log.port);
    let failure = |what: &str, error: std::io::Error| {
        StartError::new(Exit::Unavailable, format!("can't {what} {place}: {error}"))
    };
    let candidates: Vec<SocketAddr> = (log.host.trim_matches(['[', ']']), log.port)
        .to_socket_addrs()
        .map_err(|error| failure("resolve", error))?
        .filter(|address| address.is_ipv6() == log.use_ipv6 || log.host.parse::<std::net::IpAddr>().is_ok())
        .collect();
    let Some(address) = candidates.first().copied() else {
        let family = if log.use_ipv6 { "IPv6" } else { "IPv4" };
        let message = format!("{} has no {family} address; see use_ipv6 in log.json", log.host);
        return Err(StartError::new(Exit::Config, message));
    };
    listen_on(address, backlog, &place)
}

/// Binds a TCP socket. `place` names it in errors.
pub(crate) fn listen_on(address: SocketAddr, backlog: u32, place: &str) -> Result<TcpListener, StartError> {
    let failure = |what: &str, error: std::io::Error| {
        StartError::new(Exit::Unavailable, format!("can't {what} {place}: {error}"))
    };
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() };
    let socket = socket.map_err(|error| failure("open a socket for", error))?;
    // Without this option, a restart would have to wait until the connections of the last run time
    // out.
    socket.set_reuseaddr(true).map_err(|error| failure("prepare", error))?;
    if address.is_ipv6() {
        // `::` must accept IPv4 as well, and the default of the system may differ.
        setsockopt(&socket, Ipv6V6Only, &false).map_err(|error| failure("prepare", error.into()))?;
    }
    socket.bind(address).map_err(|error| failure("listen on", error))?;
    socket.listen(backlog).map_err(|error| failure("listen on", error))
}
