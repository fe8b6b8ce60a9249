//! Collects the current batch. Each append formats its lines directly into one buffer, in order of
//! arrival, while the batch before it is being written. The buffer is bounded in bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::settings::Settings;
use crate::config::Durability;
use crate::record::{Clock, Entry, EscapedEntries};
use crate::store::commit::{AppendTicket, CommitGroup};
use crate::store::file::maintenance::background::JobResult;
use crate::store::file::maintenance::cleanup::CleanupResult;
use crate::store::line_writer::{LineWriter, NextLines, estimated_bytes};
use crate::store::statistics::LEVELS;
use crate::store::{QueueFull, Source, StoreError};

/// Maximum capacity of a buffer that is kept for reuse. A fresh buffer for each large batch would
/// take a third of the time of the batch, with a page fault for every 4 KiB.
const MAX_KEPT_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A buffer is not kept when its batch filled less than this part of it.
const MIN_USED_PART: usize = 16;

/// Maximum bytes of an append whose texts are escaped under the lock, which takes less than a
/// millisecond. Larger ones run on a thread of their own.
const MAX_ESCAPED_UNDER_LOCK: usize = 256 * 1024;

/// A buffer of at most this capacity is always kept.
const ALWAYS_KEPT_BUFFER_BYTES: usize = 64 * 1024;

/// Work of the committer between two batches, in order with them.
#[derive(Debug)]
pub(crate) enum Command {
    /// Check whether another program changed the files.
    Verify(oneshot::Sender<Result<(), StoreError>>),
    /// Check whether another program changed the active file, for followers.
    NoticeChanges(oneshot::Sender<Result<(), StoreError>>),
    /// Check whether another program removed the saved state.
    CheckState(oneshot::Sender<Result<(), StoreError>>),
    /// Remove every line.
    Clear(oneshot::Sender<Result<(), StoreError>>),
    /// Apply new settings.
    Reconfigure(Settings, oneshot::Sender<Result<(), StoreError>>),
    /// Take the result of background work.
    Finished(JobResult),
    /// Take the result of the removal of old segments.
    Cleaned(CleanupResult),
    /// Sync and stop.
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// A batch that the committer took. The committer writes the lines, then runs the commands.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Whole lines.
    pub(crate) lines: Vec<u8>,
    /// Number of records.
    pub(crate) records: u64,
    /// Number of records of each level.
    pub(crate) levels: [u64; LEVELS],
    /// The tickets that complete with this batch.
    pub(crate) group: Arc<CommitGroup>,
    /// The durability when the batch was taken.
    pub(crate) durability: Durability,
    /// The times of the first and of the last record, microseconds since the epoch.
    pub(crate) times: BatchTimes,
    /// Commands to run after the lines are written.
    pub(crate) commands: Vec<Command>,
}

/// The times of the records of a batch. They never decrease.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BatchTimes {
    /// Time of the first record, microseconds since the epoch.
    pub(crate) oldest: i64,
    /// Time of the last record.
    pub(crate) newest: i64,
}

/// The current batch, behind a mutex that appends hold while they format their lines.
#[derive(Debug)]
pub(crate) struct AppendBuffer(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    lines: Vec<u8>,
    records: u64,
    levels: [u64; LEVELS],
    group: Arc<CommitGroup>,
    /// The times of the records in `lines`, if there are any.
    times: BatchTimes,
    commands: Vec<Command>,
    /// The buffer of an earlier batch, for reuse.
    spare: Vec<u8>,
    writer: LineWriter,
    settings: Settings,
    /// Maximum length of `lines`.
    capacity_bytes: usize,
    is_closed: bool,
    /// True while the disk has fewer free bytes than `min_free`, so that appends fail.
    is_low_on_space: bool,
}

impl Inner {
    const fn is_empty(&self) -> bool {
        self.records == 0 && self.commands.is_empty()
    }

    fn is_for_disk(&self) -> bool {
        self.settings.durability == Durability::Disk && self.records > 0 && self.commands.is_empty()
    }

    /// Returns whether an append of `incoming` bytes has to wait. One that is larger than the whole
    /// buffer is taken when the buffer is empty.
    const fn lacks_room(&self, incoming: usize) -> bool {
        !self.lines.is_empty() && self.lines.len() + incoming > self.capacity_bytes
    }

    fn take(&mut self) -> Batch {
        let spare = std::mem::take(&mut self.spare);
        Batch {
            lines: std::mem::replace(&mut self.lines, spare),
            records: std::mem::take(&mut self.records),
            levels: std::mem::take(&mut self.levels),
            group: std::mem::take(&mut self.group),
            durability: self.settings.durability,
            times: self.times,
            commands: std::mem::take(&mut self.commands),
        }
    }

    /// Reserves about `incoming` bytes. The growth of `Vec` alone would double a nearly full buffer
    /// for its last lines.
    fn reserve(&mut self, incoming: usize) {
        let wanted = self.lines.len() + incoming;
        if self.lines.capacity() < wanted {
            // A sixteenth more, because lines may be longer than estimated.
            let max = self.capacity_bytes + self.capacity_bytes / 16;
            let room = wanted.max(max.min(2 * self.lines.capacity()));
            self.lines.reserve_exact(room - self.lines.len());
        }
    }
}

impl AppendBuffer {
    pub(crate) fn new(clock: Clock, settings: &Settings, capacity_bytes: usize) -> Self {
        Self(Mutex::new(Inner {
            lines: Vec::new(),
            records: 0,
            levels: [0; LEVELS],
            group: Arc::default(),
            times: BatchTimes::default(),
            commands: Vec::new(),
            spare: Vec::new(),
            writer: LineWriter::new(clock, settings.format),
            settings: settings.clone(),
            capacity_bytes,
            is_closed: false,
            is_low_on_space: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the entries. Returns their ticket, and whether they are the first of their batch. If
    /// they are, the caller wakes the committer.
    pub(crate) fn push<'a>(
        &self,
        source: &Source<'a>,
        entries: &[Entry<'a>],
    ) -> Result<(AppendTicket, bool), QueueFull> {
        let incoming = estimated_bytes(entries);
        let escaped = if incoming > MAX_ESCAPED_UNDER_LOCK { self.escape(entries, incoming)? } else { None };
        let mut inner = self.lock();
        let inner = &mut *inner;
        let escaped = escaped.filter(|texts| texts.format() == inner.writer.format);
        if inner.is_closed || inner.is_low_on_space {
            let error = if inner.is_closed { StoreError::Closed } else { StoreError::LowSpace };
            return Ok((AppendTicket::completed(Err(error), 0), false));
        }
        if inner.lacks_room(incoming) {
            return Err(QueueFull);
        }
        let stamp = inner.writer.stamp();
        if inner.lines.is_empty() {
            inner.times.oldest = stamp.micros();
        } else if stamp.micros() < inner.times.newest {
            // The system clock was set back. The records from now on begin a new file, and so a new
            // batch.
            return Err(QueueFull);
        }
        inner.times.newest = stamp.micros();
        let is_first = inner.is_empty();
        inner.reserve(escaped.as_ref().map_or(incoming, |texts| incoming.max(texts.bytes())));
        let texts = escaped.as_ref();
        inner.writer.write(source, entries, &stamp, texts, &mut inner.lines, &mut inner.levels);
        inner.records += entries.len() as u64;
        // Without a sync, the thread of the runtime writes the batch, and a callback gains nothing.
        let gains_by_callback = is_first && inner.settings.durability == Durability::Disk;
        let end = inner.lines.len() as u64;
        Ok((AppendTicket::new(Arc::clone(&inner.group), end, gains_by_callback), is_first))
    }

    /// Escapes the texts of a large append before the lock is taken. Under the lock it would delay
    /// every other append by the time that the escaping takes.
    ///
    /// # Errors
    /// [`QueueFull`] when there is no room anyway.
    fn escape(&self, entries: &[Entry<'_>], incoming: usize) -> Result<Option<EscapedEntries>, QueueFull> {
        let format = {
            let inner = self.lock();
            if inner.is_closed || inner.is_low_on_space {
                return Ok(None);
            }
            if inner.lacks_room(incoming) {
                return Err(QueueFull);
            }
            inner.writer.format
        };
        Ok(Some(EscapedEntries::of(format, entries)))
    }

    /// Returns what the next lines would have in common.
    pub(crate) fn next_lines(&self) -> NextLines {
        self.lock().writer.next_lines()
    }

    /// Queues a command behind the lines of the current batch. After a close the command is
    /// dropped, and with it the sender of its reply, so that the caller gets
    /// [`StoreError::Closed`].
    pub(crate) fn command(&self, command: Command) {
        let mut inner = self.lock();
        if inner.is_closed {
            return;
        }
        if matches!(command, Command::Close(_)) {
            inner.is_closed = true;
        }
        inner.commands.push(command);
    }

    /// Takes the current batch, unless it is empty.
    pub(crate) fn take(&self) -> Option<Batch> {
        let mut inner = self.lock();
        (!inner.is_empty()).then(|| inner.take())
    }

    /// Returns whether the batch holds only records, which are to be synced.
    pub(crate) fn is_for_disk(&self) -> bool {
        self.lock().is_for_disk()
    }

    /// Takes the current batch if it holds only records, which are to be synced, and at least
    /// `min_bytes` of lines.
    pub(crate) fn take_for_disk(&self, min_bytes: usize) -> Option<Batch> {
        let mut inner = self.lock();
        (inner.is_for_disk() && inner.lines.len() >= min_bytes).then(|| inner.take())
    }

    /// Returns whether the batch holds neither a record nor a command.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Keeps the buffer of a finished batch for reuse.
    pub(crate) fn recycle(&self, mut lines: Vec<u8>) {
        let capacity = lines.capacity();
        if capacity <= ALWAYS_KEPT_BUFFER_BYTES
            || (capacity <= MAX_KEPT_BUFFER_BYTES && lines.len() >= capacity / MIN_USED_PART)
        {
            lines.clear();
            self.lock().spare = lines;
        }
    }

    /// Applies new settings to the records that follow.
    pub(crate) fn apply(&self, settings: Settings) {
        let mut inner = self.lock();
        inner.writer.format = settings.format;
        inner.settings = settings;
    }

    /// Returns whether `settings` are the ones in force.
    pub(crate) fn has(&self, settings: &Settings) -> bool {
        self.lock().settings == *settings
    }

    /// Returns the length of the lines in the batch, in bytes.
    pub(crate) fn waiting(&self) -> u64 {
        self.lock().lines.len() as u64
    }

    /// Returns whether appends fail because the disk is low on space.
    pub(crate) fn is_low_on_space(&self) -> bool {
        self.lock().is_low_on_space
    }

    /// Makes appends fail while the disk is low on space.
    pub(crate) fn set_low_on_space(&self, is_low: bool) {
        self.lock().is_low_on_space = is_low;
    }

    /// Begins the clock anew for another active file, whose newest record has the time `newest`.
    /// Records that wait for that file are not before it either.
    pub(crate) fn begin_file(&self, newest: Option<i64>) {
        let mut inner = self.lock();
        if inner.lines.is_empty() {
            inner.writer.clock().restart(newest);
        } else if let Some(newest) = newest {
            inner.writer.clock().not_before(newest);
        }
    }

    /// Lets no record be before `newest` for some time, because no new file can be begun.
    pub(crate) fn hold_clock(&self, newest: i64, time: Duration) {
        self.lock().writer.clock().hold(newest, time);
    }

    /// Returns how far the newest record is ahead of the system clock, in microseconds, and how
    /// often the clock was found set back.
    pub(crate) fn clock(&self) -> (i64, u64) {
        let mut inner = self.lock();
        let clock = inner.writer.clock();
        (clock.ahead_micros(), clock.steps())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Level, LineFormat, skew};
    use jiff::tz::TimeZone;

    fn buffer_of(durability: Durability, capacity: usize) -> (AppendBuffer, Settings) {
        let (path, format) = ("unused".into(), LineFormat::Text);
        let settings = Settings { path, format, durability, rotate: None };
        (AppendBuffer::new(Clock::new(TimeZone::UTC), &settings, capacity), settings)
    }

    const SOURCE: Source<'static> = Source { client: "192.0.2.1", key: "key", route: "save-logs" };

    #[test]
    fn disk_thread_takes_large_enough_batches_of_records_only() {
        let (append_buffer, mut settings) = buffer_of(Durability::Disk, 1024 * 1024);
        let record = || drop(append_buffer.push(&SOURCE, &[Entry::new(Level::Info, "m")]).unwrap());
        assert!(append_buffer.take_for_disk(0).is_none(), "the buffer is empty");
        record();
        let waiting = append_buffer.waiting() as usize;
        assert!(append_buffer.take_for_disk(waiting + 1).is_none(), "the batch is too small");
        assert_eq!(append_buffer.take_for_disk(waiting).map(|batch| batch.records), Some(1));
        record();
        append_buffer.command(Command::Verify(oneshot::channel().0));
        assert!(append_buffer.take_for_disk(0).is_none(), "a command waits");
        let batch = append_buffer.take().unwrap();
        assert_eq!((batch.records, batch.commands.len()), (1, 1));
        record();
        settings.durability = Durability::Os;
        append_buffer.apply(settings);
        assert!(append_buffer.take_for_disk(0).is_none(), "no record waits for a sync");
        assert_eq!(append_buffer.take().map(|batch| batch.records), Some(1));
    }

    #[test]
    fn records_after_a_step_of_the_clock_are_a_batch_of_their_own() {
        let (append_buffer, _) = buffer_of(Durability::Os, 1024 * 1024);
        let push = || append_buffer.push(&SOURCE, &[Entry::new(Level::Info, "m")]);
        skew::set(3600);
        push().unwrap();
        skew::set(3600 - 9);
        push().unwrap();
        skew::set(0);
        assert_eq!(push().err(), Some(QueueFull));
        assert_eq!(append_buffer.clock().1, 1);
        let before = append_buffer.take().unwrap();
        assert_eq!((before.records, before.times.oldest), (2, before.times.newest));
        push().unwrap();
        let after = append_buffer.take().unwrap();
        assert!(after.times.newest < before.times.oldest - 3_500_000_000);
        assert_eq!((after.records, append_buffer.clock().1), (1, 1));
    }

    #[test]
    fn large_append_gives_the_lines_of_small_ones() {
        for format in [LineFormat::Text, LineFormat::Json] {
            let (append_buffer, mut settings) = buffer_of(Durability::Os, 1024 * 1024);
            settings.format = format;
            append_buffer.apply(settings);
            let message = "a\n\u{1b}".repeat(1000);
            let large = [Entry::new(Level::Info, &message); 100];
            append_buffer.push(&SOURCE, &large).unwrap();
            append_buffer.push(&SOURCE, &large[..2]).unwrap();
            let lines = append_buffer.take().unwrap().lines;
            for (seq, line) in lines.split_inclusive(|byte| *byte == b'\n').enumerate() {
                let record = crate::record::parse_line(line.strip_suffix(b"\n").unwrap()).unwrap();
                assert_eq!((record.seq, &record.message), (seq as u64 + 1, &message));
            }
            assert_eq!(memchr::memchr_iter(b'\n', &lines).count(), 102);
        }
    }

    #[test]
    fn full_queue_does_not_double_its_buffer() {
        let capacity = 1024 * 1024;
        let (append_buffer, _) = buffer_of(Durability::Os, capacity);
        let message = "m".repeat(100);
        let entries = [Entry::new(Level::Info, &message); 700];
        while append_buffer.push(&SOURCE, &entries).is_ok() {}
        let batch = append_buffer.take().expect("lines are waiting");
        assert!(batch.lines.len() > capacity / 2);
        assert!(batch.lines.capacity() <= capacity + capacity / 16, "{} bytes", batch.lines.capacity());
    }
}
