//! HTTP/2, which only a TLS handshake can agree on: hyper's server under the same timeouts as HTTP/1.
//!
//! Each stream has a [`ConnectionState`] and a timer of its own, and goes through the same checks as a request of HTTP/1. The
//! connection itself is only watched while it has no streams, or takes nothing of what is written. What a client can make
//! us hold is bounded for each stream (head, answer that waits) and for the connection (streams, bodies not yet read).

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

use super::client::Client;
use crate::config::HttpSettings;
use crate::http::connection::state::{ConnectionState, Expired, LINGER, Phase, Timeouts};
use crate::http::pipeline;
use crate::http::pipeline::Handlers;
use crate::net::deadline::{LazyDeadline, timer};
use crate::net::deadline::{Millis, now};
use crate::net::transport::Transport;

/// Requests in hand at once on one connection; a client that ignores it is refused the others.
const STREAMS: u32 = 128;

/// Of one stream: what a client may send before we read it, and what of an answer may wait for the client.
const STREAM_WINDOW: u32 = 64 * 1024;

/// Of all streams of a connection: what a client may send before we read it.
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// Streams that the client took back before we looked at them; more of them end the connection (CVE-2023-44487).
const RESETS_UNSEEN: usize = 20;

/// Streams that we reset for mistakes of the client; more of them end the connection (RUSTSEC-2024-0003).
const RESETS_OURS: usize = 1024;

/// An answer goes out in pieces of at most this many bytes: one of them taken is progress.
const PIECE: usize = 16 * 1024;

/// How long a connection without streams that was told to end may take nothing before it is cut.
const GRACE: Millis = 1000;

/// Serves the connection until it ends, or as long as `client.stopping` lets it.
pub(crate) async fn serve<S: Transport, H: Handlers>(stream: S, client: Client<H>) {
    let Client { app, peer, handlers, stopping } = client;
    let policy = app.policy();
    let timeouts = policy.timeouts;
    let session = Arc::new(Session::new());
    let streams =
        Streams { next: Arc::default(), session: Arc::clone(&session), hurry: stopping.hurry, timeouts };
    let next = Arc::clone(&streams.next);
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Arc::new(ConnectionState::of_stream(app.policy().timeouts));
        *next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&state));
        let is_head = request.method() == Method::HEAD;
        let answer =
            pipeline::answer(Arc::clone(&app), Arc::clone(&state), None, peer, handlers.clone(), request);
        async move {
            let Ok(response) = answer.await;
            Ok::<_, Infallible>(over_stream(response, state, is_head))
        }
    });
    let watched = Watched { inner: stream, session: Arc::clone(&session) };
    let mut connection =
        Box::pin(builder(streams, &policy.files.http).serve_connection(TokioIo::new(watched), service));
    drop(policy);

    let mut draining = pin!(stopping.drain.cancelled());
    // Since when it is told to end.
    let mut told: Option<Millis> = None;
    let deadline = session.deadline(&timeouts, told);
    let timer = pin!(timer(deadline));
    let mut alarm = LazyDeadline::new(deadline, timer);
    poll_fn(|cx| {
        if told.is_none() && draining.as_mut().poll(cx).is_ready() {
            // GOAWAY: what is on its way is still answered.
            connection.as_mut().graceful_shutdown();
            told = Some(now());
        }
        loop {
            // How it ended is the client's business.
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if alarm.poll_expired(session.deadline(&timeouts, told), cx).is_pending() {
                return Poll::Pending;
            }
            if session.is_busy() && !session.is_blocked() {
                continue;
            }
            if told.is_some() || session.is_blocked() || !session.has_served() {
                return Poll::Ready(());
            }
            connection.as_mut().graceful_shutdown();
            told = Some(now());
        }
    })
    .await;
}

fn builder(streams: Streams, http: &HttpSettings) -> http2::Builder<Streams> {
    // hyper answers what is larger than this without our words; it counts 32 bytes more for each field (RFC 9113,
    // section 6.5.2) and the target, so that `well_formed` says it first.
    let head = http.max_header_size * 2 + u64::from(http.max_headers) * 32 + 4096;
    let mut builder = http2::Builder::new(streams);
    builder
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(STREAM_WINDOW as usize)
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_UNSEEN)
        .max_local_error_reset_streams(RESETS_OURS);
    builder
}

/// What the streams of a connection and its bytes tell its timer.
struct Session {
    live: AtomicUsize,
    served: AtomicBool,
    /// when the connection began, or its last stream ended
    idle_since: AtomicU64,
    /// since when the client takes nothing of what is written; 0 = it does
    blocked_since: AtomicU64,
    last_write: AtomicU64,
}

impl Session {
    fn new() -> Self {
        Self {
            live: AtomicUsize::new(0),
            served: AtomicBool::new(false),
            idle_since: AtomicU64::new(now()),
            blocked_since: AtomicU64::new(0),
            last_write: AtomicU64::new(0),
        }
    }

    fn is_busy(&self) -> bool {
        self.live.load(Ordering::Relaxed) > 0
    }

    fn is_blocked(&self) -> bool {
        self.blocked_since.load(Ordering::Relaxed) != 0
    }

    fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Until when the connection may go on like this. `told`: since when it is told to end.
    fn deadline(&self, timeouts: &Timeouts, told: Option<Millis>) -> Millis {
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        if blocked != 0 {
            return blocked + timeouts.response();
        }
        if self.is_busy() {
            // Each stream has its own timer; this one only looks again.
            return now() + timeouts.keep_alive();
        }
        let idle = self.idle_since.load(Ordering::Relaxed);
        match told {
            // The end of an answer may still be on its way.
            Some(told) => {
                let begin = told.max(idle);
                (begin.max(self.last_write.load(Ordering::Relaxed)) + GRACE).min(begin + timeouts.response())
            }
            None if self.has_served() => idle + timeouts.keep_alive(),
            None => idle + timeouts.request(),
        }
    }

    fn begin(self: &Arc<Self>) -> Live {
        self.served.store(true, Ordering::Relaxed);
        self.live.fetch_add(1, Ordering::Relaxed);
        Live(Arc::clone(self))
    }
}

/// A stream that is served.
struct Live(Arc<Session>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.idle_since.store(now(), Ordering::Relaxed);
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs each stream in a task of its own, under its own timer.
#[derive(Clone)]
struct Streams {
    /// the state of the request that hyper was given just now: it runs its stream next
    next: Arc<Mutex<Option<Arc<ConnectionState>>>>,
    session: Arc<Session>,
    hurry: CancellationToken,
    timeouts: Timeouts,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let state = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Nothing but requests is run here: there are no tunnels.
        if let Some(state) = state {
            let live = self.session.begin();
            let (hurry, timeouts) = (self.hurry.clone(), self.timeouts);
            tokio::spawn(async move {
                run(stream, &state, &hurry).await;
                // Who was too slow already is not waited for again.
                if let Some(body) = state.left().filter(|_| !state.is_overdue()) {
                    tokio::select! {
                        () = linger(body, timeouts) => {}
                        () = hurry.cancelled() => {}
                    }
                }
                drop(live);
            });
        }
    }
}

/// Runs one stream. A stream that is dropped before its end is reset.
async fn run(stream: impl Future<Output = ()>, state: &ConnectionState, hurry: &CancellationToken) {
    let mut stream = pin!(stream);
    let mut hurrying = pin!(hurry.cancelled());
    let mut hurried = false;
    let (deadline, _) = state.deadline();
    let timer = pin!(timer(deadline));
    let mut alarm = LazyDeadline::new(deadline, timer);
    poll_fn(|cx| {
        if !hurried && hurrying.as_mut().poll(cx).is_ready() {
            hurried = true;
            state.hurry();
        }
        loop {
            if stream.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let (deadline, what) = state.deadline();
            if alarm.poll_expired(deadline, cx).is_pending() {
                return Poll::Pending;
            }
            match what {
                Expired::Silence | Expired::Stalled => {
                    state.expire(what);
                    return Poll::Ready(());
                }
                // Told once, the service says so to the client; not obeyed, the stream is reset.
                _ if state.is_expired(what) => return Poll::Ready(()),
                _ => state.expire(what),
            }
        }
    })
    .await;
}

/// Throws away what a client still sends behind its answer, as long as it goes on sending: reset in the middle of a body,
/// not every client looks whether there was an answer.
async fn linger(mut body: Box<Incoming>, timeouts: Timeouts) {
    let silence = Duration::from_millis(LINGER);
    let all = async { while let Ok(Some(Ok(_))) = timeout(silence, body.frame()).await {} };
    drop(timeout(Duration::from_millis(timeouts.request()), all).await);
}

/// Makes an answer one of HTTP/2.
fn over_stream<B: Body<Data = Bytes>>(
    mut response: Response<B>,
    state: Arc<ConnectionState>,
    is_head: bool,
) -> Response<Paced<B>> {
    let headers = response.headers_mut();
    // RFC 9113, section 8.2.2: the connection is no matter of one stream.
    headers.remove(header::CONNECTION);
    if is_head && let Some(length) = response.body().size_hint().exact() {
        let headers = response.headers_mut();
        headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    response.map(|body| Paced { body: (!is_head).then_some(body), rest: Bytes::new(), state })
}

/// The body of an answer, in pieces that show whether the client takes them.
struct Paced<B> {
    /// `None`: the request was HEAD
    body: Option<B>,
    rest: Bytes,
    state: Arc<ConnectionState>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Paced<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        // It is our turn: the client took what there was.
        this.state.enter(Phase::Answering);
        if this.rest.is_empty() {
            let Some(body) = &mut this.body else { return Poll::Ready(None) };
            match std::task::ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        this.state.enter(Phase::Offering);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let Some(body) = &self.body else { return SizeHint::with_exact(0) };
        let rest = self.rest.len() as u64;
        let hint = body.size_hint();
        let mut all = SizeHint::new();
        all.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            all.set_upper(upper + rest);
        }
        all
    }
}

/// The bytes of the connection; notes when the client takes none.
struct Watched<S> {
    inner: S,
    session: Arc<Session>,
}

impl<S> Watched<S> {
    fn note<T>(&self, outcome: Poll<T>, wrote: bool) -> Poll<T> {
        let session = &self.session;
        if outcome.is_pending() {
            if !session.is_blocked() {
                session.blocked_since.store(now().max(1), Ordering::Relaxed);
            }
        } else {
            session.blocked_since.store(0, Ordering::Relaxed);
            if wrote {
                session.last_write.store(now(), Ordering::Relaxed);
            }
        }
        outcome
    }
}

impl<S: Transport> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: Transport> AsyncWrite for Watched<S> {
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
