//! Finds the records of a block that a selection admits. If each of them has one of a few texts, the
//! filter searches the whole block at once for these texts. It parses only the records that hold one.
//! The parsed record always decides.

use std::iter;
use std::ops::Range;

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use super::line_reader::Sizes;
use super::needles::needles;
use crate::record::LineHead;
use crate::store::Selection;

/// A selection that is applied to blocks of whole units.
pub(crate) struct LineFilter {
    selection: Selection,
    /// Texts of which each admitted unit has at least one. Empty: none is known.
    needles: Vec<Finder<'static>>,
    sizes: Sizes,
}

/// Ranges of units in a block. A unit is a record with the lines that continue it, or a line that
/// belongs to no record. Its last line end is included.
pub(crate) type UnitRanges = Vec<Range<u32>>;

impl LineFilter {
    pub(crate) fn new(selection: Selection, sizes: Sizes) -> Self {
        let needles = needles(&selection);
        Self { selection, needles, sizes }
    }

    /// Returns whether every line is admitted, also lines that belong to no record.
    pub(crate) fn admits_all(&self) -> bool {
        self.selection.is_all()
    }

    /// Returns whether one line may take long.
    pub(crate) fn is_slow(&self) -> bool {
        self.selection.regex.is_some()
    }

    pub(crate) const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Appends the ranges of the admitted units of a block, in order. The block begins and ends
    /// between units.
    pub(crate) fn select(&self, block: &[u8], ranges: &mut UnitRanges) {
        if !self.needles.is_empty() {
            return self.select_by_text(block, ranges);
        }
        let mut at = 0;
        let mut head = LineHead::of(block);
        while at < block.len() {
            let unit = self.unit(block, at, head);
            if self.admits(block, &unit) {
                ranges.push(unit.range.start as u32..unit.range.end as u32);
            }
            (at, head) = (unit.range.end, unit.next_head);
        }
    }

    fn select_by_text(&self, block: &[u8], ranges: &mut UnitRanges) {
        // The next occurrence of each form. The filter searches it again after it has passed that
        // occurrence.
        let mut next: Vec<Option<usize>> = self.needles.iter().map(|needle| needle.find(block)).collect();
        // The end of the last unit that was decided, and the head of the line that begins there.
        let (mut decided, mut head) = (0, LineHead::of(block));
        while let Some(found) = next.iter().flatten().min().copied() {
            let unit = self.unit_around(block, decided, head, found);
            if self.admits(block, &unit) {
                ranges.push(unit.range.start as u32..unit.range.end as u32);
            }
            (decided, head) = (unit.range.end, unit.next_head);
            for (needle, next) in self.needles.iter().zip(&mut next) {
                if next.is_some_and(|next| next < decided) {
                    *next = needle.find(&block[decided..]).map(|at| decided + at);
                }
            }
        }
    }

    fn admits(&self, block: &[u8], unit: &Unit<'_>) -> bool {
        if self.selection.is_all() {
            return true;
        }
        let lines = &block[unit.range.clone()];
        let Some(head) = &unit.head else {
            return self.selection.admits_stray(lines.strip_suffix(b"\n").unwrap_or(lines));
        };
        let (first, mut rest) = lines.split_at(unit.first_len);
        let others = iter::from_fn(|| {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest.get(..end).filter(|_| !rest.is_empty())?;
            rest = rest.get(end + 1..).unwrap_or_default();
            Some(line)
        });
        self.selection.admits_record(head, first.strip_suffix(b"\n").unwrap_or(first), others)
    }

    /// Returns the unit that begins at `at`. `head` is that of the line there.
    fn unit<'b>(&self, block: &'b [u8], at: usize, head: Option<LineHead<'b>>) -> Unit<'b> {
        let first = line_at(block, at);
        let (mut end, first_len) = (first.end, first.len());
        if head.is_none() {
            return Unit { range: first, first_len, head, next_head: LineHead::of(&block[end..]) };
        }
        let mut next_head = None;
        while end < block.len() {
            next_head = LineHead::of(&block[end..]);
            if next_head.is_some() {
                break;
            }
            let line = line_at(block, end);
            if end - at >= self.sizes.unit || line.len() > self.sizes.unit {
                break;
            }
            end = line.end;
        }
        Unit { range: at..end, first_len, head, next_head }
    }

    /// Returns the unit that holds the byte `found`. Another unit ends at `decided`, where a line with
    /// `head` begins.
    fn unit_around<'b>(
        &self,
        block: &'b [u8],
        decided: usize,
        head: Option<LineHead<'b>>,
        found: usize,
    ) -> Unit<'b> {
        let line_before =
            |end: usize| decided + memrchr(b'\n', &block[decided..end]).map_or(0, |newline| newline + 1);
        let head_at = |start: usize| if start == decided { head } else { LineHead::of(&block[start..]) };
        let start = line_before(found);
        let mut first = start;
        let mut first_head = head_at(first);
        while first_head.is_none() && first > decided {
            first = line_before(first - 1);
            first_head = head_at(first);
        }
        let unit = self.unit(block, first, first_head);
        // A line that is too far behind the record belongs to no record.
        if unit.range.end > start { unit } else { self.unit(block, start, None) }
    }
}

/// A record with the lines that continue it, or a line that belongs to no record.
struct Unit<'b> {
    range: Range<usize>,
    /// Length of the first line, its line end included.
    first_len: usize,
    /// The head of the record. `None`: the line belongs to no record.
    head: Option<LineHead<'b>>,
    /// The head of the line after the unit.
    next_head: Option<LineHead<'b>>,
}

/// Returns the rest of the line from `start` on, its line end included.
fn line_at(block: &[u8], start: usize) -> Range<usize> {
    let rest = block.get(start..).unwrap_or_default();
    start..memchr(b'\n', rest).map_or(block.len(), |newline| start + newline + 1)
}
