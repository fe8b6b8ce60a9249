//! Runs each HTTP/2 stream in a separate task with its own state and timer.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::rt::Executor;
use tokio::time::timeout;

use super::activity::ConnectionActivity;
use super::stream_permit::StreamPermit;
use crate::http::connection::phase::{Expired, Timeouts};
use crate::http::connection::state::{ConnectionState, LINGER_TIMEOUT};
use crate::net::connection_driver::{ConnectionWork, drive};
use crate::net::deadline::Millis;
use crate::net::shutdown::Shutdown;
use crate::net::turnstile::Turnstile;

/// Number of open streams of a connection above which further ones pass through the turnstile. Otherwise
/// all requests that a client sends at once would run before the request of any other client.
const MAX_UNREGULATED_STREAMS: usize = 4;

/// Runs each stream in a separate task with its own timer.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    /// The stream of the request that the service received last. hyper executes it next.
    next: Arc<Mutex<Option<NextStream>>>,
    activity: Arc<ConnectionActivity>,
    turnstile: Arc<Turnstile>,
    shutdown: Arc<Shutdown>,
    timeouts: Timeouts,
}

/// A stream that hyper executes next.
pub(super) struct NextStream {
    pub(super) state: Arc<ConnectionState>,
    /// The place of the stream among those of all connections.
    pub(super) permit: StreamPermit,
}

impl StreamExecutor {
    /// Returns the executor of a connection.
    pub(super) fn new(
        activity: Arc<ConnectionActivity>,
        turnstile: Arc<Turnstile>,
        shutdown: Arc<Shutdown>,
        timeouts: Timeouts,
    ) -> Self {
        Self { next: Arc::default(), activity, turnstile, shutdown, timeouts }
    }

    /// Sets the stream that hyper executes next.
    pub(super) fn set_next(&self, next: NextStream) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(next);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(NextStream { state, permit }) = next else {
            // The service has refused the stream, so its first poll resets it and ends it. The
            // server accepts no tunnels, which hyper would execute as well.
            stream.now_or_never().unwrap_or_default();
            return;
        };
        let open_stream = self.activity.begin_stream();
        let is_crowding = self.activity.open_streams() > MAX_UNREGULATED_STREAMS;
        let turnstile = is_crowding.then(|| Arc::clone(&self.turnstile));
        let (shutdown, timeouts) = (Arc::clone(&self.shutdown), self.timeouts);
        // Boxed, because each future that holds another one by value holds it twice, as an argument
        // and as a variable.
        let stream = Box::pin(stream);
        tokio::spawn(async move {
            if let Some(turnstile) = turnstile {
                Box::pin(turnstile.pass()).await;
            }
            run_stream(stream, &state, &shutdown).await;
            // A client that has exceeded a time limit already gets no more time for its body.
            if let Some(body) = state.take_unread_body().filter(|_| !state.is_overdue()) {
                tokio::select! {
                    () = Box::pin(linger(body, timeouts)) => {}
                    () = shutdown.hurry.cancelled() => {}
                }
            }
            drop((open_stream, permit));
        });
    }
}

/// Runs one stream with its own timer. hyper resets a stream that is dropped before its end.
async fn run_stream<F: Future<Output = ()>>(
    mut stream: Pin<Box<F>>,
    state: &ConnectionState,
    shutdown: &Shutdown,
) {
    drive(shutdown, &mut Stream { stream: stream.as_mut(), state }).await;
}

/// One stream, under the deadlines of its phases.
struct Stream<'s, F> {
    stream: Pin<&'s mut F>,
    state: &'s ConnectionState,
}

impl<F: Future<Output = ()>> ConnectionWork for Stream<'_, F> {
    type Output = ();
    type Limit = Expired;

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.as_mut().poll(cx)
    }

    fn deadline(&self) -> (Millis, Expired) {
        self.state.deadline()
    }

    fn on_expired(&mut self, limit: Expired) -> ControlFlow<()> {
        if self.state.may_refuse(limit) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn on_hurry(&mut self) -> ControlFlow<()> {
        self.state.expire_unanswered();
        ControlFlow::Continue(())
    }
}

/// Reads and discards the rest of a body after its answer, as long as the client continues to send.
/// Many clients do not read the answer when the server resets their stream in the middle of a body.
async fn linger(mut body: Box<Incoming>, timeouts: Timeouts) {
    let silence = Duration::from_millis(LINGER_TIMEOUT);
    let discard = async { while let Ok(Some(Ok(_))) = timeout(silence, body.frame()).await {} };
    drop(timeout(Duration::from_millis(timeouts.request), discard).await);
}
