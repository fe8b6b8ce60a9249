//! Waits for the first byte of a request. A connection that waits here has no buffer.

use std::ops::ControlFlow;
use std::task::{Context, Poll};

use crate::http::connection::state::ConnectionState;
use crate::net::connection_driver::{ConnectionWork, drive};
use crate::net::deadline::Millis;
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;

/// Waits for a byte on a connection without a request. Returns false when none arrives in time.
pub(crate) async fn has_first_byte(
    transport: &impl Transport,
    state: &ConnectionState,
    shutdown: &Shutdown,
) -> bool {
    drive(shutdown, &mut FirstByte { transport, deadline: state.deadline().0 }).await
}

/// The wait for the first byte of a request.
struct FirstByte<'c, T> {
    transport: &'c T,
    /// The end of the wait.
    deadline: Millis,
}

impl<T: Transport> ConnectionWork for FirstByte<'_, T> {
    /// True when a byte has arrived.
    type Output = bool;
    type Limit = ();

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.transport.poll_readable(cx).map(|_| true)
    }

    fn deadline(&self) -> (Millis, ()) {
        (self.deadline, ())
    }

    fn on_expired(&mut self, (): ()) -> ControlFlow<bool> {
        // A byte may have arrived after the runtime looked. It reports such a byte on its next turn.
        if self.transport.has_arrived() { ControlFlow::Continue(()) } else { ControlFlow::Break(false) }
    }

    fn on_drain(&mut self, grace_end: Millis) {
        self.deadline = self.deadline.min(grace_end);
    }
}
