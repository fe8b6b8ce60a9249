//! Passes once over a part of a snapshot, block by block, and returns the units that the filter
//! admits.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use memchr::{memchr_iter, memrchr};

use super::filter::{LineFilter, UnitRanges};
use super::line_reader::{LineReader, Sizes};
use super::long_line::LongLine;
use crate::record::begins_record;
use crate::store::Order;
use crate::store::file::snapshot::LogSnapshot;

/// The part of a snapshot that is scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The lines that are returned.
    pub(crate) lines: Range<u64>,
    /// The start of the unit to which the first of these lines belongs. The scan reads from there, to
    /// know whether the unit is admitted.
    pub(crate) unit_start: u64,
}

/// One pass over a part of a snapshot.
pub(crate) struct Scan {
    reader: LineReader,
    filter: Arc<LineFilter>,
    sizes: Sizes,
    /// The offset of the first line that is returned.
    start: u64,
    /// The part of the current block that is not filtered yet.
    rest: Range<usize>,
    /// The offset in the block that the ranges count from.
    from: usize,
    /// The ranges of admitted units that are not returned yet, the next one last.
    ranges: UnitRanges,
    /// A line that is longer than the block, while it is searched.
    long: Option<LongLine>,
    /// The offsets of such a line that is admitted.
    admitted: Option<Range<u64>>,
}

/// A unit that the filter admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found<'b> {
    /// The offsets in the snapshot.
    pub(crate) range: Range<u64>,
    /// The lines. Empty for a line that does not fit into a block.
    pub(crate) lines: &'b [u8],
    /// The unit is a line that does not fit into a block.
    pub(crate) is_long: bool,
}

impl Found<'_> {
    /// Returns the lines without their line ends, each with the offset after it.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&[u8], u64)> {
        let first = self.range.end - self.lines.len() as u64;
        let unended = (!self.lines.ends_with(b"\n")).then_some(self.lines.len());
        let mut start = 0;
        memchr_iter(b'\n', self.lines).chain(unended).map(move |end| {
            let line = self.lines.get(start..end).unwrap_or_default();
            start = end + 1;
            (line, (first + start as u64).min(self.range.end))
        })
    }
}

impl Scan {
    pub(crate) fn new(
        snapshot: LogSnapshot,
        sizes: Sizes,
        filter: Arc<LineFilter>,
        order: Order,
        part: Part,
    ) -> Self {
        let Part { lines, unit_start } = part;
        let read = unit_start..lines.end;
        Self {
            reader: LineReader::new(snapshot, sizes, order, read),
            filter,
            sizes,
            start: lines.start,
            rest: 0..0,
            from: 0,
            ranges: UnitRanges::new(),
            long: None,
            admitted: None,
        }
    }

    pub(crate) const fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(crate) const fn snapshot(&self) -> &LogSnapshot {
        self.reader.snapshot()
    }

    /// Returns whether no unit is left.
    pub(crate) fn is_done(&self) -> bool {
        let has_long = self.long.is_some() || self.admitted.is_some();
        self.ranges.is_empty() && self.rest.is_empty() && !has_long && self.reader.is_done()
    }

    /// Returns the next unit of the current block.
    pub(crate) fn next(&mut self) -> Option<Found<'_>> {
        if let Some(range) = self.admitted.take().filter(|range| range.end > self.start) {
            return Some(Found { range: range.start.max(self.start)..range.end, lines: &[], is_long: true });
        }
        let block = self.reader.block();
        let offset = |at: u32| block.start + (self.from + at as usize) as u64;
        // A unit may end where the part begins.
        let range = loop {
            let range = self.ranges.pop()?;
            if offset(range.end) > self.start {
                break range;
            }
        };
        let (start, end) = (self.from + range.start as usize, self.from + range.end as usize);
        let range = offset(range.start).max(self.start)..offset(range.end);
        let len = (range.end - range.start) as usize;
        let lines = block.lines.get(start.max(end - len)..end).unwrap_or_default();
        Some(Found { range, lines, is_long: false })
    }

    /// Reads and filters the next lines, after [`Self::next`] returned `None`.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        self.ranges.clear();
        if let Some(long) = &mut self.long {
            let step = long.step(self.reader.snapshot(), self.filter.selection(), self.sizes)?;
            let found = step.and_then(|is_admitted| self.long.take().filter(|_| is_admitted));
            self.admitted = found.map(|long| long.range);
            return Ok(());
        }
        if self.rest.is_empty() && self.reader.read()? {
            let block = self.reader.block();
            if block.is_long() {
                self.long = Some(LongLine::new(block.start..block.end));
                return Ok(());
            }
            self.rest = 0..block.lines.len();
        }
        let portion = self.portion();
        self.from = portion.start;
        self.filter.select(self.reader.block().lines.get(portion).unwrap_or_default(), &mut self.ranges);
        if self.reader.order() == Order::Ascending {
            self.ranges.reverse();
        }
        Ok(())
    }

    /// Takes whole units from the part that is not filtered yet.
    fn portion(&mut self) -> Range<usize> {
        let (rest, max_bytes) = (self.rest.clone(), self.sizes.portion);
        if !self.filter.is_slow() || rest.len() <= max_bytes {
            self.rest = 0..0;
            return rest;
        }
        let lines = self.reader.block().lines.get(..rest.end).unwrap_or_default();
        match self.reader.order() {
            Order::Ascending => {
                let end = unit_start_from(lines, rest.start, rest.start + max_bytes);
                self.rest.start = end;
                rest.start..end
            }
            Order::Descending => {
                let start = unit_start_before(lines, rest.start, rest.end - max_bytes);
                self.rest.end = start;
                start..rest.end
            }
        }
    }
}

/// Returns the first offset from `at` on that is between units of `lines`, whose first unit begins at
/// `first`.
fn unit_start_from(lines: &[u8], first: usize, at: usize) -> usize {
    let begins = |start: usize| begins_record(lines.get(start..).unwrap_or_default());
    // The last byte before `at` may end a line.
    let starts = |from: usize, to: usize| {
        memchr_iter(b'\n', lines.get(from..to).unwrap_or_default()).map(move |newline| from + newline + 1)
    };
    // Lines before the first record are units of their own.
    let has_record = begins(first) || starts(first, at - 1).any(begins);
    starts(at - 1, lines.len()).find(|start| !has_record || begins(*start)).unwrap_or(lines.len())
}

/// Returns the last offset up to `at` that is between units of `lines`, whose first unit begins at
/// `first`.
fn unit_start_before(lines: &[u8], first: usize, at: usize) -> usize {
    let before = lines.get(..at).unwrap_or_default();
    let mut end = before.len();
    let mut last = None;
    while let Some(newline) = before.get(first..end).and_then(|rest| memrchr(b'\n', rest)) {
        let start = first + newline + 1;
        if begins_record(lines.get(start..).unwrap_or_default()) {
            return start;
        }
        last = last.or(Some(start));
        end = first + newline;
    }
    // Lines before the first record are units of their own.
    last.filter(|_| !begins_record(lines.get(first..).unwrap_or_default())).unwrap_or(first)
}
