//! The beginning of a connection that speaks TLS: silence, the handshake, and which HTTP the two sides agreed on.
//! All of it happens in the connection's own task, so that a slow client keeps nobody else.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::http1;
use super::http1::{Client, speaks};
use super::http2;
use super::listeners::write_refusal;
use crate::http::connection::state::ConnectionState;
use crate::http::pipeline::Handlers;
use crate::http::response::problem::Problem;
use crate::net::certificate::Identity;
use crate::net::tls_socket::TlsSocket;

/// The first byte of a TLS record that holds a part of a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// Serves the connection from its first byte to its end.
pub(crate) async fn serve<H: Handlers>(stream: TcpStream, identity: Arc<Identity>, client: Client<H>) {
    let state = ConnectionState::new(client.app.policy().timeouts);
    if !speaks(&stream, &state, &client.stopping).await {
        return;
    }
    let patience = client.app.policy().files.http.request_timeout;
    match timeout(patience, first_byte(&stream)).await.ok().flatten() {
        Some(HANDSHAKE) => {}
        // A method: somebody took this for a port of plain HTTP.
        Some(b'A'..=b'Z') => {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "This port speaks HTTPS, not plain HTTP.");
            client.app.count(&problem);
            let refusal = problem.into_raw(&client.app.policy());
            return Box::pin(write_refusal(stream, refusal)).await;
        }
        _ => return,
    }
    let handshake = Box::pin(TlsAcceptor::from(identity.serving()).accept(TlsSocket(stream)));
    drop(identity);
    let outcome = tokio::select! {
        outcome = timeout(patience, handshake) => outcome,
        () = client.stopping.hurry.cancelled() => return,
    };
    let stream = match outcome {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return log::debug!("a TLS handshake failed: {error}"),
        Err(_) => return,
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(http2::serve(stream, client)).await;
    } else {
        http1::serve(stream, client).await;
    }
}

/// Says `refusal` to a client that is not served, if it finishes its handshake within `patience`.
pub(crate) async fn refuse(stream: TcpStream, identity: Arc<Identity>, refusal: Vec<u8>, patience: Duration) {
    let handshake = TlsAcceptor::from(identity.plain()).accept(TlsSocket(stream));
    if let Ok(Ok(stream)) = timeout(patience, handshake).await {
        write_refusal(stream, refusal).await;
    }
}

async fn first_byte(stream: &TcpStream) -> Option<u8> {
    let mut byte = [0];
    let count = stream.peek(&mut byte).await.ok()?;
    byte[..count].first().copied()
}
