//! Serves one HTTP/1 connection with hyper and ends it when the service stops.
//!
//! One lazily armed timer watches the connection. Its deadline follows from the connection's phase.
//! An idle connection consists of its socket and this timer. hyper and its buffers are created at
//! the first byte and released after a period of silence.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::connection_context::{ConnectionContext, DRAIN_GRACE, buffer_release_at, has_first_byte};
use super::fast_path::serve;
use crate::http::connection::phase::{Expired, Phase};
use crate::http::connection::state::{ConnectionState, READ_BUFFER_BYTES};
use crate::http::connection::stream::ConnectionStream;
use crate::http::follow::serve as follow;
use crate::http::follow::takeover::{Takeover, TakeoverSlot};
use crate::http::pipeline;
use crate::http::pipeline::Handlers;
use crate::net::deadline::{LazyDeadline, timer};
use crate::net::deadline::{Millis, now};
use crate::net::transport::Transport;

/// Serves the connection until it ends or `context.shutdown` ends it.
pub(crate) async fn serve<S: Transport, H: Handlers>(stream: S, context: ConnectionContext<H>) {
    let state = Arc::new(ConnectionState::new(context.app.policy().timeouts));
    let mut stream = ConnectionStream::new(stream, Arc::clone(&state), context.app.clone(), context.peer);
    while stream.has_unread() || has_first_byte(stream.inner(), &state, &context.shutdown).await {
        // Boxed, so that the task of a silent connection does not hold the memory of this future.
        match Box::pin(serve_until_idle(stream, &state, &context)).await {
            Some(idle) => stream = idle,
            None => return,
        }
    }
}

/// Serves the requests of a connection. Returns the stream when the connection is idle, and `None`
/// when it has ended.
async fn serve_until_idle<S: Transport, H: Handlers>(
    mut stream: ConnectionStream<S>,
    state: &Arc<ConnectionState>,
    context: &ConnectionContext<H>,
) -> Option<ConnectionStream<S>> {
    if serve::is_eligible(context.peer) {
        match serve::serve_records(stream, state, context).await {
            serve::FastPathOutcome::SlowPath(unread) => stream = unread,
            serve::FastPathOutcome::Idle(idle) => return Some(idle),
            serve::FastPathOutcome::Ended => return None,
        }
    }
    match Box::pin(serve_requests(stream, state, context)).await {
        ConnectionOutcome::Idle(idle) => Some(idle),
        ConnectionOutcome::Following(stream, takeover) => {
            Box::pin(follow::serve(stream, *takeover, context.shutdown.clone())).await;
            None
        }
        ConnectionOutcome::Ended => None,
    }
}

/// Says how hyper left a connection.
enum ConnectionOutcome<S> {
    /// The connection has ended.
    Ended,
    /// The connection is idle.
    Idle(ConnectionStream<S>),
    /// A follower takes the connection over.
    Following(ConnectionStream<S>, Box<Takeover>),
}

/// Serves requests with hyper until the connection ends, is idle, or is taken over.
async fn serve_requests<S: Transport, H: Handlers>(
    stream: ConnectionStream<S>,
    state: &Arc<ConnectionState>,
    context: &ConnectionContext<H>,
) -> ConnectionOutcome<S> {
    let ConnectionContext { app, peer, handlers, shutdown } = context;
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
        // A client that has closed its half of the connection still gets its answer.
        .half_close(true)
        .max_headers(http.max_headers as usize)
        .max_buf_size(usize::try_from(http.max_header_size).unwrap_or(usize::MAX).max(READ_BUFFER_BYTES));
    let mut connection = builder.serve_connection(TokioIo::new(stream), service);
    drop(policy);

    let mut draining = pin!(shutdown.drain.cancelled());
    let mut hurrying = pin!(shutdown.hurry.cancelled());
    let mut is_hurried = false;
    let mut drain_until: Option<Millis> = None;
    let mut is_closing = false;
    let (deadline, _) = state.deadline();
    let timer = pin!(timer(deadline));
    let mut lazy_deadline = LazyDeadline::new(deadline, timer);
    let mut takeover = None;
    let is_open = poll_fn(|cx| {
        if drain_until.is_none() && draining.as_mut().poll(cx).is_ready() {
            drain_until = Some(now() + DRAIN_GRACE);
        }
        if drain_until.is_some() && !is_hurried && hurrying.as_mut().poll(cx).is_ready() {
            is_hurried = true;
            state.expire_unanswered();
        }
        loop {
            let phase = state.phase();
            // hyper treats a connection with an incomplete head as idle and would close it.
            if let Some(until) = drain_until
                && !is_closing
                && (has_complete_head(phase) || (phase != Phase::Head && now() >= until))
            {
                Pin::new(&mut connection).graceful_shutdown();
                is_closing = true;
            }
            // The result does not matter, because an error means a broken connection or a refusal
            // that was already written.
            if Pin::new(&mut connection).poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            takeover = state.is_ready_for_takeover().then(|| takeovers.take()).flatten();
            if takeover.is_some() {
                return Poll::Ready(true);
            }
            let (mut deadline, limit) = state.deadline();
            if let Some(until) = drain_until.filter(|_| !is_closing && state.phase() != Phase::Head) {
                deadline = deadline.min(until);
            }
            let release_at = state
                .idle_since()
                .filter(|_| drain_until.is_none())
                .map(|idle_since| buffer_release_at(idle_since, app));
            if let Some(release_at) = release_at {
                deadline = deadline.min(release_at);
            }
            if lazy_deadline.poll_expired(deadline, cx).is_pending() {
                return Poll::Pending;
            }
            let time = now();
            if drain_until.is_some_and(|until| !is_closing && time >= until) && state.phase() != Phase::Head {
                continue;
            }
            if release_at.is_some_and(|release_at| time >= release_at) {
                return Poll::Ready(true);
            }
            match limit {
                Expired::Silence | Expired::Stalled => return Poll::Ready(false),
                // At the first expiry the stream or the pipeline refuses the request. At the second
                // one the connection is cut.
                _ if state.is_expired(limit) => return Poll::Ready(false),
                _ => state.expire(limit),
            }
        }
    })
    .await;
    if !is_open {
        return ConnectionOutcome::Ended;
    }
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    // An empty `Bytes` would still keep the whole read buffer allocated.
    if !parts.read_buf.is_empty() {
        stream.unread(parts.read_buf);
    }
    match takeover {
        Some(takeover) => ConnectionOutcome::Following(stream, takeover),
        None => ConnectionOutcome::Idle(stream),
    }
}

/// Reports whether a request with a complete head is in progress. Its answer announces the close.
const fn has_complete_head(phase: Phase) -> bool {
    matches!(phase, Phase::Body | Phase::Handling | Phase::Answering | Phase::Lingering)
}
