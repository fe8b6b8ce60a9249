//! Holds the state that the store and its committer share.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, Semaphore};

use super::append_buffer::AppendBuffer;
use super::published::View;
use crate::store::statistics::{LatencyRecorder, StoredCounters};
use crate::store::{CursorKey, StoreError};

/// Minimum time between two reports of a failing disk.
const REPORT_INTERVAL_SECONDS: i64 = 10;

/// The shared state of one store.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The current batch.
    pub(crate) append_buffer: AppendBuffer,
    /// Wakes the committer: the append buffer holds a record or a command.
    pub(crate) work: Notify,
    /// Wakes waiting appends: the append buffer has room.
    pub(crate) room: Arc<Notify>,
    /// The published state.
    pub(crate) view: Arc<View>,
    /// Counts stored records.
    pub(crate) counters: StoredCounters,
    /// Latencies of syncs.
    pub(crate) syncs: Arc<LatencyRecorder>,
    /// Held while a thread asks the disk for its free space. A disk that hangs blocks one thread,
    /// not one for each request for statistics.
    pub(crate) free_space_permit: Arc<Semaphore>,
    /// The key of the log's cursors.
    pub(crate) key: CursorKey,
    /// When a failure was reported last, Unix seconds; 0 after the recovery was reported.
    pub(crate) reported_at: AtomicI64,
}

impl Shared {
    /// Reports a failed write to the journal, at most once in ten seconds.
    pub(crate) fn warn_rate_limited(&self, error: &StoreError) {
        let now = unix_seconds();
        if now - self.reported_at.swap(now, Ordering::Relaxed) >= REPORT_INTERVAL_SECONDS {
            crate::event!(error, WRITE_FAILED; "can't write the log, clients are answered 503: {}", cause_of(error));
        } else {
            self.reported_at.store(now, Ordering::Relaxed);
        }
    }

    /// Reports the recovery of the disk once, when a write succeeded and no failure was reported
    /// for ten seconds.
    pub(crate) fn report_recovery(&self) {
        let reported_at = self.reported_at.load(Ordering::Relaxed);
        if reported_at != 0 && unix_seconds() - reported_at >= REPORT_INTERVAL_SECONDS {
            self.reported_at.store(0, Ordering::Relaxed);
            crate::event!(info, WRITE_RECOVERED; "the log can be written again");
        }
    }
}

/// Returns the text of the system's error, which names the file or the device.
fn cause_of(error: &StoreError) -> String {
    error.cause().map_or_else(|| error.to_string(), io::Error::to_string)
}

fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
