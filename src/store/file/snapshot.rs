//! Shows the log at one moment: all its bytes as one sequence of whole lines, oldest first, across
//! segments and active file. Readers use offsets, which begin with 0 at the first byte that is
//! left. Cursors name the same bytes and outlive a snapshot.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::published::{Published, View};
use super::segments::segment::UNKNOWN_TIME;
use crate::store::Cursor;

/// One state of the log, readable until the log is cleared. Segments may be compressed meanwhile.
/// Segments that are retired may stay readable for a while.
#[derive(Debug, Clone)]
pub(crate) struct LogSnapshot {
    view: Arc<View>,
    /// The published state.
    pub(crate) seen: Published,
}

/// A part of a snapshot that lies in one segment, or in the active file, and the times of the whole
/// segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimeRange {
    pub(crate) range: Range<u64>,
    /// The first line is not before this time, microseconds since the epoch.
    pub(crate) oldest: i64,
    /// The last line is not after this time.
    pub(crate) newest: i64,
}

/// The byte that a cursor names was cleared, or left the log in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl LogSnapshot {
    /// Returns the log as it is now.
    pub(crate) fn take(view: &Arc<View>) -> Self {
        Self { view: Arc::clone(view), seen: view.get() }
    }

    /// Returns the bytes of all lines.
    pub(crate) fn len(&self) -> u64 {
        self.rotated() + self.seen.len
    }

    /// Returns the bytes in segments, which precede the active file.
    pub(crate) fn rotated(&self) -> u64 {
        self.seen.segments.len()
    }

    /// Returns the number of records that were stored since the log was opened, as of now and not
    /// as of the snapshot.
    pub(crate) fn stored_now(&self) -> u64 {
        self.view.lock().stored
    }

    /// Returns the time of the first line, microseconds since the epoch, if it is known.
    pub(crate) fn oldest(&self) -> Option<i64> {
        let of_segment = self.seen.segments.items().first().map(|segment| segment.oldest);
        of_segment.unwrap_or(self.seen.oldest).filter(|oldest| *oldest != UNKNOWN_TIME)
    }

    /// Returns the cursor of the first byte.
    pub(crate) fn start(&self) -> Cursor {
        self.cursor_at(0)
    }

    /// Returns the cursor of the end.
    pub(crate) const fn end(&self) -> Cursor {
        self.seen.end()
    }

    /// Splits `part` into the segments and the active file, oldest first.
    pub(crate) fn time_ranges(&self, part: &Range<u64>) -> Vec<TimeRange> {
        let (mut start, mut newest) = (0, UNKNOWN_TIME);
        let segments = self.seen.segments.items().iter().map(|segment| {
            let range = start..start + segment.len;
            start = range.end;
            let oldest = segment.oldest.unwrap_or(newest);
            newest = segment.newest;
            TimeRange { range, oldest, newest }
        });
        let mut ranges: Vec<TimeRange> = segments.collect();
        ranges.push(TimeRange { range: self.rotated()..self.len(), oldest: UNKNOWN_TIME, newest: i64::MAX });
        for found in &mut ranges {
            found.range = found.range.start.max(part.start)..found.range.end.min(part.end);
        }
        ranges.retain(|found| !found.range.is_empty());
        ranges
    }

    /// Reads all bytes of `range`. Blocks.
    ///
    /// # Errors
    /// Fails also when the log was cleared or replaced since the snapshot was taken.
    pub(crate) fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut block = vec![0; (range.end - range.start) as usize];
        self.read_into(&mut block, range.start)?;
        Ok(block)
    }

    /// Fills `buffer` with the bytes from `offset` on. Blocks.
    ///
    /// # Errors
    /// Fails as [`Self::read`] does.
    pub(crate) fn read_into(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut rest, mut at) = (buffer, offset);
        while let Some((segment, inside)) = self.seen.segments.locate(at).filter(|_| !rest.is_empty()) {
            let want = (segment.len - inside).min(rest.len() as u64);
            let (part, after) = rest.split_at_mut(want as usize);
            self.view.read_segment(&self.seen, segment, part, inside)?;
            (at, rest) = (at + want, after);
        }
        if rest.is_empty() { Ok(()) } else { self.view.read_exact_at(&self.seen, rest, at - self.rotated()) }
    }

    /// Returns the cursor of an offset.
    pub(crate) fn cursor_at(&self, offset: u64) -> Cursor {
        self.seen.segments.cursor_at(offset).unwrap_or_else(|| Cursor {
            epoch: self.seen.epoch,
            position: self.seen.base + (offset - self.rotated()),
        })
    }

    /// Returns the offset that a cursor names.
    ///
    /// # Errors
    /// [`Gone`] when the byte that the cursor named has left the log.
    pub(crate) fn offset_of(&self, cursor: Cursor) -> Result<u64, Gone> {
        let seen = &self.seen;
        let active = || {
            let inside = cursor.position.checked_sub(seen.base).filter(|inside| *inside <= seen.len);
            inside.filter(|_| cursor.epoch == seen.epoch).map(|inside| self.rotated() + inside)
        };
        seen.segments.offset_of(cursor).or_else(active).ok_or(Gone)
    }
}
