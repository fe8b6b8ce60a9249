//! Serves one HTTP/2 connection with hyper, under the same timeouts as HTTP/1. Only a TLS handshake
//! can negotiate HTTP/2.
//!
//! Each stream has its own [`ConnectionState`] and timer and passes the same checks as an HTTP/1
//! request. The connection itself has a deadline only while it has no streams, or while the client
//! accepts no bytes.
//!
//! The memory that a client can occupy is bounded. The bound of a stream covers its head and the
//! waiting part of its answer. The bound of the connection covers the number of its streams and
//! their unread bodies.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connection_context::ConnectionContext;
use crate::config::HttpSettings;
use crate::http::connection::phase::{Expired, Phase, Timeouts};
use crate::http::connection::state::{ConnectionState, LINGER_TIMEOUT};
use crate::http::pipeline;
use crate::http::pipeline::Handlers;
use crate::net::deadline::{LazyDeadline, timer};
use crate::net::deadline::{Millis, now};
use crate::net::transport::Transport;

/// Maximum number of open streams on one connection. Further streams are refused.
const MAX_CONCURRENT_STREAMS: u32 = 128;

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

/// Maximum size of a DATA frame. Each frame that the client accepts counts as progress.
const MAX_DATA_FRAME_BYTES: usize = 16 * 1024;

/// Silence after GOAWAY until a connection without streams is cut.
const CLOSE_TIMEOUT: Millis = 1000;

/// Serves the connection until it ends or `context.shutdown` ends it.
pub(crate) async fn serve<S: Transport, H: Handlers>(stream: S, context: ConnectionContext<H>) {
    let ConnectionContext { app, peer, handlers, shutdown } = context;
    let policy = app.policy();
    let timeouts = policy.timeouts;
    let activity = Arc::new(ConnectionActivity::new());
    let executor = StreamExecutor {
        next: Arc::default(),
        activity: Arc::clone(&activity),
        hurry: shutdown.hurry,
        timeouts,
    };
    let next = Arc::clone(&executor.next);
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Arc::new(ConnectionState::for_stream(app.policy().timeouts));
        *next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&state));
        let is_head = request.method() == Method::HEAD;
        let answer =
            pipeline::answer(Arc::clone(&app), Arc::clone(&state), None, peer, handlers.clone(), request);
        async move {
            let Ok(response) = answer.await;
            Ok::<_, Infallible>(into_http2_response(response, state, is_head))
        }
    });
    let monitored = MonitoredTransport { inner: stream, activity: Arc::clone(&activity) };
    let mut connection =
        Box::pin(builder(executor, &policy.files.http).serve_connection(TokioIo::new(monitored), service));
    drop(policy);

    let mut draining = pin!(shutdown.drain.cancelled());
    // The time at which GOAWAY was sent.
    let mut closing_since: Option<Millis> = None;
    let deadline = activity.deadline(&timeouts, closing_since);
    let timer = pin!(timer(deadline));
    let mut lazy_deadline = LazyDeadline::new(deadline, timer);
    poll_fn(|cx| {
        if closing_since.is_none() && draining.as_mut().poll(cx).is_ready() {
            // Sends GOAWAY. Streams that the client has opened already are still answered.
            connection.as_mut().graceful_shutdown();
            closing_since = Some(now());
        }
        loop {
            // The result does not matter, because an error means a broken connection.
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if lazy_deadline.poll_expired(activity.deadline(&timeouts, closing_since), cx).is_pending() {
                return Poll::Pending;
            }
            if activity.is_busy() && !activity.is_blocked() {
                continue;
            }
            if closing_since.is_some() || activity.is_blocked() || !activity.has_served() {
                return Poll::Ready(());
            }
            connection.as_mut().graceful_shutdown();
            closing_since = Some(now());
        }
    })
    .await;
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

/// Tracks the activity of a connection, from which its deadline follows.
struct ConnectionActivity {
    /// Number of open streams.
    open_streams: AtomicUsize,
    /// Set when the connection has had a stream.
    served: AtomicBool,
    /// Time at which the connection began or its last stream ended.
    idle_since: AtomicU64,
    /// Time since which the client has accepted no bytes, or 0 while it accepts them.
    blocked_since: AtomicU64,
    /// Time of the last write that the client accepted.
    last_write: AtomicU64,
}

impl ConnectionActivity {
    fn new() -> Self {
        Self {
            open_streams: AtomicUsize::new(0),
            served: AtomicBool::new(false),
            idle_since: AtomicU64::new(now()),
            blocked_since: AtomicU64::new(0),
            last_write: AtomicU64::new(0),
        }
    }

    fn is_busy(&self) -> bool {
        self.open_streams.load(Ordering::Relaxed) > 0
    }

    fn is_blocked(&self) -> bool {
        self.blocked_since.load(Ordering::Relaxed) != 0
    }

    fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Returns the deadline of the connection. `closing_since` is the time at which GOAWAY was
    /// sent.
    fn deadline(&self, timeouts: &Timeouts, closing_since: Option<Millis>) -> Millis {
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        if blocked != 0 {
            return blocked + timeouts.response;
        }
        if self.is_busy() {
            // Each stream has its own timer. At this deadline the connection is only checked again.
            return now() + timeouts.keep_alive;
        }
        let idle = self.idle_since.load(Ordering::Relaxed);
        match closing_since {
            // The end of an answer may still be in the send buffer, so each accepted write extends
            // the time.
            Some(closing_since) => {
                let begin = closing_since.max(idle);
                let last_write = self.last_write.load(Ordering::Relaxed);
                (begin.max(last_write) + CLOSE_TIMEOUT).min(begin + timeouts.response)
            }
            None if self.has_served() => idle + timeouts.keep_alive,
            None => idle + timeouts.request,
        }
    }

    /// Counts a stream that begins.
    fn begin_stream(self: &Arc<Self>) -> OpenStream {
        self.served.store(true, Ordering::Relaxed);
        self.open_streams.fetch_add(1, Ordering::Relaxed);
        OpenStream(Arc::clone(self))
    }
}

/// Counts one open stream until it is dropped.
struct OpenStream(Arc<ConnectionActivity>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.idle_since.store(now(), Ordering::Relaxed);
        self.0.open_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs each stream in a separate task with its own timer.
#[derive(Clone)]
struct StreamExecutor {
    /// The state of the request that the service received last. hyper executes its stream next.
    next: Arc<Mutex<Option<Arc<ConnectionState>>>>,
    activity: Arc<ConnectionActivity>,
    hurry: CancellationToken,
    timeouts: Timeouts,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let state = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        // hyper executes streams of requests only, since the server accepts no tunnels.
        if let Some(state) = state {
            let open_stream = self.activity.begin_stream();
            let (hurry, timeouts) = (self.hurry.clone(), self.timeouts);
            tokio::spawn(async move {
                run_stream(stream, &state, &hurry).await;
                // A client that has exceeded a time limit already gets no more time for its body.
                if let Some(body) = state.take_unread_body().filter(|_| !state.is_overdue()) {
                    tokio::select! {
                        () = linger(body, timeouts) => {}
                        () = hurry.cancelled() => {}
                    }
                }
                drop(open_stream);
            });
        }
    }
}

/// Runs one stream with its own timer. hyper resets a stream that is dropped before its end.
async fn run_stream(stream: impl Future<Output = ()>, state: &ConnectionState, hurry: &CancellationToken) {
    let mut stream = pin!(stream);
    let mut hurrying = pin!(hurry.cancelled());
    let mut is_hurried = false;
    let (deadline, _) = state.deadline();
    let timer = pin!(timer(deadline));
    let mut lazy_deadline = LazyDeadline::new(deadline, timer);
    poll_fn(|cx| {
        if !is_hurried && hurrying.as_mut().poll(cx).is_ready() {
            is_hurried = true;
            state.expire_unanswered();
        }
        loop {
            if stream.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let (deadline, limit) = state.deadline();
            if lazy_deadline.poll_expired(deadline, cx).is_pending() {
                return Poll::Pending;
            }
            match limit {
                Expired::Silence | Expired::Stalled => {
                    state.expire(limit);
                    return Poll::Ready(());
                }
                // At the first expiry the pipeline refuses the request. At the second one the
                // stream is reset.
                _ if state.is_expired(limit) => return Poll::Ready(()),
                _ => state.expire(limit),
            }
        }
    })
    .await;
}

/// Reads and discards the rest of a body after its answer, as long as the client continues to send.
/// Many clients do not read the answer when the server resets their stream in the middle of a body.
async fn linger(mut body: Box<Incoming>, timeouts: Timeouts) {
    let silence = Duration::from_millis(LINGER_TIMEOUT);
    let discard = async { while let Ok(Some(Ok(_))) = timeout(silence, body.frame()).await {} };
    drop(timeout(Duration::from_millis(timeouts.request), discard).await);
}

/// Removes `Connection` from a response and sends its body in paced frames, or no body for HEAD.
fn into_http2_response<B: Body<Data = Bytes>>(
    mut response: Response<B>,
    state: Arc<ConnectionState>,
    is_head: bool,
) -> Response<PacedBody<B>> {
    let headers = response.headers_mut();
    // HTTP/2 forbids this field (RFC 9113, section 8.2.2).
    headers.remove(header::CONNECTION);
    if is_head && let Some(length) = response.body().size_hint().exact() {
        let headers = response.headers_mut();
        headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    response.map(|body| PacedBody { body: (!is_head).then_some(body), rest: Bytes::new(), state })
}

/// Sends the body of an answer in frames of limited size, so that each accepted frame shows
/// progress.
struct PacedBody<B> {
    /// `None` when the request was HEAD.
    body: Option<B>,
    /// The rest of the current frame of `body`.
    rest: Bytes,
    state: Arc<ConnectionState>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for PacedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let paced = &mut *self;
        // hyper asks for the next frame when the client has accepted the last one.
        paced.state.enter(Phase::Answering);
        if paced.rest.is_empty() {
            let Some(body) = &mut paced.body else { return Poll::Ready(None) };
            match std::task::ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => paced.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let chunk = paced.rest.split_to(paced.rest.len().min(MAX_DATA_FRAME_BYTES));
        paced.state.enter(Phase::Offering);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let Some(body) = &self.body else { return SizeHint::with_exact(0) };
        let rest = self.rest.len() as u64;
        let hint = body.size_hint();
        let mut total = SizeHint::new();
        total.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            total.set_upper(upper + rest);
        }
        total
    }
}

/// Wraps the transport of the connection and records whether the client accepts bytes.
struct MonitoredTransport<S> {
    inner: S,
    activity: Arc<ConnectionActivity>,
}

impl<S> MonitoredTransport<S> {
    /// Records the outcome of an operation. `has_written` is true for a write.
    fn note<T>(&self, outcome: Poll<T>, has_written: bool) -> Poll<T> {
        let activity = &self.activity;
        if outcome.is_pending() {
            if !activity.is_blocked() {
                activity.blocked_since.store(now().max(1), Ordering::Relaxed);
            }
        } else {
            activity.blocked_since.store(0, Ordering::Relaxed);
            if has_written {
                activity.last_write.store(now(), Ordering::Relaxed);
            }
        }
        outcome
    }
}

impl<S: Transport> AsyncRead for MonitoredTransport<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: Transport> AsyncWrite for MonitoredTransport<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note(outcome, true)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note(outcome, true)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.note(outcome, false)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.note(outcome, false)
    }
}
