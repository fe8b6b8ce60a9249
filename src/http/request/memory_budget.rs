//! Limits the memory that all bodies may hold together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::http::connection::phase::Phase;
use crate::http::connection::state::ConnectionState;
use crate::http::response::problem::Problem;
use crate::ingest::body::memory::{BodyMemory, OutOfMemory};

/// Maximum memory that a body may hold while it waits for more. A body that holds more is refused,
/// because large bodies would otherwise wait for each other.
const MAX_HELD_WHILE_WAITING_BYTES: u64 = 1024 * 1024;

/// Counts the memory of all bodies, in bytes.
#[derive(Debug, Default)]
pub(crate) struct MemoryBudget {
    used: AtomicU64,
    /// Wakes the requests that wait for memory.
    freed: Notify,
}

/// Holds a part of the budget. Dropping it gives the part back.
#[derive(Debug)]
pub(crate) struct MemoryShare {
    budget: Arc<MemoryBudget>,
    bytes: u64,
}

impl MemoryBudget {
    /// Returns an empty share of this budget.
    pub(crate) fn share(self: &Arc<Self>) -> MemoryShare {
        MemoryShare { budget: Arc::clone(self), bytes: 0 }
    }
}

impl MemoryShare {
    /// Returns the size of the share.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Grows the share by `bytes` if the whole budget then stays within `limit` bytes. Returns
    /// whether the share grew.
    pub(crate) fn try_grow(&mut self, bytes: u64, limit: u64) -> bool {
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > limit {
            self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.bytes += bytes;
        true
    }

    /// Grows the share by `bytes` while the client still sends the body. A wait for memory does not
    /// count against the client's time.
    ///
    /// # Errors
    /// Fails as [`Self::wait_for`] does.
    pub(super) async fn grow(
        &mut self,
        bytes: u64,
        limit: u64,
        state: &ConnectionState,
    ) -> Result<(), Problem> {
        if self.try_grow(bytes, limit) {
            return Ok(());
        }
        // From here on the client waits for the server, so the time limit of the body does not
        // apply.
        state.enter(Phase::Handling);
        self.wait_for(bytes, limit).await?;
        state.request_begins(true);
        Ok(())
    }

    /// Grows the share by `bytes`, and waits until other bodies have freed enough memory.
    ///
    /// # Errors
    /// Fails with 413 when the share alone would exceed `limit`. Fails with 503 when it would have
    /// to wait and already holds more than [`MAX_HELD_WHILE_WAITING_BYTES`].
    pub(crate) async fn wait_for(&mut self, bytes: u64, limit: u64) -> Result<(), Problem> {
        loop {
            let budget = Arc::clone(&self.budget);
            let freed = budget.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.try_grow(bytes, limit) {
                return Ok(());
            }
            // Neither waiting nor a second request would help.
            if self.bytes + bytes > limit {
                return Err(Problem::no_room(limit));
            }
            if self.bytes > MAX_HELD_WHILE_WAITING_BYTES {
                return Err(Problem::overloaded("Too many large bodies at once."));
            }
            freed.await;
        }
    }

    /// Grows the share to `bytes` if the whole budget then stays within `limit` bytes. Returns whether it
    /// has that size.
    pub(crate) fn try_grow_to(&mut self, bytes: u64, limit: u64) -> bool {
        bytes <= self.bytes || self.try_grow(bytes - self.bytes, limit)
    }

    /// Grows the share to `bytes`, which are at most `limit`, and waits as long as other bodies need the
    /// memory.
    pub(crate) async fn grow_to(&mut self, bytes: u64, limit: u64) {
        loop {
            let budget = Arc::clone(&self.budget);
            let freed = budget.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.try_grow_to(bytes, limit) {
                return;
            }
            freed.await;
        }
    }

    /// Shrinks the share to `bytes` if it is larger, and gives the rest back.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let surplus = self.bytes.saturating_sub(bytes);
        if surplus > 0 {
            self.bytes -= surplus;
            self.budget.used.fetch_sub(surplus, Ordering::Relaxed);
            self.budget.freed.notify_waiters();
        }
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// The memory that one body takes after it was read: decoded texts, entries and their lines.
#[derive(Debug)]
pub(crate) struct InputMemory {
    share: Mutex<MemoryShare>,
    /// Maximum memory of all bodies together.
    limit: u64,
    /// Maximum size of this body.
    max_body_bytes: u64,
}

impl InputMemory {
    /// Counts in `share`, up to `limit` bytes of the whole budget, for a body of at most
    /// `max_body_bytes`.
    pub(crate) const fn new(share: MemoryShare, limit: u64, max_body_bytes: u64) -> Self {
        Self { share: Mutex::new(share), limit, max_body_bytes }
    }
}

impl BodyMemory for InputMemory {
    fn take(&self, bytes: usize) -> Result<(), OutOfMemory> {
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        if share.try_grow(bytes as u64, self.limit) {
            return Ok(());
        }
        // Neither waiting nor a second request would help.
        let can_never_fit = share.bytes() + bytes as u64 > self.limit;
        Err(if can_never_fit { OutOfMemory::Ever(self.limit) } else { OutOfMemory::Now })
    }

    fn max_body_bytes(&self) -> u64 {
        self.max_body_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_stay_within_the_limit() {
        let budget = Arc::new(MemoryBudget::default());
        let mut one = budget.share();
        assert!(!one.try_grow(101, 100));
        assert!(one.try_grow(100, 100));
        let mut two = budget.share();
        assert!(!two.try_grow(1, 100));
        drop(one);
        assert!(two.try_grow(60, 100));
        let mut three = budget.share();
        assert!(three.try_grow(40, 100));
        assert!(!two.try_grow(1, 100));
        drop((two, three));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
