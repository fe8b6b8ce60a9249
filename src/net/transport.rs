//! What bytes travel over: a TCP connection, one that speaks TLS, or a Unix socket.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::SndBuf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// See the module.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether there is something to read: bytes, the end, an error. Nothing is read, so that whoever waits here needs no
    /// buffer.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The socket below.
    fn socket(&self) -> BorrowedFd<'_>;

    /// The same, where bytes go out as they are written.
    fn bare_socket(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Keeps little of what is written in the system's buffers. They would grow to megabytes for each client that is slow,
    /// and show only after a third of it that the client took something.
    fn limit_send_buffer(&self) {
        /// Bytes; the system takes twice as much with what it adds.
        const LITTLE: usize = 1024 * 1024;
        // A socket that refuses is as good, only larger.
        setsockopt(&self.socket(), SndBuf, &LITTLE).unwrap_or_default();
    }

    /// Whether the other side closed the connection, or its half of it, whatever is still to be read.
    fn is_closed_there(&self) -> bool {
        // whatever is asked for, errors and the end of both halves are told too
        let half = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
        poll(&mut [PollFd::new(self.socket(), half)], PollTimeout::ZERO).is_ok_and(|told| told > 0)
    }
}

impl Transport for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // tokio takes a new socket for readable until a read says otherwise: only looking tells.
        let mut byte = [0];
        self.poll_peek(cx, &mut ReadBuf::new(&mut byte)).map_ok(|_| ())
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn bare_socket(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl Transport for UnixStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Transport for TlsStream<TlsSocket> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (stream, session) = self.get_ref();
        // The first request may have come together with the end of the handshake, and is decrypted already.
        if session.wants_read() { stream.0.poll_readable(cx) } else { Poll::Ready(Ok(())) }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.get_ref().0.0.as_fd()
    }
}

/// The socket below a TLS session. A TLS record that is alone, as an answer is, goes out by `send(2)`, which costs the
/// kernel less than `writev(2)` of one piece: a request over TLS costs 1 % less in all.
#[derive(Debug)]
pub(crate) struct TlsSocket(pub(crate) TcpStream);

impl AsyncRead for TlsSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        records: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match records {
            [one] => Pin::new(&mut self.0).poll_write(cx, one),
            several => Pin::new(&mut self.0).poll_write_vectored(cx, several),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
