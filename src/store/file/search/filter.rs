//! Finds the records of a block that a selection admits. The filter searches the whole block at once
//! for a text that a record must contain, in each form that the text may have in a line. It parses
//! only the records that hold the text. The parsed record always decides.

use std::iter;
use std::ops::Range;

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use super::line_reader::Sizes;
use crate::record::{LineFormat, begins_record, escaped_message, escaped_value};
use crate::store::Selection;

/// A selection that is applied to blocks of whole units.
pub(crate) struct LineFilter {
    selection: Selection,
    /// The forms in a line of the longest text without a backslash that a record must contain.
    needles: Vec<Finder<'static>>,
    sizes: Sizes,
}

/// Ranges of units in a block. A unit is a record with the lines that continue it, or a line that
/// belongs to no record. Its last line end is included.
pub(crate) type UnitRanges = Vec<Range<u32>>;

impl LineFilter {
    pub(crate) fn new(selection: Selection, sizes: Sizes) -> Self {
        // A backslash has two forms in text lines: one that separates no fields is not escaped.
        let texts = selection.contains.iter().flat_map(|text| text.split('\\'));
        let needles = texts.filter(|text| !text.is_empty()).max_by_key(|text| text.len()).map_or_else(
            Vec::new,
            |longest| {
                let mut forms = vec![longest.as_bytes().to_vec(), escaped_value(longest)];
                forms.extend([LineFormat::Text, LineFormat::Json].map(|form| escaped_message(longest, form)));
                forms.sort();
                forms.dedup();
                forms.iter().map(|form| Finder::new(form).into_owned()).collect()
            },
        );
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

    /// Returns whether a line that belongs to no record is admitted. Of a long line, the selection
    /// sees the end only.
    pub(crate) fn admits_stray(&self, line: &[u8]) -> bool {
        self.selection.admits_stray(line.strip_suffix(b"\n").unwrap_or(line))
    }

    /// Appends the ranges of the admitted units of a block, in order. The block begins and ends
    /// between units.
    pub(crate) fn select(&self, block: &[u8], ranges: &mut UnitRanges) {
        if !self.needles.is_empty() {
            return self.select_by_text(block, ranges);
        }
        let mut at = 0;
        let mut is_head = begins_record(block);
        while at < block.len() {
            let unit = self.unit(block, at, is_head);
            if self.admits(block, &unit) {
                ranges.push(unit.range.start as u32..unit.range.end as u32);
            }
            (at, is_head) = (unit.range.end, unit.is_head_next);
        }
    }

    fn select_by_text(&self, block: &[u8], ranges: &mut UnitRanges) {
        // The next occurrence of each form. The filter searches it again after it has passed that
        // occurrence.
        let mut next: Vec<Option<usize>> = self.needles.iter().map(|needle| needle.find(block)).collect();
        // The end of the last unit that was decided.
        let mut decided = 0;
        while let Some(found) = next.iter().flatten().min().copied() {
            let unit = self.unit_around(block, decided, found);
            if self.admits(block, &unit) {
                ranges.push(unit.range.start as u32..unit.range.end as u32);
            }
            decided = unit.range.end;
            for (needle, next) in self.needles.iter().zip(&mut next) {
                if next.is_some_and(|next| next < decided) {
                    *next = needle.find(&block[decided..]).map(|at| decided + at);
                }
            }
        }
    }

    fn admits(&self, block: &[u8], unit: &Unit) -> bool {
        if self.selection.is_all() {
            return true;
        }
        let lines = &block[unit.range.clone()];
        if !unit.is_record {
            let is_long = lines.len() > self.sizes.unit;
            return self.admits_stray(&lines[if is_long { lines.len() - self.sizes.block } else { 0 }..]);
        }
        let mut rest = lines;
        self.selection.admits(iter::from_fn(|| {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest.get(..end).filter(|_| !rest.is_empty())?;
            rest = rest.get(end + 1..).unwrap_or_default();
            Some(line)
        }))
    }

    /// Returns the unit that begins at `at`. `is_head` says whether a line begins there like a record.
    fn unit(&self, block: &[u8], at: usize, is_head: bool) -> Unit {
        let first = line_at(block, at);
        let mut end = first.end;
        let is_record = is_head && first.len() <= self.sizes.unit;
        if !is_record {
            return Unit { range: first, is_record, is_head_next: begins_record(&block[end..]) };
        }
        while end < block.len() {
            if begins_record(&block[end..]) {
                return Unit { range: at..end, is_record, is_head_next: true };
            }
            let line = line_at(block, end);
            if end - at >= self.sizes.unit || line.len() > self.sizes.unit {
                break;
            }
            end = line.end;
        }
        Unit { range: at..end, is_record, is_head_next: false }
    }

    /// Returns the unit that holds the byte `found`. Another unit ends at `decided`.
    fn unit_around(&self, block: &[u8], decided: usize, found: usize) -> Unit {
        let line_before =
            |end: usize| decided + memrchr(b'\n', &block[decided..end]).map_or(0, |newline| newline + 1);
        let start = line_before(found);
        let mut head = start;
        let mut is_head = begins_record(&block[head..]);
        while !is_head && head > decided {
            head = line_before(head - 1);
            is_head = begins_record(&block[head..]);
        }
        let unit = self.unit(block, head, is_head);
        // A line that is too far behind the record belongs to no record.
        if unit.range.end > start { unit } else { self.unit(block, start, false) }
    }
}

/// A record with the lines that continue it, or a line that belongs to no record.
struct Unit {
    range: Range<usize>,
    is_record: bool,
    /// The line after the unit begins like a record.
    is_head_next: bool,
}

/// Returns the rest of the line from `start` on, its line end included.
fn line_at(block: &[u8], start: usize) -> Range<usize> {
    let rest = block.get(start..).unwrap_or_default();
    start..memchr(b'\n', rest).map_or(block.len(), |newline| start + newline + 1)
}
