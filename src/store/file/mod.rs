//! The engine that keeps a log as one plain text file: `inbox` takes records, `committer` writes them in groups
//! through `writer`, `view` is what readers may see, an `image` one state of it; `recovery`, `state` and `census` make
//! the file whole, known and counted when it is opened. `rotation` makes segments of it, which are the `archive`'s.

mod append_buffer;
mod committer;
mod disk_thread;
mod follow;
mod log_file;
mod maintenance;
mod published;
mod reader;
mod search;
mod segments;
mod shared;
mod snapshot;
mod state;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;
use nix::sys::statvfs::fstatvfs;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::append_buffer::{AppendBuffer, Command};
use self::committer::Committer;
use self::log_file::LogFile;
use self::reader::blocking;
use self::segments::segment::SiblingFile;
use self::shared::Shared;
use self::snapshot::LogSnapshot;
use super::statistics::StoredCounters;
use super::{
    AppendTicket, Cursor, CursorKey, Details, Entry, LineChunk, LogStore, Progress, Query, QueueFull,
    ReadError, Reading, Selection, Settings, Snapshot, Source, Statistics, StoreError,
};
use crate::record::{Clock, Stamp, parse_line};

/// Whether a file is a rotated segment of the log whose active file is `active`, finished or not, by their names.
#[must_use]
pub fn is_segment(active: &OsStr, other: &OsStr) -> bool {
    SiblingFile::of(active, other).is_some()
}

/// A log kept as one plain text file, and as rotated segments beside it.
#[derive(Debug, Clone)]
pub struct FileStore {
    shared: Arc<Shared>,
}

/// How long a read waits to learn whether somebody touched the file.
const LOOK: Duration = Duration::from_millis(250);

impl FileStore {
    /// Opens or creates the file, makes it whole, and returns the store with the future that does its writing: it
    /// must run on the same runtime as the appends, and ends after [`LogStore::close`]. `state_path` is the file in
    /// the state directory that belongs to this log; `queue` bounds the lines that wait, in bytes.
    ///
    /// # Errors
    /// When the file or its state can't be opened, created or repaired.
    pub fn open(
        settings: &Settings,
        state_path: &Path,
        queue: usize,
    ) -> io::Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        let mut file = LogFile::open(&settings.path, state_path)?;
        file.set_rules(settings.rotate.clone());
        let key = CursorKey(file.identity().ok_or_else(|| io::Error::other("the state has no identity"))?);
        let mut clock = Clock::new(TimeZone::system());
        clock.not_before(file.take_newest().unwrap_or(i64::MIN));
        let shared = Arc::new(Shared {
            append_buffer: AppendBuffer::new(clock, settings, queue),
            work: Notify::new(),
            room: Arc::default(),
            view: file.view(),
            counters: StoredCounters::default(),
            syncs: file.syncs(),
            surveyor: Arc::new(Semaphore::new(1)),
            key,
            complained: AtomicI64::new(0),
        });
        let committer = Committer::new(Arc::clone(&shared), file)?;
        Ok((Self { shared }, committer.run()))
    }

    fn command(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Command,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let (reply, done) = oneshot::channel();
        self.shared.append_buffer.command(command(reply));
        self.shared.work.notify_one();
        done.map(|outcome| outcome.unwrap_or(Err(StoreError::Closed))).boxed()
    }

    /// The file as it is, not as it was left: somebody may have moved or truncated it since. A disk that hangs is not
    /// waited for.
    async fn source(&self) -> LogSnapshot {
        // What went wrong shows when the file is read.
        drop(timeout(LOOK, self.command(Command::Verify)).await);
        LogSnapshot::take(&self.shared.view)
    }

    /// Bytes that the file system has left for whoever is not root, if it says so soon.
    async fn disk_free(&self) -> Option<u64> {
        let file = self.shared.view.get().file;
        let surveyor = Arc::clone(&self.shared.surveyor);
        let survey = async move {
            let turn = surveyor.acquire_owned().await.ok()?;
            let asked = spawn_blocking(move || {
                let found = fstatvfs(&file);
                drop(turn);
                found
            });
            let found = asked.await.ok()?.ok()?;
            Some(found.blocks_available() * found.fragment_size())
        };
        timeout(LOOK, survey).await.ok().flatten()
    }
}

impl LogStore for FileStore {
    fn try_append(&self, source: &Source<'_>, entries: &[Entry<'_>]) -> Result<AppendTicket, QueueFull> {
        let (ticket, first) = self.shared.append_buffer.push(source, entries)?;
        if first {
            self.shared.work.notify_one();
        }
        Ok(ticket)
    }

    fn room(&self) -> BoxFuture<'static, ()> {
        Arc::clone(&self.shared.room).notified_owned().boxed()
    }

    fn stored(&self) -> u64 {
        self.shared.view.lock().stored
    }

    fn end(&self) -> Cursor {
        self.shared.view.lock().end()
    }

    fn cursor_key(&self) -> CursorKey {
        self.shared.key
    }

    fn details(&self) -> BoxFuture<'_, Details> {
        async move {
            let source = self.source().await;
            let (seen, size) = (source.seen.clone(), source.len());
            let ends = blocking(move || Ok(source.ends())).await.unwrap_or_default();
            Details {
                count: seen.segments.count() + seen.count,
                counting: seen.counting > 0 || seen.segments.is_uncounted(),
                size,
                size_on_disk: seen.segments.stored() + seen.len,
                segments: seen.segments.items().len() as u64,
                oldest: ends.0,
                newest: ends.1,
            }
        }
        .boxed()
    }

    fn statistics(&self) -> BoxFuture<'_, Statistics> {
        async move {
            let disk_free = self.disk_free().await;
            let (shared, snapshot) = (&self.shared, LogSnapshot::take(&self.shared.view));
            Statistics {
                records: shared.counters.records(),
                bytes: shared.counters.bytes(),
                queue: shared.append_buffer.waiting(),
                syncs: shared.syncs.read(),
                size: snapshot.len(),
                segments: snapshot.seen.segments.items().len() as u64,
                disk_free,
            }
        }
        .boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        async move {
            let snapshot = self.source().await;
            let seen = &snapshot.seen;
            Ok(Snapshot {
                // The epoch and the end change with every line and every clear: no two states share them. What a
                // clear leaves has the same end as what it removed, so the length counts as well.
                etag: format!("\"{:x}-{:x}-{:x}\"", seen.epoch, seen.end().position, snapshot.len()),
                len: snapshot.len(),
                modified: seen.modified,
                end: snapshot.end(),
                bytes: Box::new(snapshot),
            })
        }
        .boxed()
    }

    fn read(&self, query: Query) -> BoxFuture<'_, Result<Reading, ReadError>> {
        async move { search::answer(self.source().await, query).await }.boxed()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        let view = Arc::clone(&self.shared.view);
        async move { view.changed().await }.boxed()
    }

    fn piece(&self, after: Cursor, size: u64) -> BoxFuture<'static, Result<LineChunk, ReadError>> {
        follow::piece(LogSnapshot::take(&self.shared.view), after, size).boxed()
    }

    fn begin(
        &self,
        selection: Selection,
        latest: Option<NonZeroU64>,
        progress: Progress,
    ) -> BoxFuture<'_, Result<Cursor, StoreError>> {
        async move { search::begin(self.source().await, selection, latest, progress).await }.boxed()
    }

    fn clear(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.command(Command::Clear)
    }

    fn reconfigure(&self, settings: Settings) -> BoxFuture<'static, Result<(), StoreError>> {
        self.command(|reply| Command::Reconfigure(settings, reply))
    }

    fn close(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.command(Command::Close)
    }
}

/// A line is at most this long: 8192 characters of 8 escaped bytes each, and what stands before them.
const LINE_MAX: u64 = 128 * 1024;

impl LogSnapshot {
    /// Times of the first and the last line.
    fn ends(&self) -> (Option<String>, Option<String>) {
        let len = self.len().min(LINE_MAX);
        let time = |line: &[u8]| {
            let stamp = Stamp::from(parse_line(line).ok()?.time);
            String::from_utf8(stamp.rfc3339().to_vec()).ok()
        };
        let (Ok(head), Ok(mut tail)) = (self.read(0..len), self.read(self.len() - len..self.len())) else {
            return (None, None);
        };
        let first = head.split(|byte| *byte == b'\n').next().and_then(time);
        tail.pop();
        let last = tail.rsplit(|byte| *byte == b'\n').next().and_then(time);
        (first, last)
    }
}
