//! What serves one connection, and the wait for its first byte.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use crate::guard::ClientAddr;
use crate::http::app::App;
use crate::http::connection::state::ConnectionState;
use crate::net::deadline::{LazyDeadline, Millis, now, timer};
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;

/// Time for which a stopping service listens to a silent connection: a request that is on its way is answered.
pub(crate) const DRAIN_GRACE: Millis = 300;

/// Silence after an answer after which a connection gives its buffers back. Few connections may keep theirs for the
/// next request.
const IDLE_BUFFER_RELEASE: Millis = 250;

/// Number of connections above which a connection gives its buffers back as soon as it is silent.
const MAX_CONNECTIONS_WITH_IDLE_BUFFERS: usize = 1000;

/// The peer of a connection, and what serves it.
pub(crate) struct Client<H> {
    /// The shared state of the instance.
    pub(crate) app: Arc<App>,
    /// The address of the peer.
    pub(crate) peer: ClientAddr,
    /// The warp service of the routes.
    pub(crate) handlers: H,
    /// Tells the connection that the service stops.
    pub(crate) stopping: Shutdown,
}

/// Waits for a byte on a connection without a request. Returns false when none came in time.
pub(crate) async fn has_first_byte(
    transport: &impl Transport,
    state: &ConnectionState,
    stopping: &Shutdown,
) -> bool {
    let mut draining = pin!(stopping.drain.cancelled());
    let mut drain_until: Option<Millis> = None;
    let (deadline, _) = state.deadline();
    let timer = pin!(timer(deadline));
    let mut lazy = LazyDeadline::new(deadline, timer);
    poll_fn(|cx| {
        if transport.poll_readable(cx).is_ready() {
            return Poll::Ready(true);
        }
        if drain_until.is_none() && draining.as_mut().poll(cx).is_ready() {
            drain_until = Some(now() + DRAIN_GRACE);
        }
        let deadline = drain_until.map_or(deadline, |until| deadline.min(until));
        lazy.poll_expired(deadline, cx).map(|()| false)
    })
    .await
}

/// Returns the time at which a connection that is silent since `idle` gives its buffers back.
pub(crate) fn buffer_release_at(idle: Millis, app: &App) -> Millis {
    let many = app.instance_state.connections.load(Ordering::Relaxed) > MAX_CONNECTIONS_WITH_IDLE_BUFFERS;
    if many { idle } else { idle + IDLE_BUFFER_RELEASE }
}
