//! Signals the two steps of a stop. The first one drains the connections, the second one refuses
//! the requests that are still unanswered.

use tokio_util::sync::CancellationToken;

/// Signals both steps of a stop to every connection.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown {
    /// Cancelled when the stop begins. A connection still answers its current request and accepts
    /// no further one.
    pub(crate) drain: CancellationToken,
    /// Cancelled near the end of the stop. A connection refuses a request that is still unanswered.
    pub(crate) hurry: CancellationToken,
}
