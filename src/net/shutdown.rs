//! Signals the two steps of a stop. The first one drains the connections, the second one refuses
//! the requests that are still unanswered.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::deadline::Millis;

/// Time for which a stopping service still reads from a silent connection. A request may be on its
/// way and still gets its answer.
pub(crate) const DRAIN_GRACE: Millis = 300;

/// Further time after [`DRAIN_GRACE`] for the rest of a head or of a handshake that has begun. A client
/// that sends a single byte then delays a stop by no more.
pub(crate) const HEAD_GRACE: Millis = 1_700;

/// Part of the time of a stop that is reserved for refusing the requests that are still unanswered.
pub(crate) const HURRY_TIME: Duration = Duration::from_millis(300);

/// Signals both steps of a stop to every connection.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown {
    /// Cancelled when the stop begins. A connection still answers its current request and accepts
    /// no further one.
    pub(crate) drain: CancellationToken,
    /// Cancelled near the end of the stop, after `drain`. A connection refuses a request that is
    /// still unanswered.
    pub(crate) hurry: CancellationToken,
}
