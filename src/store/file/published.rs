//! Publishes the readable part of the log. The writer changes it after a commit. Readers take a
//! copy and do not hold the lock while they read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use crate::store::Cursor;
use crate::store::file::segments::segment::{Segment, SegmentList};
use crate::store::file::segments::segment_cache::SegmentCache;

/// The readable part of the log at one moment: its segments, then the active file.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// The segments, oldest first.
    pub(crate) segments: Arc<SegmentList>,
    /// The active file.
    pub(crate) file: Arc<File>,
    /// Changes when bytes that were published before may be gone or different.
    pub(crate) generation: u64,
    /// Changes when another file becomes the active one, or the bytes of the file are different.
    pub(crate) incarnation: u64,
    /// The epoch of the active file.
    pub(crate) epoch: u32,
    /// Position of the active file's first byte.
    pub(crate) base: u64,
    /// Durable bytes of the active file.
    pub(crate) len: u64,
    /// Lines in `len`; a lower bound while `counting`.
    pub(crate) count: u64,
    /// Those of them that do not begin like a record; a lower bound while `counting`.
    pub(crate) foreign: u64,
    /// Number of counts of older lines that are running.
    pub(crate) counting: u32,
    /// Records stored by this process.
    pub(crate) stored: u64,
    /// Time of the active file's first line, microseconds since the epoch, if it is known.
    pub(crate) oldest: Option<i64>,
    /// When the last line was added.
    pub(crate) modified: SystemTime,
}

impl Published {
    /// Returns the cursor at which the log ends.
    pub(crate) const fn end(&self) -> Cursor {
        Cursor { epoch: self.epoch, position: self.base + self.len }
    }
}

/// The published state, which the writer and all readers share.
#[derive(Debug)]
pub(crate) struct View {
    published: Mutex<Published>,
    changed: Notify,
    segment_cache: SegmentCache,
}

impl View {
    pub(crate) fn new(published: Published) -> Self {
        Self {
            published: Mutex::new(published),
            changed: Notify::const_new(),
            segment_cache: SegmentCache::default(),
        }
    }

    /// Locks the state, for a change or a short read.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the caller of [`Self::changed`] after a change. Several calls wake it once. A call
    /// costs next to nothing if no caller waits.
    pub(crate) fn notify(&self) {
        self.changed.notify_one();
    }

    /// Completes when the state has changed since the last completion. Only one caller may wait at
    /// a time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Returns a copy of the state.
    pub(crate) fn get(&self) -> Published {
        self.lock().clone()
    }

    /// Returns the cache through which segments are read.
    pub(crate) const fn segment_cache(&self) -> &SegmentCache {
        &self.segment_cache
    }

    /// Fills `buffer` from the active file as published in `seen`.
    ///
    /// # Errors
    /// Fails when the log was cleared or the file replaced meanwhile. The generation changes before
    /// the first byte does, so bytes read under an unchanged generation are the bytes that were
    /// published.
    pub(crate) fn read_exact_at(&self, seen: &Published, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let outcome = seen.file.read_exact_at(buffer, at);
        self.check_generation(seen)?;
        outcome
    }

    /// Fills `buffer` from one of the segments published in `seen`.
    ///
    /// # Errors
    /// Fails as [`Self::read_exact_at`] does, and when the segment left the log and is no longer
    /// open.
    pub(crate) fn read_segment(
        &self,
        seen: &Published,
        segment: &Segment,
        buffer: &mut [u8],
        at: u64,
    ) -> io::Result<()> {
        let outcome = self.segment_cache.read(segment, buffer, at).or_else(|error| {
            // If the segment was compressed meanwhile, another file has the same lines.
            let now = Arc::clone(&self.lock().segments);
            let same = now.by_seq(segment.seq()).filter(|now| now.coding != segment.coding);
            same.map_or(Err(error), |same| self.segment_cache.read(same, buffer, at))
        });
        self.check_generation(seen)?;
        outcome
    }

    fn check_generation(&self, seen: &Published) -> io::Result<()> {
        if self.lock().generation == seen.generation {
            return Ok(());
        }
        Err(io::Error::other("the log was cleared or replaced while it was read"))
    }
}
