//! Which lines of a block are records that a selection admits. A text that must be in the message is looked for in the
//! whole block at once, in the forms that it may have there; only lines that hold it are looked at. Whatever finds a line,
//! the record that is read from it decides.

use std::ops::Range;

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use crate::record::{LineFormat, escaped_message, parse_level, read_line};
use crate::store::Selection;

/// A selection, ready for blocks.
pub(crate) struct LineFilter {
    selection: Selection,
    /// the forms of the longest text that must be in the message
    needles: Vec<Finder<'static>>,
}

/// Places of lines in a block, their line ends included.
pub(crate) type Places = Vec<Range<u32>>;

impl LineFilter {
    pub(crate) fn new(selection: Selection) -> Self {
        let needles =
            selection.contains.iter().max_by_key(|text| text.len()).map_or_else(Vec::new, |longest| {
                let mut forms = [LineFormat::Text, LineFormat::Json]
                    .map(|format| escaped_message(longest, format))
                    .to_vec();
                forms.dedup();
                forms.iter().map(|form| Finder::new(form).into_owned()).collect()
            });
        Self { selection, needles }
    }

    /// Whether every line is admitted, also such as are no records.
    pub(crate) fn is_open(&self) -> bool {
        self.selection.is_all()
    }

    /// Whether a line may take long.
    pub(crate) fn is_slow(&self) -> bool {
        self.selection.regex.is_some()
    }

    /// Appends the places of the lines that are admitted, in their order.
    pub(crate) fn pick(&self, block: &[u8], places: &mut Places) {
        if !self.needles.is_empty() {
            return self.pick_by_text(block, places);
        }
        let open = self.is_open();
        let mut start = 0;
        while start < block.len() {
            let line = line_at(block, start);
            if open || self.admits(&block[line.clone()]) {
                places.push(line.start as u32..line.end as u32);
            }
            start = line.end;
        }
    }

    fn pick_by_text(&self, block: &[u8], places: &mut Places) {
        // where each form comes next; looked for again when that place is passed
        let mut next: Vec<Option<usize>> = self.needles.iter().map(|needle| needle.find(block)).collect();
        while let Some(found) = next.iter().flatten().min().copied() {
            let start = memrchr(b'\n', &block[..found]).map_or(0, |newline| newline + 1);
            let line = start..line_at(block, found).end;
            if self.admits(&block[line.clone()]) {
                places.push(line.start as u32..line.end as u32);
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
        // the level is seen at a glance
        let level = self.selection.level.is_none()
            || parse_level(line).is_some_and(|level| self.selection.admits_level(level));
        level && read_line(line).is_ok_and(|record| self.selection.admits(&record))
    }
}

/// The rest of the line from `start` on, its line end included.
fn line_at(block: &[u8], start: usize) -> Range<usize> {
    let rest = block.get(start..).unwrap_or_default();
    start..memchr(b'\n', rest).map_or(block.len(), |newline| start + newline + 1)
}
