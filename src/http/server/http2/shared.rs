//! Holds what all HTTP/2 connections of an instance share: the number of open streams, and the log
//! of floods.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::event;
use crate::guard::ClientAddr;
use crate::log_limit::LogLimit;

/// The state that all HTTP/2 connections share.
#[derive(Debug, Default)]
pub(crate) struct Http2Shared {
    open_streams: AtomicUsize,
    flood_log: LogLimit,
}

impl Http2Shared {
    /// Counts a stream. Returns `None` when `max` streams are open.
    pub(super) fn open_stream(self: &Arc<Self>, max: u32) -> Option<StreamPermit> {
        let open = self.open_streams.fetch_add(1, Ordering::Relaxed);
        let permit = StreamPermit(Arc::clone(self));
        // A permit that is dropped gives its place back.
        (open < max as usize).then_some(permit)
    }

    /// Logs that a connection of `client` was ended because of a flood of frames. Logs no more than
    /// a few in a minute.
    pub(super) fn log_flood(&self, client: ClientAddr) {
        match self.flood_log.admit(Instant::now()) {
            None => {}
            Some(0) => event!(warn, FRAME_FLOOD, MOCA_CLIENT:% = client;
                "closed an HTTP/2 connection of {client}, which sent a flood of frames"),
            Some(more) => event!(warn, FRAME_FLOOD, MOCA_CLIENT:% = client;
                "closed an HTTP/2 connection of {client}, which sent a flood of frames, \
                 and {more} more that were not logged"),
        }
    }
}

/// One open stream. Dropping it makes room for another one.
pub(super) struct StreamPermit(Arc<Http2Shared>);

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.open_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_limited_and_dropping_one_makes_room() {
        let shared = Arc::new(Http2Shared::default());
        let first = shared.open_stream(2).unwrap();
        let _second = shared.open_stream(2).unwrap();
        assert!(shared.open_stream(2).is_none());
        assert!(shared.open_stream(2).is_none());
        drop(first);
        assert!(shared.open_stream(2).is_some());
        assert_eq!(shared.open_streams.load(Ordering::Relaxed), 1);
    }
}
