//! Holds the lines of a log in memory and answers queries.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::record::{Stamp, parse_line, parse_time};
use crate::store::{Cursor, Extent, Form, Order, Query, ReadError, Selection};

/// Bytes of one block of an answer.
const BLOCK_BYTES: usize = 128 * 1024;

/// The only epoch: no other program changes the lines.
pub(crate) const EPOCH: u32 = 0;

/// Returns the cursor of a position, which counts bytes from the first line ever stored.
pub(crate) const fn cursor(position: u64) -> Cursor {
    Cursor { epoch: EPOCH, position }
}

/// The lines, oldest first.
pub(crate) struct Lines {
    /// The lines that are kept.
    pub(crate) kept: VecDeque<StoredLine>,
    /// The position after the last line.
    pub(crate) end: u64,
    max_bytes: u64,
}

/// A line and its place.
#[derive(Debug, Clone)]
pub(crate) struct StoredLine {
    /// The position before the line.
    pub(crate) start: u64,
    /// The line with its line end.
    pub(crate) text: Bytes,
}

impl StoredLine {
    /// Returns the cursor after the line.
    pub(crate) fn after(&self) -> Cursor {
        cursor(self.start + self.text.len() as u64)
    }

    fn without_end(&self) -> &[u8] {
        self.text.strip_suffix(b"\n").unwrap_or(&self.text)
    }

    fn is_admitted(&self, selection: &Selection) -> bool {
        // Only this store writes lines, so none continues a record.
        selection.admits([self.without_end()])
    }

    /// Returns the time of the record, microseconds since the epoch.
    pub(crate) fn micros(&self) -> Option<i64> {
        parse_time(&self.text)
    }

    /// Returns the time of the record, RFC 3339.
    pub(crate) fn time(&self) -> Option<String> {
        let stamp = Stamp::from(parse_line(self.without_end()).ok()?.time);
        String::from_utf8(stamp.rfc3339().to_vec()).ok()
    }
}

impl Lines {
    /// Returns no lines. At most `max_bytes` of later lines are kept, and always the last one.
    pub(crate) const fn new(max_bytes: u64) -> Self {
        Self { kept: VecDeque::new(), end: 0, max_bytes }
    }

    /// Appends whole lines. The oldest lines leave when there are more bytes than are kept.
    pub(crate) fn push(&mut self, text: &Bytes) {
        let mut from = 0;
        for newline in memchr::memchr_iter(b'\n', text) {
            let line = text.slice(from..=newline);
            self.kept.push_back(StoredLine { start: self.end + from as u64, text: line });
            from = newline + 1;
        }
        self.end += text.len() as u64;
        while self.end - self.start() > self.max_bytes && self.kept.len() > 1 {
            self.kept.pop_front();
        }
    }

    /// Returns the position before the first line.
    pub(crate) fn start(&self) -> u64 {
        self.kept.front().map_or(self.end, |line| line.start)
    }

    /// Returns the cursor before the line at `index`, or the end.
    pub(crate) fn cursor_at(&self, index: usize) -> Cursor {
        cursor(self.kept.get(index).map_or(self.end, |line| line.start))
    }

    /// Returns the index of the first line after `cursor`.
    pub(crate) fn index_of(&self, cursor: Cursor) -> Result<usize, ReadError> {
        let is_here = (self.start()..=self.end).contains(&cursor.position);
        if cursor.epoch != EPOCH || !is_here {
            return Err(ReadError::Gone { oldest: self.cursor_at(0) });
        }
        Ok(self.kept.partition_point(|line| line.start < cursor.position))
    }

    /// Returns the index of the first line that is not before `instant`, microseconds since the
    /// epoch. Later lines may be before it, when the system clock was set back.
    pub(crate) fn first_since(&self, instant: i64) -> usize {
        let is_since = |line: &StoredLine| parse_time(&line.text).is_none_or(|time| time >= instant);
        self.kept.iter().position(is_since).unwrap_or(self.kept.len())
    }

    /// Returns the index after the last line that is before `instant`.
    pub(crate) fn end_before(&self, instant: i64) -> usize {
        let is_before = |line: &StoredLine| parse_time(&line.text).is_some_and(|time| time < instant);
        self.kept.iter().rposition(is_before).map_or(0, |last| last + 1)
    }

    /// Returns the admitted lines of a part, oldest first.
    pub(crate) fn select<'l>(
        &'l self,
        part: Range<usize>,
        selection: &'l Selection,
    ) -> impl DoubleEndedIterator<Item = &'l StoredLine> {
        let part = part.start.min(part.end)..part.end;
        self.kept.range(part).filter(move |line| line.is_admitted(selection))
    }

    /// Returns the lines that `query` selects, in its order, and the cursor at which it stops.
    pub(crate) fn answer(&self, query: &Query) -> Result<(Vec<StoredLine>, Cursor), ReadError> {
        let Query { selection, order, extent, .. } = query;
        let mut part = 0..self.kept.len();
        if let Some(cursor) = query.cursor {
            let index = self.index_of(cursor)?;
            match order {
                Order::Ascending => part.start = index,
                Order::Descending => part.end = index.saturating_sub(1),
            }
        }
        part.start = part.start.max(selection.since.map_or(0, |since| self.first_since(since)));
        part.end = part.end.min(selection.until.map_or(part.end, |until| self.end_before(until)));
        let limit =
            query.limit.map_or(usize::MAX, |limit| usize::try_from(limit.get()).unwrap_or(usize::MAX));
        let found = self.select(part.clone(), selection).cloned();
        let mut lines: Vec<StoredLine> = match (extent, order) {
            (Extent::First, Order::Ascending) => found.take(limit).collect(),
            (Extent::First, Order::Descending) | (Extent::Newest, _) => found.rev().take(limit).collect(),
        };
        if (*extent, *order) == (Extent::Newest, Order::Ascending) {
            lines.reverse();
        }
        let stopped_at = match (extent, order) {
            (Extent::Newest, Order::Descending) => lines.first(),
            (Extent::First, _) | (Extent::Newest, Order::Ascending) => lines.last(),
        };
        let without_lines = match (extent, order) {
            (Extent::First, Order::Descending) => part.start.min(part.end),
            _ => part.start.max(part.end),
        };
        let stopped = stopped_at.map_or_else(|| self.cursor_at(without_lines), StoredLine::after);
        Ok((lines, stopped))
    }
}

/// Writes lines in the form of a query, in blocks.
pub(crate) fn write(lines: &[StoredLine], form: &Form) -> Vec<Bytes> {
    let (mut blocks, mut block) = (Vec::new(), Vec::from(form.open));
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            block.extend_from_slice(form.between.as_bytes());
        }
        match &form.write {
            Some(write) => write(&mut block, line.without_end(), line.after()),
            None => block.extend_from_slice(&line.text),
        }
        if block.len() >= BLOCK_BYTES {
            blocks.push(Bytes::from(std::mem::take(&mut block)));
        }
    }
    block.extend_from_slice(form.close.as_bytes());
    blocks.push(Bytes::from(block));
    blocks
}
