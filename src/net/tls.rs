//! Runs the server's side of a TLS handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::server::TlsStream;

use super::transport::TlsSocket;

/// First byte of a TLS record of the handshake (RFC 8446, section 5.1).
pub(crate) const HANDSHAKE_RECORD: u8 = 22;

/// Runs the server's side of a handshake.
///
/// # Errors
/// Fails with the error of the handshake, or with `TimedOut` when it takes longer than
/// `max_duration`.
pub(crate) async fn handshake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    max_duration: Duration,
) -> io::Result<TlsStream<TlsSocket>> {
    timeout(max_duration, TlsAcceptor::from(config).accept(TlsSocket(stream))).await?
}

/// Returns the first byte of the connection without consuming it. Returns `None` when the
/// connection ends first.
pub(crate) async fn peek_first_byte(stream: &TcpStream) -> Option<u8> {
    let mut byte = [0];
    let count = stream.peek(&mut byte).await.ok()?;
    byte[..count].first().copied()
}
