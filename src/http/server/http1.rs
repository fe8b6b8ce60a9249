//! Serves one HTTP/1 connection: the fast path first, then hyper for all other requests.
//!
//! An idle connection consists of its socket and a timer. hyper and its buffers are created at the
//! first byte and released after a period of silence.

use std::error::Error;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::{self, Connection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;

use super::connection_context::{ConnectionContext, buffer_release_at};
use super::fast_path::connection::FastPathOutcome;
use super::fast_path::serve;
use super::first_byte::has_first_byte;
use super::flood_delay::has_waited;
use super::http2;
use super::prior_knowledge::has_preface;
use crate::config::HttpSettings;
use crate::http::app::App;
use crate::http::connection::phase::{Expired, Phase};
use crate::http::connection::state::{ConnectionState, READ_BUFFER_BYTES};
use crate::http::connection::stream::ConnectionStream;
use crate::http::follow::serve as follow;
use crate::http::follow::takeover::{Takeover, TakeoverSlot};
use crate::http::pipeline;
use crate::http::pipeline::{Handlers, Http1};
use crate::net::connection_driver::{ConnectionWork, drive};
use crate::net::deadline::{Millis, now};
use crate::net::shutdown::HEAD_GRACE;
use crate::net::transport::Transport;

/// Serves the connection until it ends or `context.shutdown` ends it.
pub(crate) async fn serve<S: Transport, H: Handlers>(stream: S, context: ConnectionContext<H>) {
    let state = Arc::clone(&context.state);
    let mut stream = {
        let (refusals, turnstile) = (context.app.clone(), Arc::clone(&context.turnstile));
        ConnectionStream::new(stream, Arc::clone(&state), refusals, context.peer, turnstile)
    };
    while stream.has_unread() || has_first_byte(stream.inner(), &state, &context.shutdown).await {
        if state.phase() == Phase::New && !stream.inner().is_encrypted() {
            Box::pin(has_waited(stream.inner(), &context, false)).await;
        }
        // Boxed, so that the task of a silent connection does not hold the memory of this future.
        match Box::pin(serve_until_idle(stream, &state, &context)).await {
            ConnectionOutcome::Idle(idle) => stream = idle,
            ConnectionOutcome::Http2(stream) => {
                let (stream, unread) = stream.into_parts();
                return Box::pin(http2::serve(stream, unread, context)).await;
            }
            ConnectionOutcome::Following(..) | ConnectionOutcome::Ended => return,
        }
    }
}

/// Serves the requests of a connection until it is idle or has ended, or until its first bytes are
/// HTTP/2.
async fn serve_until_idle<S: Transport, H: Handlers>(
    mut stream: ConnectionStream<S>,
    state: &Arc<ConnectionState>,
    context: &ConnectionContext<H>,
) -> ConnectionOutcome<S> {
    if serve::is_eligible(context.peer) {
        match serve::serve_records(stream, state, context).await {
            FastPathOutcome::SlowPath(unread) => stream = unread,
            FastPathOutcome::Idle(idle) => return ConnectionOutcome::Idle(idle),
            FastPathOutcome::Ended => return ConnectionOutcome::Ended,
        }
    }
    // With TLS, the handshake has chosen the protocol.
    if state.phase() == Phase::New
        && !stream.inner().is_encrypted()
        && Box::pin(has_preface(&mut stream, state, &context.shutdown)).await
    {
        return ConnectionOutcome::Http2(stream);
    }
    match Box::pin(serve_requests(stream, state, context)).await {
        ConnectionOutcome::Following(stream, takeover) => {
            Box::pin(follow::serve(stream, *takeover, context.shutdown.clone())).await;
            ConnectionOutcome::Ended
        }
        outcome => outcome,
    }
}

/// Says how a part of the server left a connection.
enum ConnectionOutcome<S> {
    /// The connection has ended.
    Ended,
    /// The connection is idle.
    Idle(ConnectionStream<S>),
    /// A follower takes the connection over.
    Following(ConnectionStream<S>, Box<Takeover>),
    /// The first bytes of the connection are HTTP/2, and unread.
    Http2(ConnectionStream<S>),
}

/// Serves requests with hyper until the connection ends, is idle, or is taken over.
async fn serve_requests<S: Transport, H: Handlers>(
    stream: ConnectionStream<S>,
    state: &Arc<ConnectionState>,
    context: &ConnectionContext<H>,
) -> ConnectionOutcome<S> {
    let ConnectionContext { app, peer, handlers, shutdown, .. } = context;
    let takeovers = Arc::new(TakeoverSlot::default());
    let (builder, keep_alive) = {
        let policy = app.policy();
        (builder(&policy.files.http), policy.files.http.keep_alive)
    };
    let http1 = Http1 { takeovers: Arc::clone(&takeovers), keep_alive };
    let service = service_fn({
        let (app, state, peer, handlers) = (Arc::clone(app), Arc::clone(state), *peer, handlers.clone());
        move |request| {
            let http1 = Some(http1.clone());
            pipeline::answer(Arc::clone(&app), Arc::clone(&state), http1, peer, handlers.clone(), request)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut requests =
        Requests { connection, state, app, takeovers: &takeovers, grace_end: None, is_closing: false };
    let takeover = match drive(shutdown, &mut requests).await {
        RequestsEnd::Closed => return ConnectionOutcome::Ended,
        RequestsEnd::Idle => None,
        RequestsEnd::TakenOver(takeover) => Some(takeover),
    };
    let parts = requests.connection.into_parts();
    let mut stream = parts.io.into_inner();
    // An empty `Bytes` would still hold the whole read buffer.
    if !parts.read_buf.is_empty() {
        stream.unread(parts.read_buf);
    }
    match takeover {
        Some(takeover) => ConnectionOutcome::Following(stream, takeover),
        None => ConnectionOutcome::Idle(stream),
    }
}

/// Returns hyper's builder with the options that `http.toml` sets.
fn builder(http: &HttpSettings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(http.keep_alive)
        // A client that has closed its half of the connection still gets its answer.
        .half_close(true)
        .max_headers(http.max_headers as usize)
        .max_buf_size(usize::try_from(http.max_header_size).unwrap_or(usize::MAX).max(READ_BUFFER_BYTES));
    builder
}

/// The requests of a connection that hyper serves, under the deadlines of its phases.
struct Requests<'c, S, Svc: HttpService<Incoming>> {
    connection: Connection<TokioIo<ConnectionStream<S>>, Svc>,
    state: &'c ConnectionState,
    app: &'c App,
    takeovers: &'c TakeoverSlot,
    /// The end of the grace period, once the service stops.
    grace_end: Option<Millis>,
    /// Set when hyper closes the connection after the current request.
    is_closing: bool,
}

/// The reason why hyper no longer serves a connection.
enum RequestsEnd {
    /// The connection is closed or broken, or a time limit has expired.
    Closed,
    /// The connection was silent long enough to release its buffers.
    Idle,
    /// A follower takes the connection over.
    TakenOver(Box<Takeover>),
}

/// A time limit of a connection that hyper serves.
enum RequestsLimit {
    /// The grace period of a stop.
    Grace,
    /// The silence after which an idle connection releases its buffers.
    Buffers,
    /// The time limit of the current phase.
    Phase(Expired),
}

impl<S, Svc, B> ConnectionWork for Requests<'_, S, Svc>
where
    S: Transport,
    Svc: HttpService<Incoming, ResBody = B>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
{
    type Output = RequestsEnd;
    type Limit = RequestsLimit;

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<RequestsEnd> {
        if self.must_close() {
            Pin::new(&mut self.connection).graceful_shutdown();
            self.is_closing = true;
        }
        // The result does not matter: errors are broken connections and refusals already written.
        if Pin::new(&mut self.connection).poll(cx).is_ready() {
            return Poll::Ready(RequestsEnd::Closed);
        }
        let takeover = self.state.is_ready_for_takeover().then(|| self.takeovers.take()).flatten();
        takeover.map_or(Poll::Pending, |takeover| Poll::Ready(RequestsEnd::TakenOver(takeover)))
    }

    fn deadline(&self) -> (Millis, RequestsLimit) {
        let (deadline, limit) = self.state.deadline();
        let phase = (deadline, RequestsLimit::Phase(limit));
        let earlier = match self.grace_end {
            Some(_) if self.is_closing => None,
            Some(grace_end) if self.state.phase() == Phase::Head => {
                Some((grace_end + HEAD_GRACE, RequestsLimit::Phase(Expired::Head)))
            }
            Some(grace_end) => Some((grace_end, RequestsLimit::Grace)),
            None => self
                .state
                .idle_since()
                .map(|idle_since| (buffer_release_at(idle_since, self.app), RequestsLimit::Buffers)),
        };
        earlier.filter(|(earlier, _)| *earlier <= deadline).unwrap_or(phase)
    }

    fn on_expired(&mut self, limit: RequestsLimit) -> ControlFlow<RequestsEnd> {
        match limit {
            // hyper closes the connection when the work continues.
            RequestsLimit::Grace => ControlFlow::Continue(()),
            RequestsLimit::Buffers => ControlFlow::Break(RequestsEnd::Idle),
            // The wait for the first byte closes the connection, unless that byte is there.
            RequestsLimit::Phase(Expired::Silence) if self.is_idle() => ControlFlow::Break(RequestsEnd::Idle),
            RequestsLimit::Phase(limit) if self.state.may_refuse(limit) => ControlFlow::Continue(()),
            RequestsLimit::Phase(_) => ControlFlow::Break(RequestsEnd::Closed),
        }
    }

    fn on_drain(&mut self, grace_end: Millis) {
        self.grace_end = Some(grace_end);
    }

    fn on_hurry(&mut self) -> ControlFlow<RequestsEnd> {
        self.state.expire_unanswered();
        ControlFlow::Continue(())
    }
}

impl<S, Svc: HttpService<Incoming>> Requests<'_, S, Svc> {
    /// Reports whether the connection waits for its next request.
    fn is_idle(&self) -> bool {
        !self.is_closing && self.state.idle_since().is_some()
    }

    /// Reports whether hyper has to close the connection now, because the service stops. hyper
    /// treats a connection with a part of a head as idle and would close it, so such a connection
    /// has a time of its own.
    fn must_close(&self) -> bool {
        let Some(grace_end) = self.grace_end.filter(|_| !self.is_closing) else { return false };
        match self.state.phase() {
            Phase::Head => false,
            // The answer announces the close.
            Phase::Body
            | Phase::Uploading
            | Phase::Paused
            | Phase::Handling
            | Phase::Answering
            | Phase::Lingering => true,
            Phase::New | Phase::Idle | Phase::Offering | Phase::Following => now() >= grace_end,
        }
    }
}
