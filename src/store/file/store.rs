//! Implements the contract of an engine. Appends and commands go into the append buffer, and reads are
//! answered from the state that the committer published.

use std::future::{Future, ready};
use std::io;
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::tz::TimeZone;
use nix::sys::statvfs::fstatvfs;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::append_buffer::{AppendBuffer, Command};
use super::committer::Committer;
use super::log_file::LogFile;
use super::reader::blocking;
use super::settings::Settings;
use super::shared::{Failure, Shared};
use super::snapshot::LogSnapshot;
use super::{follow, search};
use crate::config::LogEntry;
use crate::record::{Clock, Entry, LineHead, MAX_HEAD_BYTES, MAX_LINE_BYTES, Stamp};
use crate::store::statistics::StoredCounters;
use crate::store::{
    AppendLog, AppendTicket, Cursor, CursorKey, Details, LineChunk, LogStore, ManageLog, Progress, Query,
    QueueFull, RawFile, ReadError, ReadLog, Reading, Selection, Snapshot, Source, Statistics, StoreError,
};

/// A log kept as one plain text file, and as rotated segments beside it.
#[derive(Debug, Clone)]
pub(crate) struct FileStore {
    pub(crate) shared: Arc<Shared>,
    /// The directory of files with a relative path.
    log_dir: Arc<Path>,
}

/// Maximum time that a read waits for a disk to answer.
pub(crate) const DISK_TIMEOUT: Duration = Duration::from_millis(250);

impl FileStore {
    /// Opens or creates the file, repairs it, and returns the store with the future that writes it.
    /// The future must run on the same runtime as the appends, and ends after [`ManageLog::close`].
    /// `state_path` is the file of this log in the state directory. `queue_bytes` is the maximum size
    /// of the append buffer.
    ///
    /// # Errors
    /// Fails when the file or its state can't be opened, created or repaired.
    pub(crate) fn open(
        settings: &Settings,
        log_dir: &Path,
        state_path: &Path,
        queue_bytes: usize,
    ) -> io::Result<(Self, impl Future<Output = ()> + Send + use<>)> {
        let mut file = LogFile::open(&settings.path, state_path)?;
        file.set_rules(settings.rotate.clone());
        let key = CursorKey(file.identity().ok_or_else(|| io::Error::other("the state has no identity"))?);
        let mut clock = Clock::new(TimeZone::system());
        clock.restart(file.newest);
        let shared = Arc::new(Shared {
            append_buffer: AppendBuffer::new(clock, settings, queue_bytes),
            work: Notify::new(),
            room: Arc::default(),
            view: file.view(),
            counters: StoredCounters::default(),
            maintenance: Arc::clone(&file.counters),
            failure: Failure::default(),
            syncs: file.syncs(),
            free_space_permit: Arc::new(Semaphore::new(1)),
            key,
            reported_at: AtomicI64::new(0),
        });
        if let Some(newest) = file.newest_of_all() {
            shared.counters.last_record.set(newest);
        }
        let committer = Committer::new(Arc::clone(&shared), file)?;
        Ok((Self { shared, log_dir: log_dir.into() }, committer.run()))
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

    /// Applies new settings after all earlier appends have completed.
    pub(crate) fn apply(&self, settings: Settings) -> BoxFuture<'static, Result<(), StoreError>> {
        if self.shared.append_buffer.has(&settings) {
            return ready(Ok(())).boxed();
        }
        self.command(|reply| Command::Reconfigure(settings, reply))
    }

    /// Checks whether another program moved or truncated the file, then returns a snapshot. If the
    /// disk hangs, it returns the snapshot without the check.
    async fn source(&self) -> LogSnapshot {
        // The error is dropped, because the read that follows reports its own error.
        drop(timeout(DISK_TIMEOUT, self.command(Command::Verify)).await);
        LogSnapshot::take(&self.shared.view)
    }

    /// Returns the bytes that the file system has left for users other than root, if the disk
    /// answers in time.
    async fn disk_free(&self) -> Option<u64> {
        let file = self.shared.view.get().file;
        let permit = Arc::clone(&self.shared.free_space_permit);
        let request = async move {
            let permit = permit.acquire_owned().await.ok()?;
            let answer = spawn_blocking(move || {
                let file_system = fstatvfs(&file);
                drop(permit);
                file_system
            });
            let file_system = answer.await.ok()?.ok()?;
            Some(file_system.blocks_available() * file_system.fragment_size())
        };
        timeout(DISK_TIMEOUT, request).await.ok().flatten()
    }
}

impl AppendLog for FileStore {
    fn try_append(&self, source: &Source<'_>, entries: &[Entry<'_>]) -> Result<AppendTicket, QueueFull> {
        let (ticket, is_first) = self.shared.append_buffer.push(source, entries)?;
        if is_first {
            self.shared.work.notify_one();
        }
        Ok(ticket)
    }

    fn preview(&self, source: &Source<'_>, entries: &[Entry<'_>]) -> Vec<String> {
        self.shared.append_buffer.next_lines().of(source, entries)
    }

    fn room(&self) -> BoxFuture<'static, ()> {
        Arc::clone(&self.shared.room).notified_owned().boxed()
    }

    fn stored(&self) -> u64 {
        self.shared.view.lock().stored
    }

    fn failure(&self) -> Option<StoreError> {
        let is_low = self.shared.append_buffer.is_low_on_space();
        if is_low { Some(StoreError::LowSpace) } else { self.shared.failure.get() }
    }
}

impl ReadLog for FileStore {
    fn end(&self) -> Cursor {
        self.shared.view.lock().end()
    }

    fn cursor_key(&self) -> CursorKey {
        self.shared.key
    }

    fn is_before(&self, cursor: Cursor, other: Cursor) -> bool {
        cursor.order() < other.order()
    }

    fn details(&self) -> BoxFuture<'_, Details> {
        async move {
            let source = self.source().await;
            let (seen, size) = (source.seen.clone(), source.len());
            let ends = blocking(move || Ok(source.ends())).await.unwrap_or_default();
            Details {
                count: seen.segments.count() + seen.count,
                foreign: seen.segments.foreign() + seen.foreign,
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
            let (ahead, steps) = shared.append_buffer.clock();
            Statistics {
                records: shared.counters.records(),
                bytes: shared.counters.bytes(),
                queue: shared.append_buffer.waiting(),
                syncs: shared.syncs.read(),
                size: snapshot.len(),
                foreign: snapshot.seen.segments.foreign() + snapshot.seen.foreign,
                segments: snapshot.seen.segments.items().len() as u64,
                disk_free,
                last_record: shared.counters.last_record.get(),
                oldest_record: snapshot.oldest(),
                last_write_failure: shared.failure.last.get(),
                rotations: shared.maintenance.rotations.load(Ordering::Relaxed),
                retired: shared.maintenance.retired.load(Ordering::Relaxed),
                clock_ahead: Duration::from_micros(ahead.unsigned_abs()),
                clock_steps: steps + shared.maintenance.clock_jumps.load(Ordering::Relaxed),
                is_state_saved: !shared.maintenance.is_state_unsaved.load(Ordering::Relaxed),
            }
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

    fn notice_changes(&self) -> BoxFuture<'static, ()> {
        self.command(Command::NoticeChanges).map(drop).boxed()
    }

    fn line_chunk(&self, after: Cursor, size: u64) -> BoxFuture<'static, Result<LineChunk, ReadError>> {
        follow::line_chunk(LogSnapshot::take(&self.shared.view), after, size).boxed()
    }

    fn open_record(&self, at: Cursor) -> BoxFuture<'static, Result<LineChunk, ReadError>> {
        search::open_record(LogSnapshot::take(&self.shared.view), at).boxed()
    }

    fn check_cursor(&self, cursor: Cursor) -> BoxFuture<'_, Result<(), ReadError>> {
        async move {
            // Another program may have moved the file.
            let mut chunk = follow::line_chunk(self.source().await, cursor, 1).await;
            if let Err(ReadError::Store(_)) = chunk {
                // The log may have been cleared while it was read.
                chunk = self.line_chunk(cursor, 1).await;
            }
            chunk.map(drop)
        }
        .boxed()
    }

    fn begin(
        &self,
        selection: Selection,
        latest: Option<NonZeroU64>,
        progress: Progress,
    ) -> BoxFuture<'_, Result<Cursor, StoreError>> {
        async move { search::begin(self.source().await, selection, latest, progress).await }.boxed()
    }
}

impl ManageLog for FileStore {
    fn clear(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.command(Command::Clear)
    }

    fn check_state(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.command(Command::CheckState)
    }

    fn reconfigure(&self, log: &LogEntry) -> BoxFuture<'static, Result<(), StoreError>> {
        self.apply(Settings::of(log, &self.log_dir))
    }

    fn close(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.command(Command::Close)
    }
}

impl RawFile for FileStore {
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>> {
        async move {
            let snapshot = self.source().await;
            let seen = &snapshot.seen;
            Ok(Snapshot {
                // The epoch and the end change with every line. A clear leaves the end unchanged,
                // so the length is part of the tag as well.
                etag: format!("\"{:x}-{:x}-{:x}\"", seen.epoch, seen.end().position, snapshot.len()),
                len: snapshot.len(),
                modified: seen.modified,
                end: snapshot.end(),
                bytes: Box::new(snapshot),
            })
        }
        .boxed()
    }
}

impl LogStore for FileStore {
    fn raw_file(&self) -> Option<&dyn RawFile> {
        Some(self)
    }
}

/// Bytes of the first read of the last line. Most lines are shorter.
const LAST_LINE_BYTES: u64 = 64 * 1024;

impl LogSnapshot {
    /// Returns the times of the first and of the last line, RFC 3339.
    fn ends(&self) -> (Option<String>, Option<String>) {
        let time = |line: &[u8]| {
            let stamp = Stamp::from(LineHead::of(line)?.time());
            String::from_utf8(stamp.rfc3339().to_vec()).ok()
        };
        let head = self.read(0..self.len().min(MAX_HEAD_BYTES as u64));
        let first = head.ok().and_then(|head| time(&head));
        (first, self.last_line().and_then(|line| time(&line)))
    }

    /// Returns the last line without its line end. `None`: it can't be read, or is longer than a
    /// record.
    fn last_line(&self) -> Option<Vec<u8>> {
        let mut want = self.len().min(LAST_LINE_BYTES);
        loop {
            let mut tail = self.read(self.len() - want..self.len()).ok()?;
            tail.pop();
            match memchr::memrchr(b'\n', &tail) {
                Some(newline) => return Some(tail.split_off(newline + 1)),
                None if want == self.len() => return Some(tail),
                None if want > MAX_LINE_BYTES as u64 => return None,
                None => want = self.len().min(4 * want),
            }
        }
    }
}
