//! Holds the values that serve one connection, and waits for its first byte.

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

/// Time for which a stopping service still reads from a silent connection. A request may be on its
/// way and still gets its answer.
pub(crate) const DRAIN_GRACE: Millis = 300;

/// Silence after an answer until a connection releases its buffers, while few connections are open.
const IDLE_BUFFER_RELEASE: Millis = 250;

/// Number of connections above which a silent connection releases its buffers at once.
const MAX_CONNECTIONS_WITH_IDLE_BUFFERS: usize = 1000;

/// Holds the peer of a connection, and the values that serve it.
pub(crate) struct ConnectionContext<H> {
    /// The shared state of the instance.
    pub(crate) app: Arc<App>,
    /// The address of the peer.
    pub(crate) peer: ClientAddr,
    /// The warp service of the routes.
    pub(crate) handlers: H,
    /// Signals that the service stops.
    pub(crate) shutdown: Shutdown,
}

/// Waits for a byte on a connection without a request. Returns false when none arrives in time.
pub(crate) async fn has_first_byte(
    transport: &impl Transport,
    state: &ConnectionState,
    shutdown: &Shutdown,
) -> bool {
    let mut draining = pin!(shutdown.drain.cancelled());
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

/// Returns the time at which a connection that has been silent since `idle_since` releases its
/// buffers.
pub(crate) fn buffer_release_at(idle_since: Millis, app: &App) -> Millis {
    let has_many_connections =
        app.instance_state.connections.load(Ordering::Relaxed) > MAX_CONNECTIONS_WITH_IDLE_BUFFERS;
    if has_many_connections { idle_since } else { idle_since + IDLE_BUFFER_RELEASE }
}
