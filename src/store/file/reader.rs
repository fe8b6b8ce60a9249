//! Streams a range of a snapshot in constant memory. Reads run on the blocking pool, one block at a
//! time, and fail when the log is cleared meanwhile.

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::snapshot::LogSnapshot;
use crate::store::{ByteSource, StoreError};

/// Bytes of one read, large enough to hide the cost of the blocking pool and small enough for many
/// readers at once.
const BLOCK_BYTES: u64 = 256 * 1024;

/// Limits concurrent reads.
static READERS: Semaphore = Semaphore::const_new(4);

/// Number of blocks after which a reader pauses while records arrive. Without pauses, one reader
/// took a third of the throughput of appends, because most of its work runs on the same event loop.
const BLOCKS_BESIDE_WRITERS: u64 = 2;

/// Duration of the pause, which is the shortest one that the timer has.
const READER_PAUSE: Duration = Duration::from_millis(1);

impl ByteSource for LogSnapshot {
    fn stream(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let this = self.clone();
        let end = range.end.min(self.len());
        let stored = this.stored_now();
        stream::try_unfold((range.start, 0, stored), move |(at, blocks, stored)| {
            let this = this.clone();
            async move {
                if at >= end {
                    return Ok(None);
                }
                let mut next = (blocks + 1, stored);
                if blocks == BLOCKS_BESIDE_WRITERS {
                    next = (1, this.stored_now());
                    if next.1 != stored {
                        sleep(READER_PAUSE).await;
                    }
                }
                let to = end.min(at + BLOCK_BYTES);
                let block = blocking(move || this.read(at..to)).await?;
                Ok(Some((Bytes::from(block), (to, next.0, next.1))))
            }
        })
        .boxed()
    }
}

/// Runs a read on the blocking pool.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    // Reads that hang must not hold all threads of the pool.
    let permit = READERS.acquire().await;
    match tokio::task::spawn_blocking(move || (work(), permit).0).await {
        Ok(outcome) => outcome.map_err(StoreError::read),
        Err(error) => Err(StoreError::read(io::Error::other(error))),
    }
}
