//! Finds a time in a segment, or in the active file, by binary search, because times never go
//! backwards in it. Lines of other programs, which have no time, are skipped.

use std::io;
use std::ops::{ControlFlow, Range};

use memchr::memchr;

use crate::record::{MAX_HEAD_BYTES, parse_time};
use crate::store::file::snapshot::LogSnapshot;

/// Bytes of the first read of a probe. In a range of at most this size, the search is linear.
const FIRST_READ_BYTES: usize = 4 * 1024;

/// Maximum bytes of one read, where no line has a time.
const MAX_READ_BYTES: usize = 256 * 1024;

/// Searches the first record at or after a time.
pub(crate) struct TimeSearch {
    snapshot: LogSnapshot,
    target: i64,
    /// The end of the part.
    end: u64,
    /// Lines with a time that begin before this offset are before the target.
    low: u64,
    /// Lines with a time that begin at or after this offset are not before the target.
    high: u64,
    /// Visits lines until one has a time.
    probe: LineStarts,
    /// True when the range is so small that its lines are searched one by one.
    is_linear: bool,
    buffer: Vec<u8>,
}

impl TimeSearch {
    /// Searches the time `target`, microseconds since the epoch, in `part`, which begins and ends
    /// between lines.
    pub(crate) fn new(snapshot: LogSnapshot, target: i64, part: Range<u64>) -> Self {
        let mut this = Self {
            snapshot,
            target,
            end: part.end,
            low: part.start,
            high: part.end,
            probe: LineStarts::at_line(part.start),
            is_linear: false,
            buffer: Vec::new(),
        };
        this.halve();
        this
    }

    fn halve(&mut self) {
        self.is_linear = self.high.saturating_sub(self.low) <= FIRST_READ_BYTES as u64;
        self.probe = if self.is_linear {
            LineStarts::at_line(self.low)
        } else {
            LineStarts::inside(self.low + (self.high - self.low) / 2)
        };
    }

    /// Does one read. Returns the offset once it is known: that of the first record that is not
    /// before the target, or that follows the part, or the end of the snapshot.
    pub(crate) fn step(&mut self) -> io::Result<Option<u64>> {
        let (target, high, part_end, end) = (self.target, self.high, self.end, self.snapshot.len());
        let mut found = None;
        let outcome = self.probe.step(&self.snapshot, &mut self.buffer, end, |start, time| {
            let is_before = time.is_some_and(|time| time < target);
            // Lines without a time behind a record before the target continue that record, also those
            // at the start of the next segment.
            let is_end = !self.is_linear || !is_before || start >= part_end;
            if (time.is_some() && is_end) || (start >= high && !self.is_linear) {
                found = Some((start, is_before && start < high));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        match (found, outcome) {
            (None, Progress::More) => Ok(None),
            (None, Progress::End) if self.is_linear => Ok(Some(end)),
            (Some((start, _)), _) if self.is_linear => Ok(Some(start)),
            (found, _) => {
                match found {
                    Some((start, true)) => self.low = start,
                    // No line with a time from the middle on is before the target.
                    _ => self.high = self.low + (self.high - self.low) / 2,
                }
                self.halve();
                Ok(None)
            }
        }
    }
}

/// Visits the starts of lines, one read after the other.
struct LineStarts {
    at: u64,
    /// A line begins at `at`.
    is_at_line: bool,
    /// Bytes of the next read.
    read_bytes: usize,
}

enum Progress {
    More,
    End,
}

impl LineStarts {
    const fn at_line(at: u64) -> Self {
        Self { at, is_at_line: true, read_bytes: FIRST_READ_BYTES }
    }

    /// Starts with the first line that begins at `at` or later.
    const fn inside(at: u64) -> Self {
        Self { at: at - 1, is_at_line: false, read_bytes: FIRST_READ_BYTES }
    }

    fn step(
        &mut self,
        snapshot: &LogSnapshot,
        buffer: &mut Vec<u8>,
        end: u64,
        mut visit: impl FnMut(u64, Option<i64>) -> ControlFlow<()>,
    ) -> io::Result<Progress> {
        let len = (self.read_bytes as u64).min(end.saturating_sub(self.at)) as usize;
        self.read_bytes = (self.read_bytes * 2).min(MAX_READ_BYTES);
        buffer.resize(len, 0);
        snapshot.read_into(buffer, self.at)?;
        let is_last = self.at + len as u64 >= end;
        let mut from = 0;
        loop {
            if !self.is_at_line {
                let rest = buffer.get(from..).unwrap_or_default();
                let Some(newline) = memchr(b'\n', rest) else {
                    self.at += len as u64;
                    return Ok(if is_last { Progress::End } else { Progress::More });
                };
                from += newline + 1;
                self.is_at_line = true;
            }
            let rest = buffer.get(from..).unwrap_or_default();
            if rest.len() < MAX_HEAD_BYTES && !is_last {
                // The next read begins here, so that it holds the whole time.
                self.at += from as u64;
                return Ok(Progress::More);
            }
            if rest.is_empty() {
                return Ok(Progress::End);
            }
            if visit(self.at + from as u64, parse_time(rest)).is_break() {
                return Ok(Progress::More);
            }
            self.is_at_line = false;
        }
    }
}
