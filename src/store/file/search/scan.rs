//! One pass over a part of an image: the lines that are admitted, one after the other, read block by block.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use memchr::{memchr, memrchr};

use super::filter::{LineFilter, Places};
use super::line_reader::{LineReader, Sizes};
use crate::store::Order;
use crate::store::file::snapshot::LogSnapshot;

/// See the module.
pub(crate) struct Scan {
    reader: LineReader,
    filter: Arc<LineFilter>,
    sizes: Sizes,
    /// what of the block in hand is still to be looked at
    rest: Range<usize>,
    /// where in the block the places count from
    from: usize,
    /// the places that are still to be given, the next one last
    places: Places,
}

/// A line that is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found<'b> {
    /// where it stands in the image, the line end included
    pub(crate) place: Range<u64>,
    /// without its line end; of one that is longer than a block, and none of ours, its end
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
            places: Places::new(),
        }
    }

    pub(crate) const fn snapshot(&self) -> &LogSnapshot {
        self.reader.snapshot()
    }

    /// Nothing is left.
    pub(crate) fn is_done(&self) -> bool {
        self.places.is_empty() && self.rest.is_empty() && self.reader.is_done()
    }

    /// The next line of the block in hand.
    pub(crate) fn next(&mut self) -> Option<Found<'_>> {
        let place = self.places.pop()?;
        let block = self.reader.block();
        let (start, end) = (self.from + place.start as usize, self.from + place.end as usize);
        let line = block.lines.get(start..end).unwrap_or_default();
        // a line that was cut is the only one of its piece
        let cut = block.end - block.start - block.lines.len() as u64;
        let begin = block.start + start as u64;
        let end = begin + cut + line.len() as u64;
        Some(Found { place: begin..end, line: line.strip_suffix(b"\n").unwrap_or(line) })
    }

    /// Looks at what comes next, when [`Self::next`] has nothing more.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        self.places.clear();
        if self.rest.is_empty() && self.reader.read()? {
            let block = self.reader.block();
            let is_cut = block.end - block.start > block.lines.len() as u64;
            self.rest = if is_cut && !self.filter.is_open() { 0..0 } else { 0..block.lines.len() };
        }
        let portion = self.portion();
        self.from = portion.start;
        self.filter.pick(self.reader.block().lines.get(portion).unwrap_or_default(), &mut self.places);
        if self.reader.order() == Order::Ascending {
            self.places.reverse();
        }
        Ok(())
    }

    /// Takes whole lines off the rest.
    fn portion(&mut self) -> Range<usize> {
        let (rest, most) = (self.rest.clone(), self.sizes.portion);
        if !self.filter.is_slow() || rest.len() <= most {
            self.rest = 0..0;
            return rest;
        }
        let lines = self.reader.block().lines;
        match self.reader.order() {
            Order::Ascending => {
                let behind = lines.get(rest.start + most - 1..rest.end).unwrap_or_default();
                let end = memchr(b'\n', behind).map_or(rest.end, |newline| rest.start + most + newline);
                self.rest.start = end;
                rest.start..end
            }
            Order::Descending => {
                let before = lines.get(rest.start..rest.end - most).unwrap_or_default();
                let start = memrchr(b'\n', before).map_or(rest.start, |newline| rest.start + newline + 1);
                self.rest.end = start;
                start..rest.end
            }
        }
    }
}
