//! Lets a connection whose requests arrive in very small parts read less often. Each read costs a turn
//! of the event loop, no matter how few bytes it brings. While the connection waits, further bytes
//! arrive, and one read brings them all.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Number of bytes below which a read is small.
const SMALL: usize = 64;

/// Number of small reads after which a connection waits. A client that sends a head in a few parts
/// never gets there, because each whole request takes [`FORGOTTEN`] of them away.
const MAX_SMALL_READS: u8 = 64;

/// Number of small reads that are forgotten with each whole request.
const FORGOTTEN: u8 = 8;

/// Time until the next read.
const PAUSE: Duration = Duration::from_millis(5);

/// Counts the small reads of a connection.
#[derive(Debug, Default)]
pub(crate) struct SmallReads {
    count: u8,
    pause: Option<Pin<Box<Sleep>>>,
}

impl SmallReads {
    /// Returns the count of a new connection.
    pub(crate) const fn new() -> Self {
        Self { count: 0, pause: None }
    }

    /// Returns `Ready` while the connection may read.
    pub(crate) fn poll_may_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    /// Notes a read of `bytes` bytes. `is_whole` says that the request is whole now.
    pub(crate) fn note(&mut self, bytes: usize, is_whole: bool) {
        if is_whole {
            self.count = self.count.saturating_sub(FORGOTTEN);
        } else if bytes >= SMALL {
            self.count = self.count.saturating_sub(1);
        } else if self.count < MAX_SMALL_READS {
            self.count += 1;
        } else {
            self.pause = Some(Box::pin(sleep(PAUSE)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn waits(reads: &SmallReads) -> bool {
        reads.pause.is_some()
    }

    #[tokio::test]
    async fn many_small_reads_are_followed_by_a_pause() {
        let mut reads = SmallReads::new();
        for _ in 0..MAX_SMALL_READS {
            reads.note(1, false);
            assert!(!waits(&reads));
        }
        let began = tokio::time::Instant::now();
        reads.note(1, false);
        poll_fn(|cx| reads.poll_may_read(cx)).await;
        assert!(began.elapsed() >= PAUSE);
        assert!(!waits(&reads), "one pause for each small read");
        reads.note(1000, false);
        assert!(!waits(&reads), "a large read needs no pause");
    }

    #[tokio::test]
    async fn requests_in_a_few_parts_never_wait() {
        let mut reads = SmallReads::new();
        for _ in 0..1000 {
            for part in 0..FORGOTTEN {
                reads.note(10, part + 1 == FORGOTTEN);
                assert!(!waits(&reads));
            }
        }
    }
}
