//! Going through a part of an image, forwards or backwards, in pieces that are whole lines and fit into one buffer,
//! which is used again. Of a line that is longer than the buffer, and therefore none of ours, only the end is kept.

use std::io;
use std::ops::Range;

use memchr::{memchr, memrchr};

use crate::store::Order;
use crate::store::file::snapshot::LogSnapshot;

/// How much is held in memory, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// the first read, since many readers find what they want in it
    pub(crate) first: usize,
    /// every other one: larger than any line of ours, large enough that a read costs little beside its bytes, small
    /// enough to stay in the processor's cache
    pub(crate) block: usize,
    /// of a block what is looked at together where each line may take long: a turn must have an end
    pub(crate) portion: usize,
    /// a limited answer that is kept while it is counted
    pub(crate) kept: usize,
    /// a block of the answer
    pub(crate) answer: usize,
}

impl Sizes {
    pub(crate) const USUAL: Self = Self {
        first: 32 * 1024,
        block: 256 * 1024,
        portion: 16 * 1024,
        kept: 1024 * 1024,
        answer: 128 * 1024,
    };
}

/// A part of an image that is gone through once.
pub(crate) struct LineReader {
    snapshot: LogSnapshot,
    order: Order,
    /// what is still to be read; both ends are line ends, or the ends of the image
    left: Range<u64>,
    /// the other end of a line that is longer than the buffer
    long: Option<u64>,
    /// how much is read next
    next: usize,
    block_bytes: usize,
    buffer: Vec<u8>,
    /// the whole lines in it, and where they stand in the image
    block: Range<usize>,
    start: u64,
    end: u64,
}

/// Whole lines, each with its line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LineBlock<'b> {
    /// where they stand in the image
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// all of them, or, of a single line that is longer than a block, its end
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

    /// What the last read gave.
    pub(crate) fn block(&self) -> LineBlock<'_> {
        let lines = self.buffer.get(self.block.clone()).unwrap_or_default();
        LineBlock { start: self.start, end: self.end, lines }
    }

    /// Reads one block. Whole lines need not come of it: false.
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

    /// What is whole lines now that `part` was read. A block without a line end is read once more when it was `small`.
    fn forwards(&mut self, part: &Range<u64>, small: bool) -> Option<Range<u64>> {
        let last = part.end == self.left.end;
        let end = match self.long {
            Some(_) => memchr(b'\n', &self.buffer),
            None => memrchr(b'\n', &self.buffer),
        };
        let end = match end {
            Some(newline) => part.start + newline as u64 + 1,
            // what the image ends with is a line
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
            // the block's last byte ends its last line, it begins none
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
