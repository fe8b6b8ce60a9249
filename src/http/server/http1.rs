//! One connection of HTTP/1: hyper under one lazily armed timer that knows, from the connection's phase, what must have
//! happened by when, and the end of a connection when the service stops.
//!
//! A connection on which nobody speaks is no more than its socket and a timer: hyper and its buffers come with the first
//! byte, and go when nothing was asked for a while.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::client::{Client, DRAIN_GRACE, buffer_release_at, has_first_byte};
use super::fast_path::serve;
use crate::http::connection::state::{ConnectionState, Expired, Phase, READ_AT_ONCE};
use crate::http::connection::stream::ConnectionStream;
use crate::http::follow::serve as follow;
use crate::http::follow::takeover::{Takeover, TakeoverSlot};
use crate::http::pipeline;
use crate::http::pipeline::Handlers;
use crate::net::deadline::{LazyDeadline, timer};
use crate::net::deadline::{Millis, now};
use crate::net::transport::Transport;

/// Serves the connection until it ends, or as long as `client.stopping` lets it.
pub(crate) async fn serve<S: Transport, H: Handlers>(stream: S, client: Client<H>) {
    let state = Arc::new(ConnectionState::new(client.app.policy().timeouts));
    let mut stream = ConnectionStream::new(stream, Arc::clone(&state), client.app.clone(), client.peer);
    while stream.has_unread() || has_first_byte(stream.inner(), &state, &client.stopping).await {
        // In a box of its own: a connection that is silent does not hold the room for it.
        match Box::pin(converse(stream, &state, &client)).await {
            Some(silent) => stream = silent,
            None => return,
        }
    }
}

/// Serves a connection on which somebody speaks; gives it back when it is silent, `None` when it has ended.
async fn converse<S: Transport, H: Handlers>(
    mut stream: ConnectionStream<S>,
    state: &Arc<ConnectionState>,
    client: &Client<H>,
) -> Option<ConnectionStream<S>> {
    if serve::serves(client.peer) {
        match serve::records(stream, state, client).await {
            serve::FastPathOutcome::Other(other) => stream = other,
            serve::FastPathOutcome::Silent(silent) => return Some(silent),
            serve::FastPathOutcome::Ended => return None,
        }
    }
    match Box::pin(requests(stream, state, client)).await {
        ConnectionOutcome::Silent(silent) => Some(silent),
        ConnectionOutcome::Following(stream, takeover) => {
            Box::pin(follow::serve(stream, *takeover, client.stopping.clone())).await;
            None
        }
        ConnectionOutcome::Nothing => None,
    }
}

/// What is left of a connection when hyper has done its part.
enum ConnectionOutcome<S> {
    Nothing,
    /// nobody speaks on it
    Silent(ConnectionStream<S>),
    /// it is served in another way from here on
    Following(ConnectionStream<S>, Box<Takeover>),
}

/// Serves requests.
async fn requests<S: Transport, H: Handlers>(
    stream: ConnectionStream<S>,
    state: &Arc<ConnectionState>,
    client: &Client<H>,
) -> ConnectionOutcome<S> {
    let Client { app, peer, handlers, stopping } = client;
    let policy = app.policy();
    let http = &policy.files.http;
    let takeovers = Arc::new(TakeoverSlot::default());
    let service = service_fn({
        let (app, state, peer, handlers) = (Arc::clone(app), Arc::clone(state), *peer, handlers.clone());
        let takeovers = Arc::clone(&takeovers);
        move |request| {
            let takeovers = Some(Arc::clone(&takeovers));
            pipeline::answer(Arc::clone(&app), Arc::clone(&state), takeovers, peer, handlers.clone(), request)
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(http.keep_alive)
        // A client that said all it has to say, and closed its half, still gets its answer.
        .half_close(true)
        .max_headers(http.max_headers as usize)
        .max_buf_size(usize::try_from(http.max_header_size).unwrap_or(usize::MAX).max(READ_AT_ONCE));
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    drop(policy);

    let mut draining = pin!(stopping.drain.cancelled());
    let mut hurrying = pin!(stopping.hurry.cancelled());
    let mut hurried = false;
    let mut last_words: Option<Millis> = None;
    let mut told = false;
    let (deadline, _) = state.deadline();
    let timer = pin!(timer(deadline));
    let mut alarm = LazyDeadline::new(deadline, timer);
    let mut takeover = None;
    let goes_on = poll_fn(|cx| {
        if last_words.is_none() && draining.as_mut().poll(cx).is_ready() {
            last_words = Some(now() + DRAIN_GRACE);
        }
        if last_words.is_some() && !hurried && hurrying.as_mut().poll(cx).is_ready() {
            hurried = true;
            state.hurry();
        }
        loop {
            let phase = state.phase();
            // hyper takes a connection with half a head for an idle one and would close it.
            if let Some(until) = last_words
                && !told
                && (is_busy(phase) || (phase != Phase::Head && now() >= until))
            {
                Pin::new(&mut connection).graceful_shutdown();
                told = true;
            }
            // How it ended is the client's business: errors are broken connections and refusals already written.
            if Pin::new(&mut connection).poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            takeover = state.is_ready_for_takeover().then(|| takeovers.take()).flatten();
            if takeover.is_some() {
                return Poll::Ready(true);
            }
            let (mut deadline, what) = state.deadline();
            if let Some(until) = last_words.filter(|_| !told && state.phase() != Phase::Head) {
                deadline = deadline.min(until);
            }
            let parked_at =
                state.idle_since().filter(|_| last_words.is_none()).map(|idle| buffer_release_at(idle, app));
            if let Some(parked_at) = parked_at {
                deadline = deadline.min(parked_at);
            }
            if alarm.poll_expired(deadline, cx).is_pending() {
                return Poll::Pending;
            }
            let time = now();
            if last_words.is_some_and(|until| !told && time >= until) && state.phase() != Phase::Head {
                continue;
            }
            if parked_at.is_some_and(|parked_at| time >= parked_at) {
                return Poll::Ready(true);
            }
            match what {
                Expired::Silence | Expired::Stalled => return Poll::Ready(false),
                // Told once, the stream or the service says so to the client; not obeyed, the connection is cut.
                _ if state.is_expired(what) => return Poll::Ready(false),
                _ => state.expire(what),
            }
        }
    })
    .await;
    if !goes_on {
        return ConnectionOutcome::Nothing;
    }
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    // Empty, it would still hold the whole buffer.
    if !parts.read_buf.is_empty() {
        stream.unread(parts.read_buf);
    }
    match takeover {
        Some(takeover) => ConnectionOutcome::Following(stream, takeover),
        None => ConnectionOutcome::Silent(stream),
    }
}

/// A request is in hand, so that its answer can carry the news.
const fn is_busy(phase: Phase) -> bool {
    matches!(phase, Phase::Body | Phase::Handling | Phase::Answering | Phase::Lingering)
}
