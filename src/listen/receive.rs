//! Reads datagrams in batches (recvmmsg(2)), with the address of each sender and the number of datagrams
//! that the kernel dropped.

use std::io::{self, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::Interest;
use tokio::net::{UdpSocket, UnixDatagram};

use crate::guard::ClientAddr;

/// Maximum number of datagrams that are read at once. Then the event loop serves others.
pub(super) const MAX_BATCH: usize = 64;

/// Maximum number of datagrams of a batch that follows a small one. Preparing a large batch costs more than
/// reading few datagrams.
const SMALL_BATCH: usize = 8;

/// Room for one datagram, in bytes. One of UDP has at most 65,507.
const SLOT_BYTES: usize = 64 * 1024;

/// Size of the buffer in the kernel, in bytes. At 200,000 datagrams a second of 200 bytes it holds about
/// 100 ms, as the kernel counts them.
const KERNEL_BUFFER_BYTES: usize = 16 * 1024 * 1024;

/// A socket for datagrams.
#[derive(Debug)]
pub enum DatagramSocket {
    /// A UDP socket.
    Udp(UdpSocket),
    /// A Unix socket.
    Unix(UnixDatagram),
}

impl DatagramSocket {
    /// Waits for a datagram.
    pub(super) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.readable().await,
            Self::Unix(socket) => socket.readable().await,
        }
    }

    /// Runs `read`, and notes when it finds no datagram.
    fn try_io<T>(&self, read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Udp(socket) => socket.try_io(Interest::READABLE, read),
            Self::Unix(socket) => socket.try_io(Interest::READABLE, read),
        }
    }
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for DatagramSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// A datagram that was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    pub(super) sender: ClientAddr,
    /// The number of the slot that holds it.
    slot: usize,
    len: usize,
}

/// The room for the datagrams of a batch.
pub(super) struct Slots {
    bytes: Vec<u8>,
    /// The datagrams that were read last.
    pub(super) received: Vec<Received>,
    /// Number of datagrams that the kernel has dropped on this socket, as it counts them.
    dropped: Option<u32>,
}

/// Asks for a large buffer and for the number of dropped datagrams.
pub(super) fn prepare(socket: &DatagramSocket) {
    let current = nix::sys::socket::getsockopt(socket, sockopt::RcvBuf).unwrap_or(0);
    // The kernel reports twice the size that was asked for. systemd sets a larger one than we may.
    if current < 2 * KERNEL_BUFFER_BYTES
        && setsockopt(socket, sockopt::RcvBufForce, &KERNEL_BUFFER_BYTES).is_err()
        && let Err(error) = setsockopt(socket, sockopt::RcvBuf, &KERNEL_BUFFER_BYTES)
    {
        log::debug!("the buffer of a datagram socket keeps its size: {error}");
    }
    if let Err(error) = setsockopt(socket, sockopt::RxqOvfl, &1) {
        log::warn!("the datagrams that the kernel drops are not counted: {error}");
    }
}

impl Slots {
    pub(super) fn new() -> Self {
        // Pages that no datagram reaches take no memory.
        Self {
            bytes: vec![0; MAX_BATCH * SLOT_BYTES],
            received: Vec::with_capacity(MAX_BATCH),
            dropped: None,
        }
    }

    /// Returns the bytes of a datagram.
    pub(super) fn bytes_of(&self, received: &Received) -> &[u8] {
        let start = received.slot * SLOT_BYTES;
        self.bytes.get(start..start + received.len).unwrap_or_default()
    }

    /// Reads the datagrams that are there into `received`, without waiting. Returns how many the kernel
    /// has dropped since the last call.
    ///
    /// # Errors
    /// Fails with `WouldBlock` when there is none.
    pub(super) fn read(&mut self, socket: &DatagramSocket) -> io::Result<u64> {
        let max = if self.received.len() < SMALL_BATCH { SMALL_BATCH } else { MAX_BATCH };
        self.received.clear();
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.bytes.chunks_mut(SLOT_BYTES).take(max).map(|slot| [IoSliceMut::new(slot)]).collect();
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(max, Some(cmsg_space!(u32)));
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages = socket.try_io(|| {
            recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None).map_err(errno)
        })?;
        let mut dropped = self.dropped;
        for (slot, message) in messages.enumerate() {
            for control in message.cmsgs().map_err(errno)? {
                if let ControlMessageOwned::RxqOvfl(count) = control {
                    dropped = Some(count);
                }
            }
            let sender = client_of(message.address.as_ref());
            self.received.push(Received { sender, slot, len: message.bytes.min(SLOT_BYTES) });
        }
        // The count of a passed socket goes on over restarts, and that of another process is not ours.
        let before = self.dropped.unwrap_or_else(|| dropped.unwrap_or(0));
        let lost = dropped.unwrap_or(before).wrapping_sub(before);
        self.dropped = Some(dropped.unwrap_or(before));
        Ok(u64::from(lost))
    }
}

fn errno(error: Errno) -> io::Error {
    error.into()
}

fn client_of(address: Option<&SockaddrStorage>) -> ClientAddr {
    if let Some(address) = address {
        if let Some(v4) = address.as_sockaddr_in() {
            return ClientAddr::from(IpAddr::V4(v4.ip()));
        }
        if let Some(v6) = address.as_sockaddr_in6() {
            return ClientAddr::from(IpAddr::V6(v6.ip()));
        }
    }
    ClientAddr::Local
}
