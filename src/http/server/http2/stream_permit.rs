//! Limits the number of open streams of all HTTP/2 connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The place of one open stream. Dropping it makes room for another one.
pub(super) struct StreamPermit(Arc<AtomicUsize>);

impl StreamPermit {
    /// Counts a stream in `open`. Returns `None` when `max` streams are open.
    pub(super) fn take(open: &Arc<AtomicUsize>, max: u32) -> Option<Self> {
        let before = open.fetch_add(1, Ordering::Relaxed);
        let permit = Self(Arc::clone(open));
        // A permit that is dropped gives its place back.
        (before < max as usize).then_some(permit)
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_limited_and_dropping_one_makes_room() {
        let open = Arc::default();
        let first = StreamPermit::take(&open, 2).unwrap();
        let _second = StreamPermit::take(&open, 2).unwrap();
        assert!(StreamPermit::take(&open, 2).is_none());
        assert!(StreamPermit::take(&open, 2).is_none());
        drop(first);
        assert!(StreamPermit::take(&open, 2).is_some());
        assert_eq!(open.load(Ordering::Relaxed), 1);
    }
}
