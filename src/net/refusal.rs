//! Refuses a connection so that the client can read why.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Time for each step of a refusal.
pub(crate) const REFUSAL_STEP_TIMEOUT: Duration = Duration::from_secs(1);

/// Writes `refusal` to a client that is not served, and closes.
pub(crate) async fn write_refusal(mut stream: impl AsyncRead + AsyncWrite + Unpin, refusal: Vec<u8>) {
    // The refusal fits into the socket's buffer, so a write that blocks means that the client is
    // gone.
    drop(timeout(REFUSAL_STEP_TIMEOUT, stream.write_all(&refusal)).await);
    drop(timeout(REFUSAL_STEP_TIMEOUT, stream.shutdown()).await);
    // Closing with unread bytes resets the connection before the client has read the refusal.
    let mut scratch = [0; 4096];
    let drain = async { while stream.read(&mut scratch).await.is_ok_and(|count| count > 0) {} };
    drop(timeout(REFUSAL_STEP_TIMEOUT, drain).await);
}
