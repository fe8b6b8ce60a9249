//! Holds the state that the store and its committer share.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, Semaphore};

use super::append_buffer::AppendBuffer;
use super::published::View;
use crate::record::now_micros;
use crate::store::statistics::{LastTime, LatencyRecorder, MaintenanceCounters, StoredCounters};
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
    /// Counts what the maintenance does.
    pub(crate) maintenance: Arc<MaintenanceCounters>,
    /// Why records can't be stored at the moment.
    pub(crate) failure: Failure,
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

/// Why records can't be stored: the error of the last write, until a write or a probe succeeds.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    /// True while there is an error. Read after each write, without the lock.
    is_set: AtomicBool,
    error: Mutex<Option<StoreError>>,
    /// When a write failed last.
    pub(crate) last: LastTime,
}

impl Failure {
    /// Returns whether records can't be stored.
    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    /// Returns the error.
    pub(crate) fn get(&self) -> Option<StoreError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, error: Option<StoreError>) {
        self.is_set.store(error.is_some(), Ordering::Relaxed);
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

impl Shared {
    /// Records that a write failed.
    pub(crate) fn set_failure(&self, error: &StoreError) {
        self.failure.last.set(now_micros());
        self.failure.set(Some(error.clone()));
    }

    /// Records that a write or a probe succeeded.
    pub(crate) fn clear_failure(&self) {
        if self.failure.is_set() {
            self.failure.set(None);
        }
    }

    /// Reports the recovery of the disk, which a probe found.
    pub(crate) fn report_probe(&self) {
        self.clear_failure();
        if self.reported_at.swap(0, Ordering::Relaxed) != 0 {
            crate::event!(info, WRITE_RECOVERED; "the log can be written again");
        }
    }

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
