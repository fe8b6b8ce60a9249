//! Reads a part of a snapshot, forwards or backwards, in blocks of whole lines that fit into one
//! buffer, which is reused. The reader keeps only the end of a line that is longer than the buffer.
//! Only another program can have written such a line.

use std::io;
use std::ops::Range;

use memchr::{memchr, memrchr};

use crate::store::Order;
use crate::store::file::snapshot::LogSnapshot;

/// Sizes of reads and buffers, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// The first read, which is small, because it often holds the whole answer.
    pub(crate) first: usize,
    /// Every other read. It is larger than any record, large enough to hide the cost of a read, and
    /// small enough for the processor's cache.
    pub(crate) block: usize,
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
        portion: 16 * 1024,
        kept: 1024 * 1024,
        answer: 128 * 1024,
    };
}

/// Reads a part of a snapshot once.
pub(crate) struct LineReader {
    snapshot: LogSnapshot,
    order: Order,
    /// The range that is not read yet. Both ends are line ends, or ends of the snapshot.
    left: Range<u64>,
    /// The end of a line longer than the buffer at which the reader found the line: its start when
    /// reading forwards, its end when reading backwards. `None` outside such a line.
    long: Option<u64>,
    /// Bytes of the next read.
    next: usize,
    block_bytes: usize,
    buffer: Vec<u8>,
    /// The whole lines in the buffer. `start` and `end` are their offsets in the snapshot.
    block: Range<usize>,
    start: u64,
    end: u64,
}

/// Whole lines, each with its line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineBlock<'b> {
    /// Offset of the first line in the snapshot.
    pub(crate) start: u64,
    /// Offset after the last line.
    pub(crate) end: u64,
    /// The lines. For a single line that is longer than the buffer, only its end.
    pub(crate) lines: &'b [u8],
}

impl LineReader {
    pub(crate) const fn new(snapshot: LogSnapshot, sizes: Sizes, order: Order, part: Range<u64>) -> Self {
        Self {
            snapshot,
            order,
            left: part,
            long: None,
            next: sizes.first,
            block_bytes: sizes.block,
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

    /// Reads one block. Returns false when it holds no whole line.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        (self.block, self.start, self.end) = (0..0, 0, 0);
        let len = (self.next as u64).min(self.left.end.saturating_sub(self.left.start));
        if len == 0 {
            return Ok(false);
        }
        let part = match self.order {
            Order::Ascending => self.left.start..self.left.start + len,
            Order::Descending => self.left.end - len..self.left.end,
        };
        self.buffer.resize(len as usize, 0);
        self.snapshot.read_into(&mut self.buffer, part.start)?;
        let small = self.next < self.block_bytes;
        self.next = self.block_bytes;
        let whole = match self.order {
            Order::Ascending => self.forwards(&part, small),
            Order::Descending => self.backwards(&part, small),
        };
        let Some(whole) = whole else { return Ok(false) };
        (self.start, self.end) = (whole.start, whole.end);
        self.block = if whole.end - whole.start > self.block_bytes as u64 {
            self.buffer.resize(self.block_bytes, 0);
            self.snapshot.read_into(&mut self.buffer, whole.end - self.block_bytes as u64)?;
            0..self.block_bytes
        } else {
            (whole.start - part.start) as usize..(whole.end - part.start) as usize
        };
        Ok(true)
    }

    /// Returns the whole lines after `part` was read. A `small` block without a line end is read
    /// again with a larger buffer.
    fn forwards(&mut self, part: &Range<u64>, small: bool) -> Option<Range<u64>> {
        let last = part.end == self.left.end;
        let end = match self.long {
            Some(_) => memchr(b'\n', &self.buffer),
            None => memrchr(b'\n', &self.buffer),
        };
        let end = match end {
            Some(newline) => part.start + newline as u64 + 1,
            // A snapshot ends with a whole line.
            None if last => part.end,
            None if small => return None,
            None => {
                self.long.get_or_insert(part.start);
                self.left.start = part.end;
                return None;
            }
        };
        self.left.start = end;
        Some(self.long.take().unwrap_or(part.start)..end)
    }

    fn backwards(&mut self, part: &Range<u64>, small: bool) -> Option<Range<u64>> {
        let first = part.start == self.left.start;
        let start = match self.long {
            Some(_) => memrchr(b'\n', &self.buffer),
            None if first => None,
            // The last byte of the block ends its last line and begins none.
            None => self.buffer.split_last().and_then(|(_, rest)| memchr(b'\n', rest)),
        };
        let start = match start {
            Some(newline) => part.start + newline as u64 + 1,
            None if first => part.start,
            None if small => return None,
            None => {
                self.long.get_or_insert(part.end);
                self.left.end = part.start;
                return None;
            }
        };
        self.left.end = start;
        Some(start..self.long.take().unwrap_or(part.end))
    }
}
