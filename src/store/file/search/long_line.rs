//! Decides whether a line is admitted that does not fit into the buffer of a reader, and writes it.
//!
//! A line of at most [`Sizes::whole`] bytes is read as a whole. The text of a longer line is searched
//! in windows that overlap, exactly as the line has it. Only another program can have written it.

use std::io;
use std::ops::Range;
use std::str;

use super::line_reader::Sizes;
use crate::record::LineHead;
use crate::store::file::snapshot::LogSnapshot;
use crate::store::{MissingTexts, Selection, Writer};

/// The start of a line from which its sender is read.
const MAX_START_BYTES: u64 = 64 * 1024;

/// A long line, while it is searched.
pub(super) struct LongLine {
    /// The offsets in the snapshot.
    pub(super) range: Range<u64>,
    search: Option<WindowSearch>,
}

struct WindowSearch {
    /// The offset of the next window.
    at: u64,
    is_first: bool,
    missing: MissingTexts,
}

impl LongLine {
    pub(super) const fn new(range: Range<u64>) -> Self {
        Self { range, search: None }
    }

    /// Reads a part of the line. Returns whether the line is admitted, once that is known.
    pub(super) fn step(
        &mut self,
        snapshot: &LogSnapshot,
        selection: &Selection,
        sizes: Sizes,
    ) -> io::Result<Option<bool>> {
        if selection.is_all() {
            return Ok(Some(true));
        }
        let Some(search) = &mut self.search else {
            return self.begin(snapshot, selection, sizes);
        };
        // A text that a window cuts is whole in the next one.
        let overlap = sizes.overlap.max(selection.longest_text());
        let end = self.range.end.min(search.at + sizes.window.max(2 * overlap) as u64);
        let bytes = snapshot.read(search.at..end)?;
        let is_last = end == self.range.end;
        let (text, len) = window(&bytes, search.is_first, is_last);
        let text = String::from_utf8_lossy(text);
        search.missing.look_at_window(selection, &text, search.is_first, is_last);
        if search.missing.is_empty() || is_last {
            return Ok(Some(search.missing.is_empty()));
        }
        (search.at, search.is_first) = (search.at + (len - overlap.min(len / 2)) as u64, false);
        Ok(None)
    }

    fn begin(
        &mut self,
        snapshot: &LogSnapshot,
        selection: &Selection,
        sizes: Sizes,
    ) -> io::Result<Option<bool>> {
        let Range { start, end } = self.range;
        if end - start <= sizes.whole as u64 {
            return Ok(Some(selection.admits([&read_line(snapshot, start..end)?[..]])));
        }
        let first = snapshot.read(start..end.min(start + MAX_START_BYTES))?;
        let at = match LineHead::of(&first) {
            Some(head) => {
                let (origin, len) = head.literal_origin(&first);
                if !selection.admits_head(&head) || !selection.admits_origin(origin.as_ref()) {
                    return Ok(Some(false));
                }
                len
            }
            None if !selection.is_text_only() => return Ok(Some(false)),
            None => 0,
        };
        let missing = MissingTexts::of(selection);
        if missing.is_empty() {
            return Ok(Some(true));
        }
        self.search = Some(WindowSearch { at: start + at as u64, is_first: true, missing });
        Ok(None)
    }
}

/// Returns the part of a window that begins and ends between characters, and the length of the window
/// up to its end.
fn window(bytes: &[u8], is_first: bool, is_last: bool) -> (&[u8], usize) {
    let continues = |byte: &&u8| **byte & 0xc0 == 0x80;
    let start = if is_first { 0 } else { bytes.iter().take(3).take_while(continues).count() };
    let end = if is_last {
        bytes.len() - usize::from(bytes.ends_with(b"\n"))
    } else {
        // The last character begins at most three bytes before the end.
        let tail = bytes.get(bytes.len().saturating_sub(4)..).unwrap_or_default();
        let cut = (1..=tail.len()).find(|len| {
            let last = tail.get(tail.len() - len..).unwrap_or_default();
            str::from_utf8(last).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        });
        bytes.len() - cut.unwrap_or(0)
    };
    (bytes.get(start..end).unwrap_or_default(), end)
}

fn read_line(snapshot: &LogSnapshot, range: Range<u64>) -> io::Result<Vec<u8>> {
    let mut line = snapshot.read(range)?;
    line.pop_if(|last| *last == b'\n');
    Ok(line)
}

/// Writes a long line in the form of `write`. Of a line of more than [`Sizes::whole`] bytes, it writes
/// the start, with the length of the line as a field `cut`.
pub(super) fn write_record(
    out: &mut Vec<u8>,
    write: &Writer,
    snapshot: &LogSnapshot,
    range: Range<u64>,
    sizes: Sizes,
) -> io::Result<()> {
    let after = snapshot.cursor_at(range.end);
    write(out, &shown(snapshot, range, sizes)?, after);
    Ok(())
}

fn shown(snapshot: &LogSnapshot, range: Range<u64>, sizes: Sizes) -> io::Result<Vec<u8>> {
    let len = range.end - range.start;
    if len <= sizes.whole as u64 {
        return read_line(snapshot, range);
    }
    let bytes = snapshot.read(range.start..range.start + sizes.block as u64)?;
    let (start, _) = window(&bytes, true, false);
    Ok([start, format!(" \\| cut={len}").as_bytes()].concat())
}
