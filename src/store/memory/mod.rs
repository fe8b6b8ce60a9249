//! Keeps a log in memory, for tests. It is the contract of an engine in its shortest form, and proves
//! that the service needs no file.
//!
//! An append is complete at once, so no queue fills. The memory is bounded. When it is full, the oldest
//! lines leave the log, as retention by size removes them from a file. A restart loses everything.

mod lines;

use std::future::ready;
use std::io;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use jiff::tz::TimeZone;
use tokio::sync::Notify;

use self::lines::{EPOCH, Lines, StoredLine, cursor, write};
use crate::config::LogEntry;
use crate::record::{Clock, Entry, LineFormat};
use crate::store::commit::CommitPosition;
use crate::store::line_writer::{LineWriter, estimated_bytes};
use crate::store::statistics::{LEVELS, LatencyRecorder, StoredCounters};
use crate::store::{
    AppendLog, AppendTicket, Cursor, CursorKey, Details, LineChunk, LogStore, ManageLog, Opened, Progress,
    Query, QueueFull, ReadError, ReadLog, Reading, Selection, Source, Statistics, StoreError,
};

/// Maximum bytes of the lines that are kept.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Opens an empty log in memory.
///
/// # Errors
/// Fails when the system has no random numbers for the key of the cursors.
pub(crate) fn open(log: &LogEntry) -> io::Result<Opened> {
    let store = MemoryStore::new(log.format, MAX_BYTES)?;
    Ok((Arc::new(store), tokio::spawn(ready(()))))
}

/// A log in memory.
pub(crate) struct MemoryStore {
    log: Mutex<Log>,
    changed: Arc<Notify>,
    counters: StoredCounters,
    key: CursorKey,
}

struct Log {
    lines: Lines,
    writer: LineWriter,
    /// Number of records stored.
    stored: u64,
    is_closed: bool,
}

impl MemoryStore {
    /// Returns an empty log that keeps at most `max_bytes` of lines, and always the last one.
    fn new(format: LineFormat, max_bytes: u64) -> io::Result<Self> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        let writer = LineWriter::new(Clock::new(TimeZone::system()), format);
        let log = Log { lines: Lines::new(max_bytes), writer, stored: 0, is_closed: false };
        Ok(Self {
            log: Mutex::new(log),
            changed: Arc::default(),
            counters: StoredCounters::default(),
            key: CursorKey(secret),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the log, unless it is closed.
    fn change(&self, change: impl FnOnce(&mut Log)) -> BoxFuture<'static, Result<(), StoreError>> {
        let mut log = self.lock();
        if log.is_closed {
            return ready(Err(StoreError::Closed)).boxed();
        }
        change(&mut log);
        drop(log);
        self.changed.notify_one();
        ready(Ok(())).boxed()
    }
}

impl AppendLog for MemoryStore {
    fn try_append(&self, source: &Source<'_>, entries: &[Entry<'_>]) -> Result<AppendTicket, QueueFull> {
        let mut log = self.lock();
        if log.is_closed {
            return Ok(AppendTicket::completed(Err(StoreError::Closed), 0));
        }
        let (mut text, mut levels) = (Vec::with_capacity(estimated_bytes(entries)), [0; LEVELS]);
        let stamp = log.writer.stamp();
        log.writer.write(source, entries, &stamp, None, &mut text, &mut levels);
        let (position, len) = (log.lines.end, text.len() as u64);
        log.lines.push(&Bytes::from(text));
        log.stored += entries.len() as u64;
        drop(log);
        self.counters.add(&levels, len);
        self.changed.notify_one();
        Ok(AppendTicket::completed(Ok(CommitPosition { epoch: EPOCH, position }), len))
    }

    fn preview(&self, source: &Source<'_>, entries: &[Entry<'_>]) -> Vec<String> {
        let next = self.lock().writer.next_lines();
        next.of(source, entries)
    }

    fn room(&self) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    fn stored(&self) -> u64 {
        self.lock().stored
    }

    fn failure(&self) -> Option<StoreError> {
        None
    }
}

impl ReadLog for MemoryStore {
    fn end(&self) -> Cursor {
        cursor(self.lock().lines.end)
    }

    fn cursor_key(&self) -> CursorKey {
        self.key
    }

    fn is_before(&self, cursor: Cursor, other: Cursor) -> bool {
        cursor.order() < other.order()
    }

    fn details(&self) -> BoxFuture<'_, Details> {
        let lines = &self.lock().lines;
        let size = lines.end - lines.start();
        let details = Details {
            count: lines.kept.len() as u64,
            foreign: 0,
            counting: false,
            size,
            size_on_disk: size,
            segments: 0,
            oldest: lines.kept.front().and_then(StoredLine::time),
            newest: lines.kept.back().and_then(StoredLine::time),
        };
        ready(details).boxed()
    }

    fn statistics(&self) -> BoxFuture<'_, Statistics> {
        let log = &mut *self.lock();
        let lines = &log.lines;
        let statistics = Statistics {
            records: self.counters.records(),
            bytes: self.counters.bytes(),
            queue: 0,
            syncs: LatencyRecorder::default().read(),
            size: lines.end - lines.start(),
            foreign: 0,
            segments: 0,
            disk_free: None,
            last_record: lines.kept.back().and_then(StoredLine::micros),
            oldest_record: lines.kept.front().and_then(StoredLine::micros),
            last_write_failure: None,
            rotations: 0,
            retired: 0,
            clock_ahead: Duration::from_micros(log.writer.clock().ahead_micros().unsigned_abs()),
            clock_steps: log.writer.clock().steps(),
            is_state_saved: true,
        };
        ready(statistics).boxed()
    }

    fn read(&self, query: Query) -> BoxFuture<'_, Result<Reading, ReadError>> {
        let answer = self.lock().lines.answer(&query);
        (query.progress)();
        let reading = answer.map(|(lines, stopped)| {
            let blocks = write(&lines, &query.form);
            let len = Some(blocks.iter().map(|block| block.len() as u64).sum());
            Reading { stopped, len, blocks: stream::iter(blocks.into_iter().map(Ok)).boxed() }
        });
        ready(reading).boxed()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        let changed = Arc::clone(&self.changed);
        async move { changed.notified().await }.boxed()
    }

    fn line_chunk(&self, after: Cursor, size: u64) -> BoxFuture<'static, Result<LineChunk, ReadError>> {
        let lines = &self.lock().lines;
        let chunk = lines.index_of(after).map(|index| {
            let max_bytes = LineChunk::bytes_from(after.position, size.max(1));
            let mut chunk = Vec::new();
            for line in lines.kept.range(index..) {
                if !chunk.is_empty() && (chunk.len() + line.text.len()) as u64 > max_bytes {
                    break;
                }
                chunk.extend_from_slice(&line.text);
            }
            LineChunk::new(Bytes::from(chunk), after, move |end| cursor(after.position + end))
        });
        ready(chunk).boxed()
    }

    fn open_record(&self, at: Cursor) -> BoxFuture<'static, Result<LineChunk, ReadError>> {
        ready(Ok(LineChunk::new(Bytes::new(), at, move |_| at))).boxed()
    }

    fn begin(
        &self,
        selection: Selection,
        latest: Option<NonZeroU64>,
        progress: Progress,
    ) -> BoxFuture<'_, Result<Cursor, StoreError>> {
        let lines = &self.lock().lines;
        let since = selection.since.map(|since| lines.first_since(since));
        let end = lines.kept.len();
        let begin = match latest {
            None => lines.cursor_at(since.unwrap_or(end)),
            Some(latest) => {
                let until = selection.until.map_or(end, |until| lines.end_before(until));
                let latest = usize::try_from(latest.get()).unwrap_or(usize::MAX);
                let found = lines.select(since.unwrap_or(0)..until, &selection).rev().take(latest).last();
                found.map_or_else(|| cursor(lines.end), |line| cursor(line.start))
            }
        };
        progress();
        ready(Ok(begin)).boxed()
    }
}

impl ManageLog for MemoryStore {
    fn clear(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.change(|log| {
            log.lines.kept.clear();
            log.writer.clock().restart(None);
        })
    }

    fn check_state(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.change(|_| ())
    }

    fn reconfigure(&self, log: &LogEntry) -> BoxFuture<'static, Result<(), StoreError>> {
        self.change(|stored| stored.writer.format = log.format)
    }

    fn close(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        self.change(|log| log.is_closed = true)
    }
}

impl LogStore for MemoryStore {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Level;
    use crate::store::append;

    #[tokio::test]
    async fn oldest_lines_leave_a_full_memory() {
        let store = MemoryStore::new(LineFormat::Text, 2_000).unwrap();
        let source = Source { client: "192.0.2.1", key: "k", route: "save-log" };
        let mut cursors = vec![store.end()];
        for n in 0..100 {
            let message = format!("message {n:03}");
            let entry = Entry::new(Level::Info, &message);
            cursors.push(append(&store, &source, &[entry]).await.unwrap().cursor);
        }
        let details = store.details().await;
        assert!(details.size <= 2_000 && details.size > 1_800, "{details:?}");
        let gone = 100 - details.count as usize;
        for (index, cursor) in cursors.iter().enumerate() {
            match store.line_chunk(*cursor, 1_000_000).await {
                Ok(chunk) => assert_eq!(memchr::memchr_iter(b'\n', &chunk.lines).count(), 100 - index),
                Err(ReadError::Gone { oldest }) => {
                    assert!(index < gone && oldest == cursors[gone], "{index}");
                }
                Err(error) => panic!("{error}"),
            }
        }
        let large = "x".repeat(5_000);
        append(&store, &source, &[Entry::new(Level::Info, &large)]).await.unwrap();
        assert_eq!(store.details().await.count, 1, "the last line stays");
    }
}
