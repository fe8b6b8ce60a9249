//! The server's side of a TLS handshake.

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

/// Accepts the handshake.
///
/// # Errors
/// The handshake failed, or did not end within `patience` (`TimedOut`).
pub(crate) async fn handshake(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    patience: Duration,
) -> io::Result<TlsStream<TlsSocket>> {
    timeout(patience, TlsAcceptor::from(config).accept(TlsSocket(stream))).await?
}

/// Returns the first byte of the connection and leaves it there. Returns `None` when the connection ends first.
pub(crate) async fn peek_first_byte(stream: &TcpStream) -> Option<u8> {
    let mut byte = [0];
    let count = stream.peek(&mut byte).await.ok()?;
    byte[..count].first().copied()
}
