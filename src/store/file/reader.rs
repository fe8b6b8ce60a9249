//! Streams of any range of an image in constant memory. Reads run on the blocking pool, one block at a time, and fail when
//! the log is cleared meanwhile.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::Semaphore;

use super::super::{ByteSource, StoreError};
use super::image::Image;

/// Large enough that the hop to the blocking pool does not show, small enough for many readers at once.
const BLOCK: u64 = 256 * 1024;

/// Reads at once.
static READERS: Semaphore = Semaphore::const_new(4);

impl ByteSource for Image {
    fn stream(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let this = self.clone();
        let end = range.end.min(self.len());
        stream::try_unfold(range.start, move |at| {
            let this = this.clone();
            async move {
                if at >= end {
                    return Ok(None);
                }
                let to = end.min(at + BLOCK);
                let block = blocking(move || this.read(at..to)).await?;
                Ok(Some((Bytes::from(block), to)))
            }
        })
        .boxed()
    }
}

/// Runs a read on the blocking pool.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    // The pool has threads for others as well: reads that hang must not hold all of them.
    let permit = READERS.acquire().await;
    match tokio::task::spawn_blocking(move || (work(), permit).0).await {
        Ok(outcome) => outcome.map_err(|error| StoreError::read(&error)),
        Err(error) => Err(StoreError::Read(error.to_string())),
    }
}
