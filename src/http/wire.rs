//! What bytes travel over: a TCP connection, one that speaks TLS, or a Unix socket.

use std::io;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// See the module.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether there is something to read: bytes, the end, an error. Nothing is read, so that whoever waits here needs no
    /// buffer.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Wire for TcpStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // tokio takes a new socket for readable until a read says otherwise: only looking tells.
        let mut byte = [0];
        self.poll_peek(cx, &mut ReadBuf::new(&mut byte)).map_ok(|_| ())
    }
}

impl Wire for UnixStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(cx)
    }
}

impl Wire for TlsStream<TcpStream> {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (stream, session) = self.get_ref();
        // The first request may have come together with the end of the handshake, and is decrypted already.
        if session.wants_read() { stream.poll_readable(cx) } else { Poll::Ready(Ok(())) }
    }
}
