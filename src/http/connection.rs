//! One connection: hyper's HTTP/1 under one lazily armed timer that knows, from the connection's phase, what must have
//! happened by when, and the end of a connection when the service stops.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::App;
use super::phase::{ConnState, Expired, Millis, Phase, now};
use super::service::{self, Handlers};
use super::stream::ConnStream;
use crate::guard::ClientAddr;

/// A stopping service listens this long to a connection that is silent: a request that is on its way is answered.
const LAST_WORDS: Millis = 300;

/// The smallest buffer that hyper accepts.
const BUFFER_MIN: usize = 8192;

/// How a connection learns that the service stops.
#[derive(Debug, Clone)]
pub(super) struct Stopping {
    /// what was begun is finished, and nothing more
    pub(super) drain: CancellationToken,
    /// what is not finished by now never will be: clients are told
    pub(super) hurry: CancellationToken,
}

/// Serves the connection until it ends, or as long as `stopping` lets it.
pub(super) async fn serve<S, H>(stream: S, app: Arc<App>, peer: ClientAddr, handlers: H, stopping: Stopping)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handlers,
{
    let policy = app.policy();
    let http = &policy.files.http;
    let state = Arc::new(ConnState::new(policy.limits));
    let service = service_fn({
        let (app, state) = (Arc::clone(&app), Arc::clone(&state));
        move |request| service::answer(Arc::clone(&app), Arc::clone(&state), peer, handlers.clone(), request)
    });
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(http.keep_alive)
        // A client that said all it has to say, and closed its half, still gets its answer.
        .half_close(true)
        .max_headers(http.max_headers as usize)
        .max_buf_size(usize::try_from(http.max_header_size).unwrap_or(usize::MAX).max(BUFFER_MIN));
    let stream = TokioIo::new(ConnStream::new(stream, Arc::clone(&state), app, peer));
    let mut connection = pin!(builder.serve_connection(stream, service));
    drop(policy);

    let mut draining = pin!(stopping.drain.cancelled());
    let mut hurrying = pin!(stopping.hurry.cancelled());
    let mut hurried = false;
    let mut last_words: Option<Millis> = None;
    let mut told = false;
    let (mut armed, _) = state.deadline();
    let mut timer = pin!(sleep_until(instant_of(armed)));
    poll_fn(|cx| {
        if last_words.is_none() && draining.as_mut().poll(cx).is_ready() {
            last_words = Some(now() + LAST_WORDS);
        }
        if last_words.is_some() && !hurried && hurrying.as_mut().poll(cx).is_ready() {
            hurried = true;
            match state.phase() {
                Phase::Head => state.expire(Expired::Head),
                Phase::Body => state.expire(Expired::Body),
                Phase::Handling => state.expire(Expired::Answer),
                _ => {}
            }
        }
        loop {
            let phase = state.phase();
            // hyper takes a connection with half a head for an idle one and would close it.
            if let Some(until) = last_words
                && !told
                && (is_busy(phase) || (phase != Phase::Head && now() >= until))
            {
                connection.as_mut().graceful_shutdown();
                told = true;
            }
            // How it ended is the client's business: errors are broken connections and refusals already written.
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let (mut deadline, what) = state.deadline();
            if let Some(until) = last_words.filter(|_| !told && state.phase() != Phase::Head) {
                deadline = deadline.min(until);
            }
            if deadline < armed {
                armed = deadline;
                timer.as_mut().reset(instant_of(armed));
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let time = now();
            if time < deadline {
                // Armed for a phase that is over.
                armed = deadline;
                timer.as_mut().reset(instant_of(armed));
                continue;
            }
            armed = time + 1000;
            timer.as_mut().reset(instant_of(armed));
            if last_words.is_some_and(|until| !told && time >= until) && state.phase() != Phase::Head {
                continue;
            }
            match what {
                Expired::Silence | Expired::Stalled => return Poll::Ready(()),
                // Told once, the stream or the service says so to the client; not obeyed, the connection is cut.
                _ if state.is_expired(what) => return Poll::Ready(()),
                _ => state.expire(what),
            }
        }
    })
    .await;
}

/// A request is in hand, so that its answer can carry the news.
const fn is_busy(phase: Phase) -> bool {
    matches!(phase, Phase::Body | Phase::Handling | Phase::Answering | Phase::Lingering)
}

/// Deadlines are exact within the coarse clock's tick; the timer comes a tick later rather than too early.
fn instant_of(deadline: Millis) -> Instant {
    Instant::now() + Duration::from_millis(deadline.saturating_sub(now()).min(86_400_000) + 5)
}
