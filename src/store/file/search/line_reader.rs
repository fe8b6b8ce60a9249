//! Reads a part of a snapshot, forwards or backwards, in blocks of whole units that fit into one
//! buffer, which is reused. A unit is a record with the lines that continue it, or a line that belongs
//! to no record.
//!
//! A line belongs to no record if no record precedes it, if it begins [`Sizes::unit`] bytes or more
//! behind the start of the record, or if it is longer than that. Lines behind such a long line belong
//! to no record either. A longer line that begins like a record is a record that no line continues.
//! The reader finds where a line begins and ends that is longer than its buffer, and does not keep it.

use std::io;
use std::ops::Range;

use memchr::{memchr, memrchr};

use crate::record::begins_record;
use crate::store::Order;
use crate::store::file::snapshot::LogSnapshot;

/// Sizes of reads and buffers, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// The first read, which is small, because it often holds the whole answer.
    pub(crate) first: usize,
    /// Every other read. It is larger than most records, large enough to hide the cost of a read, and
    /// small enough for the processor's cache.
    pub(crate) block: usize,
    /// Maximum distance of a line from the record that it continues, and maximum length of such a
    /// line.
    pub(crate) unit: usize,
    /// Maximum length of a line that is read as a whole. It is larger than any record, and than two
    /// units.
    pub(crate) whole: usize,
    /// The part of a longer line that is searched at once.
    pub(crate) window: usize,
    /// Minimum length that two such parts have in common.
    pub(crate) overlap: usize,
    /// The part of a block that is filtered at once when a line may take long, so that a turn ends.
    pub(crate) portion: usize,
    /// Maximum of a limited answer that is kept in memory.
    pub(crate) kept: usize,
    /// A block of the answer.
    pub(crate) answer: usize,
}

impl Sizes {
    pub(crate) const DEFAULT: Self = Self {
        first: 32 * 1024,
        block: 256 * 1024,
        unit: 1024 * 1024,
        whole: 12 * 1024 * 1024,
        window: 1024 * 1024,
        overlap: 256 * 1024,
        portion: 16 * 1024,
        kept: 1024 * 1024,
        answer: 128 * 1024,
    };
}

/// Reads a part of a snapshot once.
pub(crate) struct LineReader {
    snapshot: LogSnapshot,
    order: Order,
    sizes: Sizes,
    /// The range that is not read yet. Both ends are between units, or ends of the snapshot.
    left: Range<u64>,
    /// The end of a long line at which the reader found the line: its start when reading forwards,
    /// its end when reading backwards. `None` outside such a line.
    long: Option<u64>,
    /// Bytes of the next read.
    next: usize,
    buffer: Vec<u8>,
    /// The whole units in the buffer. `start` and `end` are their offsets in the snapshot.
    block: Range<usize>,
    start: u64,
    end: u64,
}

/// Whole units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineBlock<'b> {
    /// Offset of the first line in the snapshot.
    pub(crate) start: u64,
    /// Offset after the last line.
    pub(crate) end: u64,
    /// The lines. Empty for a single line that is longer than the buffer.
    pub(crate) lines: &'b [u8],
}

impl LineBlock<'_> {
    /// Returns whether the block is one line that is longer than the buffer.
    pub(crate) const fn is_long(&self) -> bool {
        self.lines.is_empty() && self.end > self.start
    }
}

impl LineReader {
    /// Reads `part`, which begins and ends between units.
    pub(crate) const fn new(snapshot: LogSnapshot, sizes: Sizes, order: Order, part: Range<u64>) -> Self {
        Self {
            snapshot,
            order,
            sizes,
            left: part,
            long: None,
            next: sizes.first,
            buffer: Vec::new(),
            block: 0..0,
            start: 0,
            end: 0,
        }
    }

    pub(crate) const fn snapshot(&self) -> &LogSnapshot {
        &self.snapshot
    }

    pub(crate) const fn order(&self) -> Order {
        self.order
    }

    pub(crate) fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// Returns the lines of the last read.
    pub(crate) fn block(&self) -> LineBlock<'_> {
        let lines = self.buffer.get(self.block.clone()).unwrap_or_default();
        LineBlock { start: self.start, end: self.end, lines }
    }

    /// Maximum bytes of one read, which hold a unit and the start of the next one.
    const fn max_read(&self) -> usize {
        2 * self.sizes.unit
    }

    /// Reads one block. Returns false when it holds no whole unit.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        (self.block, self.start, self.end) = (0..0, 0, 0);
        let rest = self.left.end.saturating_sub(self.left.start);
        let len = (self.next as u64).min(rest);
        if len == 0 {
            return Ok(false);
        }
        let part = match self.order {
            Order::Ascending => self.left.start..self.left.start + len,
            Order::Descending => self.left.end - len..self.left.end,
        };
        self.buffer.resize(len as usize, 0);
        self.snapshot.read_into(&mut self.buffer, part.start)?;
        if self.long.is_some() {
            return self.read_on(&part);
        }
        let whole = if len == rest {
            Some(0..self.buffer.len())
        } else {
            match self.order {
                Order::Ascending => self.forwards().map(|end| 0..end),
                Order::Descending => self.backwards().map(|start| start..self.buffer.len()),
            }
        };
        match whole {
            Some(whole) => {
                (self.start, self.end) = (part.start + whole.start as u64, part.start + whole.end as u64);
                self.leave(self.start, self.end);
                // Where no record begins, the next block needs as much as this one.
                let begins_record = begins_record(&self.buffer[whole.start..]);
                self.next = if begins_record { self.sizes.block } else { self.next.max(self.sizes.block) };
                self.block = whole;
                Ok(true)
            }
            None if self.next < self.max_read() => {
                self.next = (self.next * 2).max(self.sizes.block).min(self.max_read());
                Ok(false)
            }
            None => {
                self.long = Some(if self.order == Order::Ascending { part.start } else { part.end });
                self.leave(part.start, part.end);
                Ok(false)
            }
        }
    }

    /// Marks what was read.
    fn leave(&mut self, start: u64, end: u64) {
        match self.order {
            Order::Ascending => self.left.start = end,
            Order::Descending => self.left.end = start,
        }
    }

    /// Returns the end of the whole units at the start of the buffer. `None`: more bytes are needed,
    /// or a long line begins there.
    fn forwards(&self) -> Option<usize> {
        let buffer = &self.buffer[..];
        let mut newlines = memchr::memrchr_iter(b'\n', buffer);
        let last = newlines.next()? + 1;
        // A record whose head is cut here belongs to the next block.
        let starts = std::iter::once(last).chain(newlines.map(|newline| newline + 1));
        if let Some(head) = { starts }.find(|start| begins_record(&buffer[*start..])) {
            return Some(head);
        }
        if !begins_record(buffer) {
            return Some(last);
        }
        let far = self.sizes.unit - 1;
        let beyond = buffer.get(far..).and_then(|rest| memchr(b'\n', rest)).map(|newline| far + newline + 1);
        // Without a line beyond the unit, a long line follows.
        beyond.or_else(|| (buffer.len() >= self.max_read()).then_some(last))
    }

    /// Returns the start of the whole units at the end of the buffer. `None`: more bytes are needed,
    /// or a long line ends there.
    fn backwards(&self) -> Option<usize> {
        // The last byte ends the last line and begins none.
        let (_, buffer) = self.buffer.split_last()?;
        let starts = || memchr::memchr_iter(b'\n', buffer).map(|newline| newline + 1);
        if let Some(head) = starts().find(|start| begins_record(&self.buffer[*start..])) {
            return Some(head);
        }
        // No record begins so near that a line from here on continues it.
        if let Some(far) = starts().find(|start| *start >= self.sizes.unit) {
            return Some(far);
        }
        if self.buffer.len() < self.max_read() { None } else { starts().next_back() }
    }

    /// Reads the next part of a long line.
    fn read_on(&mut self, part: &Range<u64>) -> io::Result<bool> {
        let is_last = *part == self.left;
        let newline = match self.order {
            Order::Ascending => memchr(b'\n', &self.buffer),
            Order::Descending => memrchr(b'\n', &self.buffer),
        };
        let place = newline.map(|newline| part.start + newline as u64 + 1);
        let (start, end) = match (self.order, place, self.long) {
            (Order::Ascending, Some(end), Some(start)) => (start, end),
            (Order::Ascending, None, Some(start)) if is_last => (start, part.end),
            (Order::Descending, Some(start), Some(end)) => (start, end),
            (Order::Descending, None, Some(end)) if is_last => (part.start, end),
            _ => {
                self.leave(part.start, part.end);
                return Ok(false);
            }
        };
        self.leave(start, end);
        (self.long, self.next) = (None, self.sizes.block);
        (self.start, self.end, self.block) = (start, end, 0..0);
        Ok(true)
    }
}
