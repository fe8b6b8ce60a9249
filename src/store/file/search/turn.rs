//! Runs the work of searches on the blocking pool, in short turns, so that searches share the pool and
//! the work ends soon after its caller has left.

use std::io;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::store::StoreError;

/// Maximum duration of a turn, not counting the block that it began.
const MAX_TURN: Duration = Duration::from_millis(10);

/// Limits concurrent turns, so that the event loop keeps a core and other reads keep their threads.
static TURNS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new((cores / 2).clamp(1, 2))
});

/// Runs `work` on the blocking pool, with the time until which it may work.
pub(super) async fn turn<S: Send + 'static, T: Send + 'static>(
    mut state: S,
    work: impl FnOnce(&mut S, Instant) -> io::Result<T> + Send + 'static,
) -> Result<(S, T), StoreError> {
    let permit = TURNS.acquire().await;
    let working = tokio::task::spawn_blocking(move || {
        let outcome = work(&mut state, Instant::now() + MAX_TURN);
        drop(permit);
        outcome.map(|result| (state, result))
    });
    match working.await {
        Ok(outcome) => outcome.map_err(StoreError::read),
        Err(error) => Err(StoreError::read(io::Error::other(error))),
    }
}
