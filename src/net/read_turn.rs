//! Bounds the bytes that a connection reads in one turn of the event loop, so that a client that
//! sends at full speed delays no other one.

use std::pin::pin;
use std::task::{Context, Poll};

use tokio::task::yield_now;

/// Counts the bytes that a connection has read since it last let the others run.
#[derive(Debug)]
pub(crate) struct ReadTurn {
    /// Maximum number of bytes in one turn.
    max_bytes: usize,
    /// Number of bytes of this turn.
    bytes: usize,
}

impl ReadTurn {
    /// Returns a counter for turns of `max_bytes`.
    pub(crate) const fn new(max_bytes: usize) -> Self {
        Self { max_bytes, bytes: 0 }
    }

    /// Returns `Ready` while the connection may read. Otherwise ends its turn: the task is woken
    /// after all other tasks that are ready, and after the event loop has looked at its sockets.
    pub(crate) fn poll_may_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.bytes < self.max_bytes {
            return Poll::Ready(());
        }
        self.bytes = 0;
        // A plain wake-up would let this task run up to 60 times before the sockets are looked at.
        pin!(yield_now()).poll(cx)
    }

    /// Notes the outcome of a read of `bytes` bytes. A read that has to wait ends the turn.
    pub(crate) fn note<T>(&mut self, outcome: &Poll<T>, bytes: usize) {
        self.bytes = if outcome.is_pending() { 0 } else { self.bytes + bytes };
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn full_turn_lets_other_tasks_run_once() {
        let mut turn = ReadTurn::new(100);
        let other = tokio::spawn(async {});
        poll_fn(|cx| {
            assert!(turn.poll_may_read(cx).is_ready());
            turn.note(&Poll::Ready(()), 60);
            assert!(turn.poll_may_read(cx).is_ready(), "the turn has 40 bytes left");
            turn.note(&Poll::Ready(()), 60);
            Poll::Ready(())
        })
        .await;
        assert!(!other.is_finished());
        poll_fn(|cx| turn.poll_may_read(cx)).await;
        assert!(other.is_finished());
    }

    #[tokio::test]
    async fn read_that_waits_ends_the_turn() {
        let mut turn = ReadTurn::new(100);
        turn.note(&Poll::Ready(()), 99);
        turn.note(&Poll::<()>::Pending, 0);
        turn.note(&Poll::Ready(()), 99);
        poll_fn(|cx| {
            assert!(turn.poll_may_read(cx).is_ready());
            Poll::Ready(())
        })
        .await;
    }
}
