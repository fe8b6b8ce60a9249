//! Starts an HTTPS connection. It waits for the first byte, performs the handshake, and serves the
//! negotiated version of HTTP. All steps run in the task of the connection, so a slow client delays
//! no other one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection_context::ConnectionContext;
use super::first_byte::has_first_byte;
use super::flood_delay::has_waited;
use super::{http1, http2};
use crate::http::connection::phase::Phase;
use crate::http::observe::counters::Reason;
use crate::http::observe::refused_requests::Origin;
use crate::http::pipeline::Handlers;
use crate::http::response::problem::Problem;
use crate::net::certificate::Identity;
use crate::net::refusal::write_refusal;
use crate::net::shutdown::{DRAIN_GRACE, HEAD_GRACE, Shutdown};
use crate::net::tls::{HANDSHAKE_RECORD, handshake, peek_first_byte};

/// Serves the connection from its first byte to its end.
pub(crate) async fn serve<H: Handlers>(
    stream: TcpStream,
    identity: Arc<Identity>,
    context: ConnectionContext<H>,
) {
    if !has_first_byte(&stream, &context.state, &context.shutdown).await {
        return;
    }
    if !Box::pin(has_waited(&stream, &context, true)).await {
        return;
    }
    let request_timeout = context.app.policy().files.http.request_timeout;
    match timeout(request_timeout, peek_first_byte(&stream)).await.ok().flatten() {
        Some(HANDSHAKE_RECORD) => {}
        // A capital letter is the start of a method, so the client uses plain HTTP.
        Some(b'A'..=b'Z') => {
            let problem = Problem::bad_request("This port speaks HTTPS, not plain HTTP.");
            let problem = problem.counted_as(Reason::MalformedHttp);
            context.app.on_refused(&Origin::of_connection(context.peer), &problem);
            let refusal = context.app.policy().raw_refusal(problem);
            return Box::pin(write_refusal(stream, refusal)).await;
        }
        _ => return,
    }
    let handshaking = {
        let handshake = handshake(stream, identity.serving(), request_timeout);
        Box::pin(context.turnstile.regulate(handshake))
    };
    drop(identity);
    let outcome = tokio::select! {
        outcome = handshaking => outcome,
        () = end_of_handshakes(&context.shutdown) => return,
    };
    let stream = match outcome {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return,
        Err(error) => return log::debug!("a TLS handshake failed: {error}"),
    };
    // The time limit of the first request begins with the end of the handshake.
    context.state.enter(Phase::New);
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(http2::serve(stream, Bytes::new(), context)).await;
    } else {
        http1::serve(stream, context).await;
    }
}

/// Waits until the stop leaves no more time for a handshake that has begun.
async fn end_of_handshakes(shutdown: &Shutdown) {
    shutdown.drain.cancelled().await;
    drop(timeout(Duration::from_millis(DRAIN_GRACE + HEAD_GRACE), shutdown.hurry.cancelled()).await);
}

/// Sends `refusal` to a client that is not served, if it finishes its handshake within
/// `max_handshake`.
pub(crate) async fn refuse(
    stream: TcpStream,
    identity: Arc<Identity>,
    refusal: Vec<u8>,
    max_handshake: Duration,
) {
    if let Ok(stream) = handshake(stream, identity.http1_only(), max_handshake).await {
        write_refusal(stream, refusal).await;
    }
}
