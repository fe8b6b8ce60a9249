//! Lets a new connection wait when its network has sent floods. The first bytes of the client stay in
//! the kernel meanwhile, so a connection that waits costs as much as a silent one, and gives way like
//! one when all places are taken.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::connection_context::ConnectionContext;
use crate::net::transport::Transport;

/// Interval at which a connection that waits looks whether its peer has closed it.
const PEER_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Waits while the network of the peer has to wait, or until the service stops. Returns false when the
/// peer closed the connection before its handshake, so that there is nothing to serve.
pub(super) async fn has_waited<H>(
    transport: &impl Transport,
    context: &ConnectionContext<H>,
    needs_handshake: bool,
) -> bool {
    let Some(delay) = context.app.guard.floods().delay(context.peer, Instant::now()) else { return true };
    let mut rest = delay;
    while !rest.is_zero() {
        let step = rest.min(PEER_CHECK_INTERVAL);
        tokio::select! {
            () = sleep(step) => {}
            () = context.shutdown.drain.cancelled() => return true,
        }
        // Without a handshake, a client may close its half and still wait for an answer.
        if needs_handshake && transport.is_closed_by_peer() {
            return false;
        }
        rest -= step;
    }
    true
}
