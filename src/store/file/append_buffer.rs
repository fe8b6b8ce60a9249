//! The batch in hand: appends are written as lines straight into one buffer, in the order in which they arrive, while
//! the batch before is on its way to the disk. Bounded in bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::config::Durability;
use crate::record::{Clock, Line, LineFormat, LinePrefix, write_line};
use crate::store::commit::{AppendTicket, CommitGroup};
use crate::store::file::maintenance::background::JobResult;
use crate::store::statistics::LEVELS;
use crate::store::{Entry, QueueFull, Settings, Source, StoreError};

/// What is done between batches, in order with them.
#[derive(Debug)]
pub(crate) enum Command {
    /// look whether somebody else touched the file
    Verify(oneshot::Sender<Result<(), StoreError>>),
    Clear(oneshot::Sender<Result<(), StoreError>>),
    Reconfigure(Settings, oneshot::Sender<Result<(), StoreError>>),
    /// work on a segment is finished
    Finished(JobResult),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

/// What the committer takes away at once: first the lines, then the commands.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) lines: Vec<u8>,
    pub(crate) records: u64,
    /// the same by level
    pub(crate) levels: [u64; LEVELS],
    pub(crate) group: Arc<CommitGroup>,
    pub(crate) durability: Durability,
    pub(crate) commands: Vec<Command>,
}

#[derive(Debug)]
pub(crate) struct AppendBuffer(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    lines: Vec<u8>,
    records: u64,
    levels: [u64; LEVELS],
    group: Arc<CommitGroup>,
    commands: Vec<Command>,
    /// the buffer of the batch before, to be used again
    spare: Vec<u8>,
    common: LinePrefix,
    clock: Clock,
    /// records stored by this process
    seq: u64,
    pid: u32,
    format: LineFormat,
    durability: Durability,
    capacity: usize,
    closed: bool,
    /// the disk has too little space left
    low: bool,
}

impl Inner {
    const fn is_empty(&self) -> bool {
        self.records == 0 && self.commands.is_empty()
    }

    fn is_for_disk(&self) -> bool {
        self.durability == Durability::Disk && self.records > 0 && self.commands.is_empty()
    }

    fn take(&mut self) -> Batch {
        let spare = std::mem::take(&mut self.spare);
        Batch {
            lines: std::mem::replace(&mut self.lines, spare),
            records: std::mem::take(&mut self.records),
            levels: std::mem::take(&mut self.levels),
            group: std::mem::take(&mut self.group),
            durability: self.durability,
            commands: std::mem::take(&mut self.commands),
        }
    }

    /// Makes room for about `incoming` bytes more. Left to itself, the buffer of a full queue would grow to twice the
    /// queue for its last lines.
    fn make_room(&mut self, incoming: usize) {
        let wanted = self.lines.len() + incoming;
        if self.lines.capacity() < wanted {
            // lines may be a little longer than was reckoned
            let most = self.capacity + self.capacity / 16;
            let room = wanted.max(most.min(2 * self.lines.capacity()));
            self.lines.reserve_exact(room - self.lines.len());
        }
    }
}

/// A buffer that grew beyond this is not kept. To grow one anew for each of many large batches, with a page fault for
/// every 4 KB, costs a third of their time.
const KEPT: usize = 4 * 1024 * 1024;

/// A buffer of which a batch used less than this part is more than what is needed now.
const USED: usize = 16;

/// A buffer of this size is kept whatever was used of it.
const SMALL: usize = 64 * 1024;

/// About what stands before a message.
const PREFIX: usize = 128;

impl AppendBuffer {
    pub(crate) fn new(clock: Clock, settings: &Settings, capacity: usize) -> Self {
        Self(Mutex::new(Inner {
            lines: Vec::new(),
            records: 0,
            levels: [0; LEVELS],
            group: Arc::default(),
            commands: Vec::new(),
            spare: Vec::new(),
            common: LinePrefix::default(),
            clock,
            seq: 0,
            pid: std::process::id(),
            format: settings.format,
            durability: settings.durability,
            capacity,
            closed: false,
            low: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the entries and tells whether they are the first of their batch, so that the committer must be woken.
    pub(crate) fn push<'a>(
        &self,
        source: &Source<'a>,
        entries: &[Entry<'a>],
    ) -> Result<(AppendTicket, bool), QueueFull> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        if inner.closed || inner.low {
            let group = Arc::new(CommitGroup::default());
            group.complete(Err(if inner.closed { StoreError::Closed } else { StoreError::LowSpace }));
            return Ok((AppendTicket::new(group, 0, false), false));
        }
        // One append larger than the queue must get through some time: it may be alone in it.
        let incoming: usize = entries.iter().map(|entry| entry.message.len() + PREFIX).sum();
        if !inner.lines.is_empty() && inner.lines.len() + incoming > inner.capacity {
            return Err(QueueFull);
        }
        let first = inner.is_empty();
        inner.make_room(incoming);
        // One for all of them: they came at once, and a stamp costs as much as the rest of a line.
        let stamp = inner.clock.stamp();
        let line = |entry: &Entry<'a>, seq: u64| Line {
            level: entry.level,
            stamp: &stamp,
            client: source.client,
            key: source.key,
            route: source.route,
            pid: inner.pid,
            seq,
            message: entry.message,
        };
        for entry in entries {
            inner.levels[entry.level as usize] += 1;
        }
        match entries {
            [entry] => write_line(&mut inner.lines, inner.format, &line(entry, inner.seq + 1)),
            [first, ..] => {
                inner.common.take(inner.format, &line(first, 0));
                for (entry, seq) in entries.iter().zip(inner.seq + 1..) {
                    inner.common.write_line(&mut inner.lines, entry.level, seq, entry.message);
                }
            }
            [] => {}
        }
        inner.seq += entries.len() as u64;
        inner.records += entries.len() as u64;
        let ticket = AppendTicket::new(Arc::clone(&inner.group), inner.lines.len() as u64, first);
        Ok((ticket, first))
    }

    /// Puts a command behind the lines of the batch in hand. After a close nobody obeys: the command is dropped, and
    /// who waits for its reply learns that.
    pub(crate) fn command(&self, command: Command) {
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        if matches!(command, Command::Close(_)) {
            inner.closed = true;
        }
        inner.commands.push(command);
    }

    /// Takes the batch in hand, if there is anything in it.
    pub(crate) fn take(&self) -> Option<Batch> {
        let mut inner = self.lock();
        (!inner.is_empty()).then(|| inner.take())
    }

    /// Whether it holds records that are to be synced, and nothing else.
    pub(crate) fn is_for_disk(&self) -> bool {
        self.lock().is_for_disk()
    }

    /// As [`Self::take`], where it holds nothing but records that are to be synced, `least` bytes or more.
    pub(crate) fn take_for_disk(&self, least: usize) -> Option<Batch> {
        let mut inner = self.lock();
        (inner.is_for_disk() && inner.lines.len() >= least).then(|| inner.take())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Gives the buffer of a finished batch back.
    pub(crate) fn recycle(&self, mut lines: Vec<u8>) {
        let capacity = lines.capacity();
        if capacity <= SMALL || (capacity <= KEPT && lines.len() >= capacity / USED) {
            lines.clear();
            self.lock().spare = lines;
        }
    }

    /// The sequence number and clock of records that were not stored are not taken back: a gap in SEQ shows where
    /// records were refused.
    pub(crate) fn apply(&self, settings: &Settings) {
        let mut inner = self.lock();
        inner.format = settings.format;
        inner.durability = settings.durability;
    }

    /// Bytes of lines that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.lock().lines.len() as u64
    }

    /// Refuses records for as long as the disk is `low` on space.
    pub(crate) fn refuse(&self, low: bool) {
        self.lock().low = low;
    }

    /// Gives no time before `micros`, that of a line which is in the file already.
    pub(crate) fn not_before(&self, micros: i64) {
        self.lock().clock.not_before(micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Level;
    use jiff::tz::TimeZone;

    fn append_buffer(durability: Durability, capacity: usize) -> (AppendBuffer, Settings) {
        let (path, format) = ("unused".into(), LineFormat::Text);
        let settings = Settings { path, format, durability, rotate: None };
        (AppendBuffer::new(Clock::new(TimeZone::UTC), &settings, capacity), settings)
    }

    const SOURCE: Source<'static> = Source { client: "192.0.2.1", key: "key", route: "save-logs" };

    #[test]
    fn the_disk_takes_by_itself_what_is_enough_and_nothing_past_a_command() {
        let (append_buffer, mut settings) = append_buffer(Durability::Disk, 1024 * 1024);
        let record =
            || drop(append_buffer.push(&SOURCE, &[Entry { level: Level::Info, message: "m" }]).unwrap());
        assert!(append_buffer.take_for_disk(0).is_none(), "nothing is there");
        record();
        let waiting = append_buffer.waiting() as usize;
        assert!(append_buffer.take_for_disk(waiting + 1).is_none(), "too little is there");
        assert_eq!(append_buffer.take_for_disk(waiting).map(|batch| batch.records), Some(1));
        record();
        append_buffer.command(Command::Verify(oneshot::channel().0));
        assert!(append_buffer.take_for_disk(0).is_none(), "somebody waits for an answer of the committer");
        let batch = append_buffer.take().unwrap();
        assert_eq!((batch.records, batch.commands.len()), (1, 1));
        record();
        settings.durability = Durability::Os;
        append_buffer.apply(&settings);
        assert!(append_buffer.take_for_disk(0).is_none(), "nobody waits for a sync");
        assert_eq!(append_buffer.take().map(|batch| batch.records), Some(1));
    }

    #[test]
    fn a_full_queue_is_not_kept_in_a_buffer_of_twice_its_size() {
        let capacity = 1024 * 1024;
        let (append_buffer, _) = append_buffer(Durability::Os, capacity);
        let message = "m".repeat(100);
        let entries = [Entry { level: Level::Info, message: &message }; 700];
        while append_buffer.push(&SOURCE, &entries).is_ok() {}
        let batch = append_buffer.take().expect("lines are waiting");
        assert!(batch.lines.len() > capacity / 2);
        assert!(batch.lines.capacity() <= capacity + capacity / 16, "{} bytes", batch.lines.capacity());
    }
}
