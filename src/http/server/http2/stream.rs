//! Runs each HTTP/2 stream in a separate task with its own state and timer.

use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::rt::Executor;
use tokio::time::timeout;

use super::activity::ConnectionActivity;
use crate::http::connection::phase::{Expired, Timeouts};
use crate::http::connection::state::{ConnectionState, LINGER_TIMEOUT};
use crate::net::connection_driver::{ConnectionWork, drive};
use crate::net::deadline::Millis;
use crate::net::shutdown::Shutdown;

/// Runs each stream in a separate task with its own timer.
#[derive(Clone)]
pub(crate) struct StreamExecutor {
    /// The state of the request that the service received last. hyper executes its stream next.
    next: Arc<Mutex<Option<Arc<ConnectionState>>>>,
    activity: Arc<ConnectionActivity>,
    shutdown: Arc<Shutdown>,
    timeouts: Timeouts,
}

impl StreamExecutor {
    /// Returns the executor of a connection.
    pub(crate) fn new(
        activity: Arc<ConnectionActivity>,
        shutdown: Arc<Shutdown>,
        timeouts: Timeouts,
    ) -> Self {
        Self { next: Arc::default(), activity, shutdown, timeouts }
    }

    /// Sets the state of the stream that hyper executes next.
    pub(crate) fn set_next(&self, state: Arc<ConnectionState>) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let state = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        // hyper executes streams of requests only, since the server accepts no tunnels.
        if let Some(state) = state {
            let open_stream = self.activity.begin_stream();
            let (shutdown, timeouts) = (Arc::clone(&self.shutdown), self.timeouts);
            tokio::spawn(async move {
                run_stream(stream, &state, &shutdown).await;
                // A client that has exceeded a time limit already gets no more time for its body.
                if let Some(body) = state.take_unread_body().filter(|_| !state.is_overdue()) {
                    tokio::select! {
                        () = linger(body, timeouts) => {}
                        () = shutdown.hurry.cancelled() => {}
                    }
                }
                drop(open_stream);
            });
        }
    }
}

/// Runs one stream with its own timer. hyper resets a stream that is dropped before its end.
async fn run_stream(stream: impl Future<Output = ()>, state: &ConnectionState, shutdown: &Shutdown) {
    let stream = pin!(stream);
    drive(shutdown, &mut Stream { stream, state }).await;
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
