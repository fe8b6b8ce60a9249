//! The two steps of a stop: drain, then hurry.

use tokio_util::sync::CancellationToken;

/// Tells a connection that the service stops.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown {
    /// Cancelled when the stop begins: a request in hand is still answered, no further request is taken.
    pub(crate) drain: CancellationToken,
    /// Cancelled near the end of the stop: a request that is still unanswered is refused.
    pub(crate) hurry: CancellationToken,
}
