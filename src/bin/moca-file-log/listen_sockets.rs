//! Provides the sockets that are not HTTP (`listen` in `log.json`): those that systemd passed, or bound
//! ones.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram as StdUnixDatagram, UnixStream};
use std::path::{Path, PathBuf};

use moca_file_log::config::{Listen, ListenAddress};
use moca_file_log::exit::Exit;
use moca_file_log::listen::{BoundSocket, DatagramSocket, ListenSocket};
use moca_file_log::systemd::{LISTEN_NAME, Listener, PassedSocket};
use nix::sys::socket::sockopt::Ipv6V6Only;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, setsockopt, socket};
use tokio::net::{TcpListener, UdpSocket, UnixDatagram, UnixListener};

use crate::failure::StartError;
use crate::sockets::listen_on;

/// The mode of a Unix socket: every local program may send, as to `/dev/log`. The key decides what is
/// stored.
const SOCKET_MODE: u32 = 0o666;

/// The file of a Unix socket that this process bound. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode. Another process may have replaced the file since.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity) {
            // A file that remains is stale, and the next start replaces it.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Returns the passed sockets that belong to `listen`, and the others.
///
/// A passed socket belongs to the element with its address and its kind. One that systemd passed for an
/// element that is gone is closed.
pub(crate) fn of_systemd(
    passed: Vec<PassedSocket>,
    listen: &[Listen],
) -> Result<(Vec<PassedSocket>, Vec<BoundSocket>), StartError> {
    let (mut rest, mut found) = (Vec::new(), Vec::new());
    for passed in passed {
        let socket = &passed.listener;
        let is_for_us = passed.name.as_deref() == Some(LISTEN_NAME) || socket.is_datagram();
        let (ip, path) = (socket.ip(), socket.path());
        let belongs = |listen: &&Listen| {
            listen.is_datagram() == socket.is_datagram()
                && (ip.is_some() && listen.on.ip() == ip
                    || path.is_some() && listen.on.path() == path.as_deref())
        };
        match listen.iter().find(belongs) {
            Some(listen) => found.push(take(listen.clone(), passed.listener)?),
            None if is_for_us => {
                log::warn!("a passed socket is in no `listen` of log.json: it is closed; run mocactl apply");
            }
            None => rest.push(passed),
        }
    }
    for listen in listen.iter().filter(|one| !found.iter().any(|found| found.listen.is_same_socket(one))) {
        log::warn!(
            "log.json: systemd passed no socket for {}: it is not served; run mocactl apply",
            listen.on
        );
    }
    Ok((rest, found))
}

fn take(listen: Listen, listener: Listener) -> Result<BoundSocket, StartError> {
    let unusable =
        |error: io::Error| StartError::new(Exit::OsErr, format!("a passed socket is unusable: {error}"));
    let socket = match listener {
        Listener::Tcp(listener) => {
            let listener = TcpListener::from_std(listener).map_err(unusable)?;
            ListenSocket::Tcp { listener, belongs_to_us: false }
        }
        Listener::Unix(listener) => ListenSocket::Unix(UnixListener::from_std(listener).map_err(unusable)?),
        Listener::Udp(socket) => {
            ListenSocket::Datagram(DatagramSocket::Udp(UdpSocket::from_std(socket).map_err(unusable)?))
        }
        Listener::UnixDatagram(socket) => {
            ListenSocket::Datagram(DatagramSocket::Unix(UnixDatagram::from_std(socket).map_err(unusable)?))
        }
    };
    Ok(BoundSocket { listen, socket })
}

/// Binds the sockets of `listen`.
pub(crate) fn bind(
    listen: &[Listen],
    backlog: u32,
) -> Result<(Vec<BoundSocket>, Vec<SocketFile>), StartError> {
    let (mut bound, mut files) = (Vec::new(), Vec::new());
    for one in listen {
        let failure = |error: io::Error| {
            let message = match error.kind() {
                ErrorKind::AlreadyExists => {
                    format!("{} is the path of a file that is no socket; remove it", one.on)
                }
                _ => format!("can't listen on {}: {error}", one.on),
            };
            StartError::new(Exit::Unavailable, message)
        };
        let socket = match &one.on {
            ListenAddress::Udp(address) => {
                ListenSocket::Datagram(DatagramSocket::Udp(udp(*address).map_err(failure)?))
            }
            ListenAddress::Tcp(address) | ListenAddress::Tls(address) => {
                let listener = listen_on(*address, backlog, &one.on.to_string())?;
                ListenSocket::Tcp { listener, belongs_to_us: true }
            }
            ListenAddress::Unix(path) | ListenAddress::UnixStream(path) => {
                let (socket, file) = unix(path, one.is_datagram()).map_err(failure)?;
                files.push(file);
                socket
            }
        };
        bound.push(BoundSocket { listen: one.clone(), socket });
    }
    Ok((bound, files))
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor = socket(family, SockType::Datagram, flags, None)?;
    if address.is_ipv6() {
        // `::` must take IPv4 as well, and the default of the system may differ.
        setsockopt(&descriptor, Ipv6V6Only, &false)?;
    }
    nix::sys::socket::bind(descriptor.as_raw_fd(), &SockaddrStorage::from(address))?;
    UdpSocket::from_std(descriptor.into())
}

/// Binds a Unix socket under another name and renames it, so that the path always leads to a socket with
/// the right mode.
fn unix(path: &Path, is_datagram: bool) -> io::Result<(ListenSocket, SocketFile)> {
    if !is_free(path, is_datagram)? {
        return Err(ErrorKind::AddrInUse.into());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
    drop(std::fs::remove_file(&unfinished));
    let bind = || {
        if is_datagram {
            let socket = UnixDatagram::bind(&unfinished)?;
            return Ok(ListenSocket::Datagram(DatagramSocket::Unix(socket)));
        }
        UnixListener::bind(&unfinished).map(ListenSocket::Unix)
    };
    let bound = bind().and_then(|socket| {
        std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        let file = std::fs::symlink_metadata(&unfinished)?;
        std::fs::rename(&unfinished, path)?;
        Ok((socket, SocketFile { path: path.to_owned(), identity: (file.dev(), file.ino()) }))
    });
    bound.inspect_err(|_| drop(std::fs::remove_file(&unfinished)))
}

/// Returns whether no process reads from the socket at `path`.
fn is_free(path: &Path, is_datagram: bool) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => return Err(ErrorKind::AlreadyExists.into()),
        Ok(_) => {}
    }
    let connected = if is_datagram {
        StdUnixDatagram::unbound().and_then(|socket| socket.connect(path))
    } else {
        UnixStream::connect(path).map(drop)
    };
    match connected {
        Ok(()) => Ok(false),
        // The process that bound it has ended.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(true),
        Err(_) => Ok(false),
    }
}
