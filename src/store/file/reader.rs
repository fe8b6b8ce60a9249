//! Reading the published part of the file: streams of any range in constant memory, and the latest lines from the
//! end backwards. Reads run on the blocking pool, one block at a time, and fail when the log is cleared meanwhile.

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

/// Blocks of the backward scan.
const BACK_BLOCK: u64 = 64 * 1024;

/// Of a line that is longer than so many blocks, the end is given.
const MOST_BLOCKS: usize = 16;

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

/// The latest `limit` lines, newest first, a block of lines at a time.
pub(super) fn latest(source: Image, limit: usize) -> BoxStream<'static, Result<Vec<String>, StoreError>> {
    let end = source.len();
    let scan = Backwards { source, at: end, carry: None, left: limit };
    stream::try_unfold(scan, |mut scan| async move {
        if scan.left == 0 || scan.at == 0 {
            return Ok(None);
        }
        let (scan, lines) = blocking(move || {
            let lines = scan.next_lines()?;
            Ok((scan, lines))
        })
        .await?;
        Ok(Some((lines, scan)))
    })
    .boxed()
}

struct Backwards {
    source: Image,
    /// everything before is still to be read
    at: u64,
    /// what was read of the line that begins before `at`, the end of it first; `None` before the file's last line end
    /// was seen
    carry: Option<Vec<Vec<u8>>>,
    left: usize,
}

impl Backwards {
    fn next_lines(&mut self) -> io::Result<Vec<String>> {
        let start = self.at.saturating_sub(BACK_BLOCK);
        let block = self.source.read(start..self.at)?;
        self.at = start;
        let mut lines = Vec::new();
        let mut end = block.len();
        for newline in memchr::memrchr_iter(b'\n', &block) {
            self.finish(&block[newline + 1..end], &mut lines);
            if self.left == 0 {
                return Ok(lines);
            }
            self.carry = Some(Vec::new());
            end = newline;
        }
        if start == 0 {
            self.finish(&block[..end], &mut lines);
        } else if let Some(carry) = &mut self.carry {
            carry.push(block[..end].to_vec());
            if carry.len() > MOST_BLOCKS {
                // No line of ours: its end is enough.
                carry.pop();
            }
        }
        Ok(lines)
    }

    fn finish(&mut self, head: &[u8], lines: &mut Vec<String>) {
        let Some(carry) = self.carry.take() else { return };
        let mut line = head.to_vec();
        line.extend(carry.into_iter().rev().flatten());
        lines.push(String::from_utf8_lossy(&line).into_owned());
        self.left -= 1;
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
