//! Finds the lines of a block that a selection admits. The filter searches the whole block at once
//! for a text that the message must contain, in each form that the text may have in a line. It
//! parses only the lines that hold the text. The parsed record always decides.

use std::ops::Range;

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use crate::record::{LineFormat, escaped_message, parse_level, read_line};
use crate::store::Selection;

/// A selection that is applied to blocks of lines.
pub(crate) struct LineFilter {
    selection: Selection,
    /// The escaped forms of the longest text without a backslash that the message must contain.
    needles: Vec<Finder<'static>>,
}

/// Ranges of lines in a block, including their line ends.
pub(crate) type LineRanges = Vec<Range<u32>>;

impl LineFilter {
    pub(crate) fn new(selection: Selection) -> Self {
        // A backslash has two forms in text lines: one that separates no fields is not escaped.
        let texts = selection.contains.iter().flat_map(|text| text.split('\\'));
        let needles = texts.filter(|text| !text.is_empty()).max_by_key(|text| text.len()).map_or_else(
            Vec::new,
            |longest| {
                let mut forms = [LineFormat::Text, LineFormat::Json]
                    .map(|format| escaped_message(longest, format))
                    .to_vec();
                forms.dedup();
                forms.iter().map(|form| Finder::new(form).into_owned()).collect()
            },
        );
        Self { selection, needles }
    }

    /// Returns whether every line is admitted, also lines that are not records.
    pub(crate) fn admits_all(&self) -> bool {
        self.selection.is_all()
    }

    /// Returns whether one line may take long.
    pub(crate) fn is_slow(&self) -> bool {
        self.selection.regex.is_some()
    }

    /// Appends the ranges of the admitted lines, in order.
    pub(crate) fn select(&self, block: &[u8], ranges: &mut LineRanges) {
        if !self.needles.is_empty() {
            return self.select_by_text(block, ranges);
        }
        let admits_all = self.admits_all();
        let mut start = 0;
        while start < block.len() {
            let line = line_at(block, start);
            if admits_all || self.admits(&block[line.clone()]) {
                ranges.push(line.start as u32..line.end as u32);
            }
            start = line.end;
        }
    }

    fn select_by_text(&self, block: &[u8], ranges: &mut LineRanges) {
        // The next occurrence of each form. The filter searches it again after it has passed that
        // occurrence.
        let mut next: Vec<Option<usize>> = self.needles.iter().map(|needle| needle.find(block)).collect();
        while let Some(found) = next.iter().flatten().min().copied() {
            let start = memrchr(b'\n', &block[..found]).map_or(0, |newline| newline + 1);
            let line = start..line_at(block, found).end;
            if self.admits(&block[line.clone()]) {
                ranges.push(line.start as u32..line.end as u32);
            }
            for (needle, next) in self.needles.iter().zip(&mut next) {
                if next.is_some_and(|next| next < line.end) {
                    *next = needle.find(&block[line.end..]).map(|at| line.end + at);
                }
            }
        }
    }

    fn admits(&self, line: &[u8]) -> bool {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        // The level is checked first, because it needs no parsing of the line.
        let has_level = self.selection.level.is_none()
            || parse_level(line).is_some_and(|level| self.selection.admits_level(level));
        has_level && read_line(line).is_ok_and(|record| self.selection.admits(&record))
    }
}

/// Returns the rest of the line from `start` on, its line end included.
fn line_at(block: &[u8], start: usize) -> Range<usize> {
    let rest = block.get(start..).unwrap_or_default();
    start..memchr(b'\n', rest).map_or(block.len(), |newline| start + newline + 1)
}
