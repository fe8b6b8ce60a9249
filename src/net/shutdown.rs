//! The two steps of a stop: drain the connections, then refuse the requests that are unanswered.

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
