//! Finding an instant in an image by halving it: times never go back in a log. Lines without a time, which somebody else
//! wrote, are passed over.

use std::io;
use std::ops::{ControlFlow, Range};

use memchr::memchr;

use crate::record::parse_time;
use crate::store::file::snapshot::LogSnapshot;

/// What is read at once in the beginning, and once the place is known that well.
const SMALL: usize = 4 * 1024;
/// What is read at once where no line has a time.
const LARGE: usize = 256 * 1024;
/// More than stands in a line up to the end of its time.
const PREFIX: usize = 64;

/// Looks for the first line at or after an instant.
pub(crate) struct TimeSearch {
    snapshot: LogSnapshot,
    target: i64,
    /// lines with a time that begin before are before the instant, those that begin after are not
    low: u64,
    high: u64,
    /// where a line with a time is looked for
    probe: Starts,
    /// the last lines are gone through one by one
    last: bool,
    buffer: Vec<u8>,
}

impl TimeSearch {
    /// In `part`, which begins and ends between lines.
    pub(crate) fn new(snapshot: LogSnapshot, target: i64, part: Range<u64>) -> Self {
        let mut this = Self {
            snapshot,
            target,
            low: part.start,
            high: part.end,
            probe: Starts::at_a_line(part.start),
            last: false,
            buffer: Vec::new(),
        };
        this.halve();
        this
    }

    fn halve(&mut self) {
        self.last = self.high.saturating_sub(self.low) <= SMALL as u64;
        self.probe = if self.last {
            Starts::at_a_line(self.low)
        } else {
            Starts::inside(self.low + (self.high - self.low) / 2)
        };
    }

    /// One read. The place, once it is known: the lines before it with a time are before the instant, those from it on
    /// are not.
    pub(crate) fn step(&mut self) -> io::Result<Option<u64>> {
        let (target, high, end) = (self.target, self.high, self.snapshot.len());
        let mut found = None;
        let outcome = self.probe.step(&self.snapshot, &mut self.buffer, end, |start, time| {
            let is_before = time.is_some_and(|time| time < target);
            if start >= high || (time.is_some() && (!is_before || !self.last)) {
                found = Some((start, is_before && start < high));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        match (found, outcome) {
            (None, Progress::More) => Ok(None),
            (None, Progress::End) if self.last => Ok(Some(end)),
            (Some((start, _)), _) if self.last => Ok(Some(start)),
            (found, _) => {
                match found {
                    Some((start, true)) => self.low = start,
                    // no line with a time from the middle on is before the instant
                    _ => self.high = self.low + (self.high - self.low) / 2,
                }
                self.halve();
                Ok(None)
            }
        }
    }
}

/// The begins of lines, one read after the other.
struct Starts {
    at: u64,
    /// a line begins at `at`
    at_a_line: bool,
    chunk: usize,
}

enum Progress {
    More,
    End,
}

impl Starts {
    const fn at_a_line(at: u64) -> Self {
        Self { at, at_a_line: true, chunk: SMALL }
    }

    /// From the first line on that begins at `at` or later.
    const fn inside(at: u64) -> Self {
        Self { at: at - 1, at_a_line: false, chunk: SMALL }
    }

    fn step(
        &mut self,
        snapshot: &LogSnapshot,
        buffer: &mut Vec<u8>,
        end: u64,
        mut visit: impl FnMut(u64, Option<i64>) -> ControlFlow<()>,
    ) -> io::Result<Progress> {
        let len = (self.chunk as u64).min(end.saturating_sub(self.at)) as usize;
        self.chunk = (self.chunk * 2).min(LARGE);
        buffer.resize(len, 0);
        snapshot.read_into(buffer, self.at)?;
        let is_last = self.at + len as u64 >= end;
        let mut from = 0;
        loop {
            if !self.at_a_line {
                let rest = buffer.get(from..).unwrap_or_default();
                let Some(newline) = memchr(b'\n', rest) else {
                    self.at += len as u64;
                    return Ok(if is_last { Progress::End } else { Progress::More });
                };
                from += newline + 1;
                self.at_a_line = true;
            }
            let rest = buffer.get(from..).unwrap_or_default();
            if rest.len() < PREFIX && !is_last {
                // read from here, so that the whole of its time is seen
                self.at += from as u64;
                return Ok(Progress::More);
            }
            if rest.is_empty() {
                return Ok(Progress::End);
            }
            if visit(self.at + from as u64, parse_time(rest)).is_break() {
                return Ok(Progress::More);
            }
            self.at_a_line = false;
        }
    }
}
