//! Holds the values that serve one connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::guard::ClientAddr;
use crate::http::app::App;
use crate::http::connection::state::ConnectionState;
use crate::net::deadline::Millis;
use crate::net::shutdown::Shutdown;
use crate::net::turnstile::Turnstile;

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
    /// The state of the connection.
    pub(crate) state: Arc<ConnectionState>,
    /// The warp service of the routes.
    pub(crate) handlers: H,
    /// Regulates work that would crowd out other clients, on the thread of the connection.
    pub(crate) turnstile: Arc<Turnstile>,
    /// Signals that the service stops.
    pub(crate) shutdown: Shutdown,
}

/// Returns the time at which a connection that has been silent since `idle_since` releases its
/// buffers.
pub(crate) fn buffer_release_at(idle_since: Millis, app: &App) -> Millis {
    let has_many_connections =
        app.instance_state.connections.load(Ordering::Relaxed) > MAX_CONNECTIONS_WITH_IDLE_BUFFERS;
    if has_many_connections { idle_since } else { idle_since + IDLE_BUFFER_RELEASE }
}
