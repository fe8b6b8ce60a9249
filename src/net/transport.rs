//! Puts the byte streams below a protocol (TCP, TLS over TCP, and Unix sockets) behind one trait.

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

/// A connected byte stream.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Returns `Ready` when a read returns at once: with bytes, at the end of the stream, or with
    /// an error. Reads no bytes, so a caller that waits here needs no buffer.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Returns the socket below.
    fn socket(&self) -> BorrowedFd<'_>;

    /// Returns the socket below when the stream sends bytes unchanged, so without TLS.
    fn bare_socket(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Reports whether the stream is encrypted.
    fn is_encrypted(&self) -> bool {
        false
    }

    /// Limits the kernel's send buffer. Otherwise it grows to several megabytes for each slow
    /// client, and the socket becomes writable only after the client has read a third of it.
    fn limit_send_buffer(&self) {
        /// The kernel doubles this value for its own overhead (socket(7), `SO_SNDBUF`).
        const MAX_SEND_BUFFER_BYTES: usize = 1024 * 1024;
        // A socket that refuses the option works as well, with a larger buffer.
        setsockopt(&self.socket(), SndBuf, &MAX_SEND_BUFFER_BYTES).unwrap_or_default();
    }

    /// Reports whether bytes or the end of the stream have arrived at the socket and are unread.
    fn has_arrived(&self) -> bool {
        poll(&mut [PollFd::new(self.socket(), PollFlags::POLLIN)], PollTimeout::ZERO)
            .is_ok_and(|count| count > 0)
    }

    /// Reports whether the peer closed the connection or its half of it, even when bytes are
    /// unread.
    fn is_closed_by_peer(&self) -> bool {
        // poll(2) reports errors and the end of both halves in addition to the requested event.
        let half_closed = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
        poll(&mut [PollFd::new(self.socket(), half_closed)], PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }
}

impl Transport for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // tokio reports a new socket as readable until a read blocks, so this peeks at the socket.
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
        // The first request may have arrived with the end of the handshake. Then rustls has
        // decrypted it already.
        if session.wants_read() { stream.0.poll_readable(cx) } else { Poll::Ready(Ok(())) }
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.get_ref().0.0.as_fd()
    }

    fn is_encrypted(&self) -> bool {
        true
    }
}

/// The socket below a TLS session. Sends a single TLS record, such as a short answer, by `send(2)`.
/// That is cheaper for the kernel than `writev(2)` with one slice and saves 1 % of a request.
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
