//! What readers may see of the log: only what is durable, and which incarnation of its files it is. Writers publish
//! here after a commit; readers take a copy and never hold the lock while they read.

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
    pub(crate) segments: Arc<SegmentList>,
    pub(crate) file: Arc<File>,
    /// changes whenever bytes that could be read before may be gone or others
    pub(crate) generation: u64,
    /// changes whenever the active file is another one, or its bytes are
    pub(crate) incarnation: u64,
    pub(crate) epoch: u32,
    /// position of the active file's first byte
    pub(crate) base: u64,
    /// durable bytes of the active file
    pub(crate) len: u64,
    /// lines among them; a lower bound while `counting`
    pub(crate) count: u64,
    /// how many counts of lines that were there already are under way
    pub(crate) counting: u32,
    /// records stored by this process
    pub(crate) stored: u64,
    pub(crate) modified: SystemTime,
}

impl Published {
    pub(crate) const fn end(&self) -> Cursor {
        Cursor { epoch: self.epoch, position: self.base + self.len }
    }
}

/// The published state, shared by the writer and all readers.
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

    pub(crate) fn lock(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was published: wakes whoever waits in [`Self::changed`]. Once for any number of calls, and as good as
    /// free when nobody waits.
    pub(crate) fn tell(&self) {
        self.changed.notify_one();
    }

    /// Completes when something was published since it completed last. For one caller.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn get(&self) -> Published {
        self.lock().clone()
    }

    pub(crate) const fn segment_cache(&self) -> &SegmentCache {
        &self.segment_cache
    }

    /// Reads from the active file as it was published as `seen`, filling `buffer`.
    ///
    /// Fails when the log was cleared or the file replaced meanwhile: the generation changes before the first byte
    /// is touched, so bytes read under an unchanged generation are the bytes that were published.
    pub(crate) fn read_exact_at(&self, seen: &Published, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let outcome = seen.file.read_exact_at(buffer, at);
        self.is_still(seen)?;
        outcome
    }

    /// Reads from one of the segments that were published as `seen`, filling `buffer`. As [`Self::read_exact_at`], and
    /// fails as well when the segment left the log in another way and is not open any more.
    pub(crate) fn read_segment(
        &self,
        seen: &Published,
        segment: &Segment,
        buffer: &mut [u8],
        at: u64,
    ) -> io::Result<()> {
        let outcome = self.segment_cache.read(segment, buffer, at).or_else(|error| {
            // It may have been compressed meanwhile: the same lines are in another file.
            let now = Arc::clone(&self.lock().segments);
            let same = now.by_seq(segment.seq()).filter(|now| now.coding != segment.coding);
            same.map_or(Err(error), |same| self.segment_cache.read(same, buffer, at))
        });
        self.is_still(seen)?;
        outcome
    }

    fn is_still(&self, seen: &Published) -> io::Result<()> {
        if self.lock().generation == seen.generation {
            return Ok(());
        }
        Err(io::Error::other("the log was cleared or replaced while it was read"))
    }
}
