//! What the store and its committer share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, Semaphore};

use super::append_buffer::AppendBuffer;
use super::published::View;
use crate::store::CursorKey;
use crate::store::statistics::{LatencyRecorder, StoredCounters};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) append_buffer: AppendBuffer,
    /// there is something in the inbox
    pub(crate) work: Notify,
    /// there is room in the inbox
    pub(crate) room: Arc<Notify>,
    pub(crate) view: Arc<View>,
    pub(crate) counters: StoredCounters,
    pub(crate) syncs: Arc<LatencyRecorder>,
    /// asks the disk how much room it has: a disk that hangs keeps one thread, not one for each question
    pub(crate) surveyor: Arc<Semaphore>,
    pub(crate) key: CursorKey,
    /// when a failure was last reported, Unix seconds
    pub(crate) complained: AtomicI64,
}

/// One complaint about a failing disk in this many seconds.
const COMPLAIN_EVERY: i64 = 10;

impl Shared {
    pub(crate) fn warn_rate_limited(&self, error: &io::Error) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        if now - self.complained.swap(now, Ordering::Relaxed) >= COMPLAIN_EVERY {
            crate::event!(error, WRITE_FAILED; "can't write the log, clients are told to come back: {error}");
        } else {
            self.complained.store(now, Ordering::Relaxed);
        }
    }

    /// After a write that succeeded: says once that the disk is well again, when it has been so for a while.
    pub(crate) fn recovered(&self) {
        let complained = self.complained.load(Ordering::Relaxed);
        if complained == 0 {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        if now - complained >= COMPLAIN_EVERY {
            self.complained.store(0, Ordering::Relaxed);
            crate::event!(info, WRITE_RECOVERED; "the log can be written again");
        }
    }
}
