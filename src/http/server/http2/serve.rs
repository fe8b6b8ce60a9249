//! Serves one HTTP/2 connection with hyper, under the same timeouts as HTTP/1.

use std::error::Error;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use h2::Reason;
use http::{Method, Request};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::http2::{self, Connection};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;

use super::activity::ConnectionActivity;
use super::paced_body::into_http2_response;
use super::stream::{NextStream, StreamExecutor};
use super::stream_permit::StreamPermit;
use super::transport::MonitoredTransport;
use crate::config::HttpSettings;
use crate::guard::ClientAddr;
use crate::http::app::App;
use crate::http::connection::phase::Timeouts;
use crate::http::connection::state::ConnectionState;
use crate::http::observe::access_log::redact::redacted;
use crate::http::observe::counters;
use crate::http::observe::refused_requests::Origin;
use crate::http::pipeline;
use crate::http::pipeline::Handlers;
use crate::http::response::problem::Problem;
use crate::http::server::connection_context::ConnectionContext;
use crate::net::connection_driver::{ConnectionWork, drive};
use crate::net::deadline::{Millis, now};
use crate::net::transport::Transport;

/// Maximum number of open streams on one connection. Further streams are refused.
const MAX_CONCURRENT_STREAMS: u32 = 32;

/// Maximum number of unread bytes that a client may send on one stream. It is also the maximum
/// number of bytes of an answer that may wait for the client.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;

/// Maximum number of unread bytes that a client may send on all streams of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// Maximum number of streams that the client may reset before the server accepts them. One more
/// ends the connection (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;

/// Maximum number of streams that the server resets because of errors of the client. One more ends
/// the connection (RUSTSEC-2024-0003).
const MAX_ERROR_RESETS: usize = 1024;

/// Serves the connection until it ends or `context.shutdown` ends it. `unread` are the bytes that
/// were read before the protocol was known.
pub(crate) async fn serve<S: Transport, H: Handlers>(
    stream: S,
    unread: Bytes,
    context: ConnectionContext<H>,
) {
    let ConnectionContext { app, peer, state, handlers, turnstile, shutdown } = context;
    // The first bytes of a connection may hold many requests.
    Box::pin(turnstile.pass()).await;
    let policy = app.policy();
    let timeouts = policy.timeouts;
    let activity = Arc::new(ConnectionActivity::new(state));
    let shutdown = Arc::new(shutdown);
    let executor = StreamExecutor::new(Arc::clone(&activity), turnstile, Arc::clone(&shutdown), timeouts);
    let builder = builder(executor.clone(), &policy.files.http);
    drop(policy);
    let service = service_fn({
        let app = Arc::clone(&app);
        move |request: Request<Incoming>| {
            let policy = app.policy();
            let open_streams = &app.instance_state.http2_streams;
            let permit = StreamPermit::take(open_streams, policy.files.http.max_streams);
            if permit.is_none() {
                on_stream_refused(&app, peer, &request);
            }
            let answer = permit.map(|permit| {
                let state = Arc::new(ConnectionState::for_stream(policy.timeouts));
                executor.set_next(NextStream { state: Arc::clone(&state), permit });
                let is_head = request.method() == Method::HEAD;
                let (app, handlers) = (Arc::clone(&app), handlers.clone());
                let answer = pipeline::answer(app, Arc::clone(&state), None, peer, handlers, request);
                // Boxed, so that a stream whose answer waits for the client does not hold the memory
                // of the checks and the handler.
                (Box::pin(answer), state, is_head)
            });
            async move {
                let Some((answer, state, is_head)) = answer else {
                    return Err(h2::Error::from(Reason::REFUSED_STREAM));
                };
                let Ok(response) = answer.await;
                Ok(into_http2_response(response, state, is_head))
            }
        }
    });
    let monitored = MonitoredTransport::new(stream, unread, Arc::clone(&activity));
    let connection = Box::pin(builder.serve_connection(TokioIo::new(monitored), service));
    let mut streams = Streams { connection, activity: &activity, timeouts, closing_since: None };
    let error = drive(&shutdown, &mut streams).await;
    if activity.is_flooded() || error.is_some_and(|error| is_flood(&error)) {
        app.guard.floods().note(peer, Instant::now());
    }
}

/// Counts a request beyond `max_streams`, and keeps it for the operator.
fn on_stream_refused(app: &App, client: ClientAddr, request: &Request<Incoming>) {
    let path = redacted(request.uri().path());
    let origin = Origin { client, key: None, method: Some(request.method().as_str()), route: Some(&path) };
    let problem = Problem::overloaded("Too many streams at once.");
    app.on_refused(&origin, &problem.counted_as(counters::Reason::TooManyStreams));
}

/// Reports whether h2 ended the connection because of a flood of frames.
fn is_flood(error: &hyper::Error) -> bool {
    let error = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_some_and(|error| {
        error.is_go_away() && error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
    })
}

/// Returns hyper's builder with all limits set.
fn builder(executor: StreamExecutor, http: &HttpSettings) -> http2::Builder<StreamExecutor> {
    // hyper refuses a larger head without a problem document. It also counts the target and 32 bytes
    // for each field (RFC 9113, section 6.5.2). The margin lets a head above `max_header_size` reach
    // `check_head`, which refuses it with a problem document.
    let max_head_bytes = http.max_header_size * 2 + u64::from(http.max_headers) * 32 + 4096;
    let mut builder = http2::Builder::new(executor);
    builder
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_WINDOW_BYTES as usize)
        .max_header_list_size(u32::try_from(max_head_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS);
    builder
}

/// hyper's connection over a transport that is monitored.
type HyperConnection<S, Svc> = Connection<TokioIo<MonitoredTransport<S>>, Svc, StreamExecutor>;

/// The streams of a connection, under the deadline of the connection itself.
struct Streams<'c, S, Svc: HttpService<Incoming>> {
    connection: Pin<Box<HyperConnection<S, Svc>>>,
    activity: &'c ConnectionActivity,
    timeouts: Timeouts,
    /// The time at which GOAWAY was sent.
    closing_since: Option<Millis>,
}

impl<S, Svc, B> ConnectionWork for Streams<'_, S, Svc>
where
    S: Transport,
    Svc: HttpService<Incoming, ResBody = B>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
    StreamExecutor: Http2ServerConnExec<Svc::Future, B>,
{
    /// The error of the connection, which only says why it is broken.
    type Output = Option<hyper::Error>;
    type Limit = ();

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.connection.as_mut().poll(cx).map(Result::err)
    }

    fn deadline(&self) -> (Millis, ()) {
        (self.activity.deadline(&self.timeouts, self.closing_since), ())
    }

    fn on_expired(&mut self, (): ()) -> ControlFlow<Self::Output> {
        let activity = self.activity;
        if activity.is_flooded() {
            return ControlFlow::Break(None);
        }
        if activity.is_busy() && !activity.is_blocked() {
            return ControlFlow::Continue(());
        }
        if self.closing_since.is_some() || activity.is_blocked() || !activity.has_served() {
            return ControlFlow::Break(None);
        }
        self.send_goaway();
        ControlFlow::Continue(())
    }

    fn on_drain(&mut self, _: Millis) {
        if self.closing_since.is_none() {
            self.send_goaway();
        }
    }
}

impl<S, Svc, B> Streams<'_, S, Svc>
where
    S: Transport,
    Svc: HttpService<Incoming, ResBody = B>,
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
    StreamExecutor: Http2ServerConnExec<Svc::Future, B>,
{
    /// Sends GOAWAY. Streams that the client has opened already are still answered.
    fn send_goaway(&mut self) {
        self.connection.as_mut().graceful_shutdown();
        self.closing_since = Some(now());
    }
}
