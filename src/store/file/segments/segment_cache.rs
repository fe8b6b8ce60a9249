//! Reads segments at any offset. Keeps a few files open and a few decompressed chunks in memory,
//! independent of the number of segments and readers.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::chunks::Chunks;
use super::segment::{Coding, Segment};
use crate::store::file::state::durable_fs::open_no_follow;

/// Maximum number of open files.
const MAX_OPEN_FILES: usize = 16;

/// Maximum number of cached chunks, of 256 KiB each.
const MAX_CACHED_CHUNKS: usize = 8;

/// The open files and decompressed chunks of the segments that were read last.
#[derive(Debug, Default)]
pub(crate) struct SegmentCache {
    files: Mutex<VecDeque<Arc<Opened>>>,
    chunks: Mutex<VecDeque<Chunk>>,
    /// True after a file was found altered or missing. The segment set then checks all files.
    is_suspicious: AtomicBool,
    /// Number of files opened so far.
    opened: AtomicU64,
}

#[derive(Debug)]
struct Opened {
    /// Unique for each opening.
    id: u64,
    path: PathBuf,
    file: File,
    /// `None`: the file is not compressed.
    chunks: Option<Chunks>,
}

#[derive(Debug, Clone)]
struct Chunk {
    /// The `id` of the open file.
    id: u64,
    index: u64,
    bytes: Arc<Vec<u8>>,
}

impl SegmentCache {
    /// Fills `buffer` with the bytes of a segment from `at` on.
    ///
    /// # Errors
    /// Fails also when the segment is shorter, or another program altered its file.
    pub(crate) fn read(&self, segment: &Segment, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let outcome = self.open(segment).and_then(|opened| {
            match &opened.chunks {
                None => opened.file.read_exact_at(buffer, at)?,
                Some(chunks) => self.unpack(&opened, chunks, buffer, at)?,
            }
            // Checked after the read, to notice changes during the read as well.
            check(segment, &opened.file)
        });
        if outcome.is_err() {
            self.forget(&segment.path);
            self.suspect();
        }
        outcome
    }

    /// Closes the file of a segment, so that the disk frees the space of a removed file.
    pub(crate) fn forget(&self, path: &Path) {
        let mut files = lock(&self.files);
        files.retain(|opened| opened.path != path);
        lock(&self.chunks).retain(|chunk| files.iter().any(|opened| opened.id == chunk.id));
    }

    /// Closes the files of all segments.
    pub(crate) fn forget_all(&self) {
        lock(&self.files).clear();
        lock(&self.chunks).clear();
    }

    /// Records that a file was altered or missing.
    pub(crate) fn suspect(&self) {
        self.is_suspicious.store(true, Ordering::Release);
    }

    /// Returns whether a file was altered or missing since the last call.
    pub(crate) fn take_suspicion(&self) -> bool {
        self.is_suspicious.swap(false, Ordering::AcqRel)
    }

    fn open(&self, segment: &Segment) -> io::Result<Arc<Opened>> {
        if let Some(opened) = touch(&mut lock(&self.files), |opened| opened.path == segment.path) {
            return Ok(opened);
        }
        let file = open_no_follow(&segment.path)?;
        check(segment, &file)?;
        let chunks = match segment.coding {
            Coding::Plain => None,
            coding => Some(Chunks::of(&file, coding, segment.stored)?),
        };
        if chunks.as_ref().is_some_and(|chunks| chunks.len() != segment.len) {
            return Err(altered());
        }
        let id = self.opened.fetch_add(1, Ordering::Relaxed);
        let opened = Arc::new(Opened { id, path: segment.path.clone(), file, chunks });
        insert(&mut lock(&self.files), Arc::clone(&opened), MAX_OPEN_FILES);
        Ok(opened)
    }

    fn unpack(&self, opened: &Opened, chunks: &Chunks, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = at + filled as u64;
            let index = Chunks::index(at);
            let bytes = self.chunk(opened, chunks, index)?;
            let rest = bytes.get((at - chunks.range(index).start) as usize..).unwrap_or_default();
            let want = rest.len().min(buffer.len() - filled);
            if want == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer[filled..filled + want].copy_from_slice(&rest[..want]);
            filled += want;
        }
        Ok(())
    }

    fn chunk(&self, opened: &Opened, chunks: &Chunks, index: u64) -> io::Result<Arc<Vec<u8>>> {
        let is_wanted = |chunk: &Chunk| (chunk.id, chunk.index) == (opened.id, index);
        if let Some(chunk) = touch(&mut lock(&self.chunks), is_wanted) {
            return Ok(chunk.bytes);
        }
        let bytes = Arc::new(chunks.read(&opened.file, index)?);
        let chunk = Chunk { id: opened.id, index, bytes: Arc::clone(&bytes) };
        insert(&mut lock(&self.chunks), chunk, MAX_CACHED_CHUNKS);
        Ok(bytes)
    }
}

/// Fails unless `file` is still the unaltered file of `segment`.
fn check(segment: &Segment, file: &File) -> io::Result<()> {
    if segment.is_unaltered(&file.metadata()?) { Ok(()) } else { Err(altered()) }
}

fn altered() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "another program changed a segment")
}

/// Returns an item and moves it to the end, which is the place of the item used last.
fn touch<T: Clone>(kept: &mut VecDeque<T>, wanted: impl Fn(&T) -> bool) -> Option<T> {
    let place = kept.iter().position(wanted)?;
    let found = kept.remove(place)?;
    kept.push_back(found.clone());
    Some(found)
}

fn insert<T>(kept: &mut VecDeque<T>, new: T, max: usize) {
    if kept.len() >= max {
        kept.pop_front();
    }
    kept.push_back(new);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
