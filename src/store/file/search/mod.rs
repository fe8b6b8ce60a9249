//! Answers queries: finds the part of the log that holds the answer and the cursor at which the
//! caller continues, and streams the answer.
//!
//! The cursor is known before the first byte of the answer. A query without a limit scans for the
//! other end of the answer first. A limited answer is kept in memory up to a bound. Only a longer
//! one is counted first and read again. The work runs in short turns on the blocking pool, so that
//! queries share the pool and the work ends soon after its caller has left.

mod filter;
mod line_reader;
mod long_line;
mod needles;
mod scan;
mod time_search;
mod turn;
mod writing;

#[cfg(test)]
mod test_model;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use self::filter::LineFilter;
use self::line_reader::Sizes;
use self::scan::{Part, Scan};
use self::time_search::TimeSearch;
use self::turn::turn;
use self::writing::Writing;
use crate::record::{MAX_HEAD_BYTES, begins_record};
use crate::store::file::snapshot::LogSnapshot;
use crate::store::{
    ByteSource, Cursor, Extent, Form, LineChunk, Order, Progress, Query, ReadError, Reading, Selection,
    StoreError,
};

/// Answers `query` from `snapshot`.
pub(crate) async fn answer(snapshot: LogSnapshot, query: Query) -> Result<Reading, ReadError> {
    answer_in(snapshot, query, Sizes::DEFAULT).await
}

async fn answer_in(snapshot: LogSnapshot, query: Query, sizes: Sizes) -> Result<Reading, ReadError> {
    let Query { selection, order, cursor, limit, extent, form, progress } = query;
    let mut part = 0..snapshot.len();
    let mut searcher = Searcher::new(snapshot, sizes, selection.clone(), progress);
    if let Some(cursor) = cursor {
        let gone = |_| ReadError::Gone { oldest: searcher.snapshot.start() };
        let offset = searcher.snapshot.offset_of(cursor).map_err(gone)?;
        match order {
            Order::Ascending => {
                part.start = offset;
                searcher.open_unit = searcher.unit_start(offset).await?..offset;
            }
            Order::Descending => part.end = searcher.before(offset).await?,
        }
    }
    // The first lines may continue a record before them, which has their time.
    let from = searcher.part(part.clone()).unit_start;
    if let Some(since) = selection.since {
        part.start = part.start.max(searcher.first_since(since, from..part.end).await?);
    }
    if let Some(until) = selection.until {
        part.end = part.end.min(searcher.end_before(until, from..part.end).await?);
    }
    let plan = Plan { order, limit, extent, form: Arc::new(form) };
    searcher.read(part, plan).await.map_err(ReadError::from)
}

/// Returns the cursor at which a follower of `selection` starts, see
/// [`ReadLog::begin`](crate::store::ReadLog::begin).
pub(crate) async fn begin(
    snapshot: LogSnapshot,
    selection: Selection,
    latest: Option<NonZeroU64>,
    progress: Progress,
) -> Result<Cursor, StoreError> {
    let (mut part, since, until) = (0..snapshot.len(), selection.since, selection.until);
    let searcher = Searcher::new(snapshot, Sizes::DEFAULT, selection, progress);
    if let Some(since) = since {
        part.start = searcher.first_since(since, part.clone()).await?;
    }
    let Some(latest) = latest else {
        let start = if since.is_some() { part.start } else { part.end };
        return Ok(searcher.snapshot.cursor_at(start));
    };
    let mut within = part.clone();
    if let Some(until) = until {
        within.end = searcher.end_before(until, part.clone()).await?;
    }
    if within.is_empty() {
        return Ok(searcher.snapshot.cursor_at(part.end));
    }
    let scan = searcher.scan(Order::Descending, within);
    let ends = searcher.count(scan, latest.get()).await?;
    Ok(searcher.snapshot.cursor_at(ends.map_or(part.end, |ends| ends.last.start)))
}

/// Returns the lines before `at` that belong to the same record as the line after it, see
/// [`ReadLog::open_record`](crate::store::ReadLog::open_record).
pub(crate) async fn open_record(snapshot: LogSnapshot, at: Cursor) -> Result<LineChunk, ReadError> {
    let end = snapshot.offset_of(at).map_err(|_| ReadError::Gone { oldest: snapshot.start() })?;
    let searcher = Searcher::new(snapshot, Sizes::DEFAULT, Selection::default(), Box::new(|| ()));
    let start = searcher.unit_start(end).await?;
    let snapshot = searcher.snapshot;
    let (snapshot, lines) = turn(snapshot, move |snapshot, _| snapshot.read(start..end)).await?;
    let after = snapshot.cursor_at(start);
    Ok(LineChunk::new(Bytes::from(lines), after, move |end| snapshot.cursor_at(start + end)))
}

/// The part of a query that does not depend on the place in the log.
struct Plan {
    order: Order,
    limit: Option<NonZeroU64>,
    extent: Extent,
    form: Arc<Form>,
}

/// A snapshot and the records to find in it.
struct Searcher {
    snapshot: LogSnapshot,
    sizes: Sizes,
    filter: Arc<LineFilter>,
    progress: Progress,
    /// The lines before the first line of the query that belong to the same unit.
    open_unit: Range<u64>,
}

/// The offsets of the first and the last unit of a scan, in the order of the scan.
struct Ends {
    first: Range<u64>,
    last: Range<u64>,
}

impl Searcher {
    fn new(snapshot: LogSnapshot, sizes: Sizes, selection: Selection, progress: Progress) -> Self {
        let filter = Arc::new(LineFilter::new(selection, sizes));
        Self { snapshot, sizes, filter, progress, open_unit: 0..0 }
    }

    fn scan(&self, order: Order, part: Range<u64>) -> Scan {
        Scan::new(self.snapshot.clone(), self.sizes, Arc::clone(&self.filter), order, self.part(part))
    }

    /// Returns a part of the query, whose lines begin between units or with those of the query.
    fn part(&self, lines: Range<u64>) -> Part {
        let is_open = lines.start == self.open_unit.end;
        let unit_start = if is_open { self.open_unit.start } else { lines.start };
        Part { unit_start, lines }
    }

    /// Runs `step` in turns until it returns a result.
    async fn work<S: Send + 'static, T: Send + 'static>(
        &self,
        mut state: S,
        step: fn(&mut S, Instant) -> io::Result<Option<T>>,
    ) -> Result<(S, T), StoreError> {
        loop {
            let result;
            (state, result) = turn(state, step).await?;
            (self.progress)();
            if let Some(result) = result {
                return Ok((state, result));
            }
        }
    }

    /// Returns the start of the unit whose line ends at `offset`.
    async fn before(&self, offset: u64) -> Result<u64, StoreError> {
        let open = Arc::new(LineFilter::new(Selection::default(), self.sizes));
        let part = Part { lines: 0..offset, unit_start: 0 };
        let scan = Scan::new(self.snapshot.clone(), self.sizes, open, Order::Descending, part);
        Ok(self.count(scan, 1).await?.map_or(0, |ends| ends.first.start))
    }

    /// Returns the start of the unit to which the line at `offset` belongs.
    async fn unit_start(&self, offset: u64) -> Result<u64, StoreError> {
        if offset == 0 || offset == self.snapshot.len() || self.begins_record(offset).await? {
            return Ok(offset);
        }
        let start = self.before(offset).await?;
        let is_near = offset - start < self.sizes.unit as u64;
        Ok(if is_near && self.begins_record(start).await? { start } else { offset })
    }

    async fn begins_record(&self, offset: u64) -> Result<bool, StoreError> {
        let snapshot = self.snapshot.clone();
        let read = move |(): &mut (), _| {
            let end = snapshot.len().min(offset + MAX_HEAD_BYTES as u64);
            Ok(begins_record(&snapshot.read(offset..end)?))
        };
        Ok(turn((), read).await?.1)
    }

    /// Returns an offset in `part` before which all lines are before `instant`. It is the first such
    /// line, or the end of `part`.
    async fn first_since(&self, instant: i64, part: Range<u64>) -> Result<u64, StoreError> {
        for found in self.snapshot.time_ranges(&part) {
            if found.newest >= instant {
                return self.find_time(instant, found.range).await;
            }
        }
        Ok(part.end)
    }

    /// Returns an offset in `part` from which all lines are at or after `instant`, and before which
    /// one is before it. It is the start of `part` if no line is.
    async fn end_before(&self, instant: i64, part: Range<u64>) -> Result<u64, StoreError> {
        for found in self.snapshot.time_ranges(&part).into_iter().rev() {
            if found.oldest < instant {
                let start = found.range.start;
                let end = self.find_time(instant, found.range).await?;
                if end > start {
                    return Ok(end);
                }
            }
        }
        Ok(part.start)
    }

    /// Returns the first offset in `part` from which all lines are at or after `instant`. The lines
    /// of `part` are of one segment, so that their times never decrease.
    async fn find_time(&self, instant: i64, part: Range<u64>) -> Result<u64, StoreError> {
        if part.is_empty() {
            return Ok(part.start);
        }
        let find_time = TimeSearch::new(self.snapshot.clone(), instant, part);
        let step = |find_time: &mut TimeSearch, until: Instant| loop {
            let offset = find_time.step()?;
            if offset.is_some() || Instant::now() >= until {
                return Ok(offset);
            }
        };
        Ok(self.work(find_time, step).await?.1)
    }

    /// Returns the first and the last of the next `max` records of `scan`.
    async fn count(&self, scan: Scan, max: u64) -> Result<Option<Ends>, StoreError> {
        let step = |(scan, left, ends): &mut (Scan, u64, Option<Ends>), until: Instant| loop {
            while *left > 0
                && let Some(found) = scan.next()
            {
                *left -= 1;
                match ends {
                    Some(ends) => ends.last = found.range,
                    None => *ends = Some(Ends { first: found.range.clone(), last: found.range }),
                }
            }
            if *left == 0 || scan.is_done() {
                return Ok(Some(ends.take()));
            }
            if Instant::now() >= until {
                return Ok(None);
            }
            scan.read()?;
        };
        Ok(self.work((scan, max, None), step).await?.1)
    }

    async fn read(self, part: Range<u64>, plan: Plan) -> Result<Reading, StoreError> {
        let Plan { order, limit, extent, form } = plan;
        let stopped = match (order, extent) {
            (Order::Descending, Extent::First) => part.start.min(part.end),
            _ => part.start.max(part.end),
        };
        if part.is_empty() {
            return Ok(self.empty(stopped, &form));
        }
        match (extent, limit) {
            (Extent::First, Some(limit)) => self.read_some(part, order, limit, form, stopped).await,
            (Extent::First, None) if order == Order::Ascending && self.filter.admits_all() => {
                Ok(self.stream(part.clone(), order, None, form, part.end))
            }
            (Extent::First, None) => {
                let against = match order {
                    Order::Ascending => Order::Descending,
                    Order::Descending => Order::Ascending,
                };
                let Some(ends) = self.count(self.scan(against, part.clone()), 1).await? else {
                    return Ok(self.empty(stopped, &form));
                };
                let window = match order {
                    Order::Ascending => part.start..ends.first.end,
                    Order::Descending => ends.first.start..part.end,
                };
                Ok(self.stream(window, order, None, form, ends.first.end))
            }
            (Extent::Newest, limit) => {
                // In descending order, the records are counted while they are streamed.
                let max = match order {
                    Order::Ascending => limit.map_or(u64::MAX, NonZeroU64::get),
                    Order::Descending => 1,
                };
                let Some(ends) = self.count(self.scan(Order::Descending, part.clone()), max).await? else {
                    return Ok(self.empty(stopped, &form));
                };
                let (window, limit) = match order {
                    Order::Ascending => (ends.last.start..ends.first.end, None),
                    Order::Descending => (part.start..ends.first.end, limit),
                };
                Ok(self.stream(window, order, limit, form, ends.first.end))
            }
        }
    }

    /// Returns the first `limit` records. Keeps them in memory up to a bound. Longer answers are
    /// counted and read again.
    async fn read_some(
        self,
        part: Range<u64>,
        order: Order,
        limit: NonZeroU64,
        form: Arc<Form>,
        stopped: u64,
    ) -> Result<Reading, StoreError> {
        let writing = Writing::new(self.scan(order, part.clone()), form, Some(limit));
        let step = |(writing, kept, max_bytes): &mut (Writing, Vec<u8>, usize), until: Instant| {
            writing.write(kept, *max_bytes, until)?;
            Ok((writing.is_done() || kept.len() >= *max_bytes).then_some(()))
        };
        let ((mut writing, mut kept, _), ()) =
            self.work((writing, Vec::new(), self.sizes.kept), step).await?;
        let Some(last) = writing.last.clone() else { return Ok(self.empty(stopped, &writing.form)) };
        if writing.is_done() {
            writing.close(&mut kept);
            let (stopped, len) = (self.snapshot.cursor_at(last.end), Some(kept.len() as u64));
            let blocks = stream::once(std::future::ready(Ok(Bytes::from(kept)))).boxed();
            return Ok(Reading { stopped, len, blocks });
        }
        let rest = |last: &Range<u64>| match order {
            Order::Ascending => last.end..part.end,
            Order::Descending => part.start..last.start,
        };
        let scan = self.scan(order, rest(&last));
        let end = self.count(scan, writing.left).await?.map_or_else(|| last.clone(), |ends| ends.last);
        let window = match order {
            Order::Ascending => last.end..end.end,
            Order::Descending => end.start..last.start,
        };
        writing.scan = self.scan(order, window);
        let blocks = writing.stream(self.sizes.answer, VecDeque::from([kept]));
        Ok(Reading { stopped: self.snapshot.cursor_at(end.end), len: None, blocks })
    }

    fn empty(&self, stopped: u64, form: &Form) -> Reading {
        let text = [form.open, form.close].concat();
        let len = Some(text.len() as u64);
        let blocks = stream::once(std::future::ready(Ok(Bytes::from(text)))).boxed();
        Reading { stopped: self.snapshot.cursor_at(stopped), len, blocks }
    }

    fn stream(
        &self,
        window: Range<u64>,
        order: Order,
        limit: Option<NonZeroU64>,
        form: Arc<Form>,
        stopped: u64,
    ) -> Reading {
        let stopped = self.snapshot.cursor_at(stopped);
        // Unchanged lines need no scan.
        if form.write.is_none() && self.filter.admits_all() && order == Order::Ascending && limit.is_none() {
            let len = Some(window.end - window.start);
            return Reading { stopped, len, blocks: self.snapshot.stream(window) };
        }
        let writing = Writing::new(self.scan(order, window), form, limit);
        Reading { stopped, len: None, blocks: writing.stream(self.sizes.answer, VecDeque::new()) }
    }
}
