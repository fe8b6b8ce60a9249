//! Passes once over a part of a snapshot, block by block, and returns the lines that the filter
//! admits.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use memchr::{memchr, memrchr};

use super::filter::{LineFilter, LineRanges};
use super::line_reader::{LineReader, Sizes};
use crate::store::Order;
use crate::store::file::snapshot::LogSnapshot;

/// One pass over a part of a snapshot.
pub(crate) struct Scan {
    reader: LineReader,
    filter: Arc<LineFilter>,
    sizes: Sizes,
    /// The part of the current block that is not filtered yet.
    rest: Range<usize>,
    /// The offset in the block that the ranges count from.
    from: usize,
    /// The ranges of admitted lines that are not returned yet, the next one last.
    ranges: LineRanges,
}

/// A line that the filter admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found<'b> {
    /// The offsets in the snapshot, the line end included.
    pub(crate) range: Range<u64>,
    /// The line without its line end. For a line longer than a block, only its last part.
    pub(crate) line: &'b [u8],
}

impl Scan {
    pub(crate) fn new(
        snapshot: LogSnapshot,
        sizes: Sizes,
        filter: Arc<LineFilter>,
        order: Order,
        part: Range<u64>,
    ) -> Self {
        Self {
            reader: LineReader::new(snapshot, sizes, order, part),
            filter,
            sizes,
            rest: 0..0,
            from: 0,
            ranges: LineRanges::new(),
        }
    }

    pub(crate) const fn snapshot(&self) -> &LogSnapshot {
        self.reader.snapshot()
    }

    /// Returns whether no line is left.
    pub(crate) fn is_done(&self) -> bool {
        self.ranges.is_empty() && self.rest.is_empty() && self.reader.is_done()
    }

    /// Returns the next line of the current block.
    pub(crate) fn next(&mut self) -> Option<Found<'_>> {
        let range = self.ranges.pop()?;
        let block = self.reader.block();
        let (start, end) = (self.from + range.start as usize, self.from + range.end as usize);
        let line = block.lines.get(start..end).unwrap_or_default();
        // A line longer than the buffer is the only one of its block.
        let cut = block.end - block.start - block.lines.len() as u64;
        let begin = block.start + start as u64;
        let end = begin + cut + line.len() as u64;
        Some(Found { range: begin..end, line: line.strip_suffix(b"\n").unwrap_or(line) })
    }

    /// Reads and filters the next lines, after [`Self::next`] returned `None`.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        self.ranges.clear();
        if self.rest.is_empty() && self.reader.read()? {
            let block = self.reader.block();
            let is_cut = block.end - block.start > block.lines.len() as u64;
            self.rest = if is_cut && !self.filter.admits_all() { 0..0 } else { 0..block.lines.len() };
        }
        let portion = self.portion();
        self.from = portion.start;
        self.filter.select(self.reader.block().lines.get(portion).unwrap_or_default(), &mut self.ranges);
        if self.reader.order() == Order::Ascending {
            self.ranges.reverse();
        }
        Ok(())
    }

    /// Takes whole lines from the part that is not filtered yet.
    fn portion(&mut self) -> Range<usize> {
        let (rest, max_bytes) = (self.rest.clone(), self.sizes.portion);
        if !self.filter.is_slow() || rest.len() <= max_bytes {
            self.rest = 0..0;
            return rest;
        }
        let lines = self.reader.block().lines;
        match self.reader.order() {
            Order::Ascending => {
                let behind = lines.get(rest.start + max_bytes - 1..rest.end).unwrap_or_default();
                let end = memchr(b'\n', behind).map_or(rest.end, |newline| rest.start + max_bytes + newline);
                self.rest.start = end;
                rest.start..end
            }
            Order::Descending => {
                let before = lines.get(rest.start..rest.end - max_bytes).unwrap_or_default();
                let start = memrchr(b'\n', before).map_or(rest.start, |newline| rest.start + newline + 1);
                self.rest.end = start;
                start..rest.end
            }
        }
    }
}
