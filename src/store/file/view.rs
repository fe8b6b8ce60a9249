//! What readers may see of the file: only what is durable, and which incarnation of the file it is. Writers publish
//! here after a commit; readers take a copy and never hold the lock while they read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use super::super::Cursor;

/// The readable part of the active file at one moment.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) file: Arc<File>,
    /// changes whenever bytes that could be read before may be gone or others
    pub(super) generation: u64,
    pub(super) epoch: u32,
    /// position of the file's first byte
    pub(super) base: u64,
    /// durable bytes
    pub(super) len: u64,
    /// lines among them; a lower bound while `counting`
    pub(super) count: u64,
    /// how many counts of lines that were there already are under way
    pub(super) counting: u32,
    /// records stored by this process
    pub(super) stored: u64,
    pub(super) modified: SystemTime,
}

impl Published {
    pub(super) const fn end(&self) -> Cursor {
        Cursor { epoch: self.epoch, position: self.base + self.len }
    }
}

/// The published state, shared by the writer and all readers.
#[derive(Debug)]
pub(super) struct View {
    published: Mutex<Published>,
    changed: Notify,
}

impl View {
    pub(super) const fn new(published: Published) -> Self {
        Self { published: Mutex::new(published), changed: Notify::const_new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was published: wakes whoever waits in [`Self::changed`]. Once for any number of calls, and as good as
    /// free when nobody waits.
    pub(super) fn tell(&self) {
        self.changed.notify_one();
    }

    /// Completes when something was published since it completed last. For one caller.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn get(&self) -> Published {
        self.lock().clone()
    }

    /// Reads from the file as it was published as `seen`, filling `buffer`.
    ///
    /// Fails when the file was cleared or replaced meanwhile: the generation changes before the first byte is
    /// touched, so bytes read under an unchanged generation are the bytes that were published.
    pub(super) fn read_exact_at(&self, seen: &Published, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let outcome = seen.file.read_exact_at(buffer, at);
        if self.lock().generation != seen.generation {
            return Err(io::Error::other("the log was cleared or replaced while it was read"));
        }
        outcome
    }
}
