//! Answers queries: which part of the log the answer stands in, where its reader goes on, and the answer as a stream.
//!
//! Where a reader goes on is known before the first byte of the answer, and nothing is read twice for it that fits into
//! memory: all that is asked for is found by looking for its other end first; of what is limited, a bounded part is kept
//! while the rest is counted. Works in short turns on the blocking pool, between which others have theirs, and in which
//! a reader who left is noticed.

mod filter;
mod line_reader;
mod scan;
mod time_search;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::Semaphore;

use self::filter::LineFilter;
use self::line_reader::Sizes;
use self::scan::Scan;
use self::time_search::TimeSearch;
use crate::store::file::snapshot::LogSnapshot;
use crate::store::{
    ByteSource, Cursor, Extent, Form, Order, Progress, Query, ReadError, Reading, Selection, StoreError,
};

/// How long a turn lasts, but for the block that was begun.
const TURN: Duration = Duration::from_millis(10);

/// Turns at once: the event loop keeps a core, and other readers keep their threads.
static TURNS: LazyLock<Semaphore> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new((cores / 2).clamp(1, 2))
});

/// Answers `query` from `image`.
pub(crate) async fn answer(snapshot: LogSnapshot, query: Query) -> Result<Reading, ReadError> {
    answer_in(snapshot, query, Sizes::USUAL).await
}

async fn answer_in(snapshot: LogSnapshot, query: Query, sizes: Sizes) -> Result<Reading, ReadError> {
    let Query { selection, order, cursor, limit, extent, form, progress } = query;
    let mut part = 0..snapshot.len();
    let searcher =
        Searcher { snapshot, sizes, filter: Arc::new(LineFilter::new(selection.clone())), progress };
    if let Some(cursor) = cursor {
        let gone = |_| ReadError::Gone { oldest: searcher.snapshot.start() };
        let offset = searcher.snapshot.offset_of(cursor).map_err(gone)?;
        match order {
            Order::Ascending => part.start = offset,
            Order::Descending => part.end = searcher.before(offset).await?,
        }
    }
    if let Some(since) = selection.since {
        part.start = part.start.max(searcher.bisect(since, part.clone()).await?);
    }
    if let Some(until) = selection.until {
        part.end = part.end.min(searcher.bisect(until, part.clone()).await?);
    }
    let plan = Plan { order, limit, extent, form: Arc::new(form) };
    searcher.read(part, plan).await.map_err(ReadError::from)
}

/// Where somebody begins who follows `selection`, see [`LogStore::begin`](crate::store::LogStore::begin).
pub(crate) async fn begin(
    snapshot: LogSnapshot,
    selection: Selection,
    latest: Option<NonZeroU64>,
    progress: Progress,
) -> Result<Cursor, StoreError> {
    let (mut part, since, until) = (0..snapshot.len(), selection.since, selection.until);
    let searcher =
        Searcher { snapshot, sizes: Sizes::USUAL, filter: Arc::new(LineFilter::new(selection)), progress };
    if let Some(since) = since {
        part.start = searcher.bisect(since, part.clone()).await?;
    }
    let Some(latest) = latest else {
        let start = if since.is_some() { part.start } else { part.end };
        return Ok(searcher.snapshot.cursor_at(start));
    };
    let mut within = part.clone();
    if let Some(until) = until {
        within.end = searcher.bisect(until, part.clone()).await?;
    }
    if within.is_empty() {
        return Ok(searcher.snapshot.cursor_at(part.end));
    }
    let scan = searcher.scan(Order::Descending, within);
    let ends = searcher.count(scan, latest.get()).await?;
    Ok(searcher.snapshot.cursor_at(ends.map_or(part.end, |ends| ends.last.start)))
}

struct Plan {
    order: Order,
    limit: Option<NonZeroU64>,
    extent: Extent,
    form: Arc<Form>,
}

/// An image and what is looked for in it.
struct Searcher {
    snapshot: LogSnapshot,
    sizes: Sizes,
    filter: Arc<LineFilter>,
    progress: Box<dyn Fn() + Send + Sync>,
}

/// The first and the last of some records, in the order in which they were found.
struct Ends {
    first: Range<u64>,
    last: Range<u64>,
}

impl Searcher {
    fn scan(&self, order: Order, part: Range<u64>) -> Scan {
        Scan::new(self.snapshot.clone(), self.sizes, Arc::clone(&self.filter), order, part)
    }

    /// Works on `state` until there is a result.
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

    /// Where the line begins that ends at `offset`.
    async fn before(&self, offset: u64) -> Result<u64, StoreError> {
        let open = Arc::new(LineFilter::new(crate::store::Selection::default()));
        let scan = Scan::new(self.snapshot.clone(), self.sizes, open, Order::Descending, 0..offset);
        Ok(self.count(scan, 1).await?.map_or(0, |ends| ends.first.start))
    }

    /// The first offset from which on all lines are at or after `instant`, at least the begin of `part`.
    async fn bisect(&self, instant: i64, part: Range<u64>) -> Result<u64, StoreError> {
        if part.is_empty() {
            return Ok(part.start);
        }
        let bisect = TimeSearch::new(self.snapshot.clone(), instant, part);
        let step = |bisect: &mut TimeSearch, until: Instant| loop {
            let place = bisect.step()?;
            if place.is_some() || Instant::now() >= until {
                return Ok(place);
            }
        };
        Ok(self.work(bisect, step).await?.1)
    }

    /// The ends of the next records of `scan`, at most `most` of them.
    async fn count(&self, scan: Scan, most: u64) -> Result<Option<Ends>, StoreError> {
        let step = |(scan, left, ends): &mut (Scan, u64, Option<Ends>), until: Instant| loop {
            while *left > 0
                && let Some(found) = scan.next()
            {
                *left -= 1;
                match ends {
                    Some(ends) => ends.last = found.place,
                    None => *ends = Some(Ends { first: found.place.clone(), last: found.place }),
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
        Ok(self.work((scan, most, None), step).await?.1)
    }

    async fn read(self, part: Range<u64>, plan: Plan) -> Result<Reading, StoreError> {
        let Plan { order, limit, extent, form } = plan;
        let nothing = match (order, extent) {
            (Order::Descending, Extent::First) => part.start.min(part.end),
            _ => part.start.max(part.end),
        };
        if part.is_empty() {
            return Ok(self.nothing(nothing, &form));
        }
        match (extent, limit) {
            (Extent::First, Some(limit)) => self.read_some(part, order, limit, form, nothing).await,
            (Extent::First, None) if order == Order::Ascending && self.filter.is_open() => {
                Ok(self.stream(part.clone(), order, None, form, part.end))
            }
            (Extent::First, None) => {
                let against = match order {
                    Order::Ascending => Order::Descending,
                    Order::Descending => Order::Ascending,
                };
                let Some(ends) = self.count(self.scan(against, part.clone()), 1).await? else {
                    return Ok(self.nothing(nothing, &form));
                };
                let window = match order {
                    Order::Ascending => part.start..ends.first.end,
                    Order::Descending => ends.first.start..part.end,
                };
                Ok(self.stream(window, order, None, form, ends.first.end))
            }
            (Extent::Newest, limit) => {
                // Descending, the others are counted while they are given.
                let many = match order {
                    Order::Ascending => limit.map_or(u64::MAX, NonZeroU64::get),
                    Order::Descending => 1,
                };
                let Some(ends) = self.count(self.scan(Order::Descending, part.clone()), many).await? else {
                    return Ok(self.nothing(nothing, &form));
                };
                let (window, limit) = match order {
                    Order::Ascending => (ends.last.start..ends.first.end, None),
                    Order::Descending => (part.start..ends.first.end, limit),
                };
                Ok(self.stream(window, order, limit, form, ends.first.end))
            }
        }
    }

    /// The first `limit` records: kept while they are few, counted and read again when they are not.
    async fn read_some(
        self,
        part: Range<u64>,
        order: Order,
        limit: NonZeroU64,
        form: Arc<Form>,
        nothing: u64,
    ) -> Result<Reading, StoreError> {
        let writing = Writing::new(self.scan(order, part.clone()), form, Some(limit));
        let step = |(writing, kept, most): &mut (Writing, Vec<u8>, usize), until: Instant| {
            writing.write(kept, *most, until)?;
            Ok((writing.is_done() || kept.len() >= *most).then_some(()))
        };
        let ((mut writing, mut kept, _), ()) =
            self.work((writing, Vec::new(), self.sizes.kept), step).await?;
        let Some(last) = writing.last.clone() else { return Ok(self.nothing(nothing, &writing.form)) };
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

    fn nothing(&self, stopped: u64, form: &Form) -> Reading {
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
        // As it stands in the log: nothing has to be looked at.
        if form.write.is_none() && self.filter.is_open() && order == Order::Ascending && limit.is_none() {
            let len = Some(window.end - window.start);
            return Reading { stopped, len, blocks: self.snapshot.stream(window) };
        }
        let writing = Writing::new(self.scan(order, window), form, limit);
        Reading { stopped, len: None, blocks: writing.stream(self.sizes.answer, VecDeque::new()) }
    }
}

/// Records on their way into an answer.
struct Writing {
    scan: Scan,
    form: Arc<Form>,
    /// how many may follow
    left: u64,
    /// where the latest one stands
    last: Option<Range<u64>>,
    opened: bool,
    closed: bool,
}

impl Writing {
    fn new(scan: Scan, form: Arc<Form>, limit: Option<NonZeroU64>) -> Self {
        let left = limit.map_or(u64::MAX, NonZeroU64::get);
        Self { scan, form, left, last: None, opened: false, closed: false }
    }

    fn is_done(&self) -> bool {
        self.left == 0 || self.scan.is_done()
    }

    /// Appends records until `out` holds `most` bytes, or a little more, or it is `until`.
    fn write(&mut self, out: &mut Vec<u8>, most: usize, until: Instant) -> io::Result<()> {
        if !self.opened {
            self.opened = true;
            out.extend_from_slice(self.form.open.as_bytes());
        }
        let snapshot = self.scan.snapshot().clone();
        loop {
            while self.left > 0
                && out.len() < most
                && let Some(found) = self.scan.next()
            {
                if self.last.is_some() {
                    out.extend_from_slice(self.form.between.as_bytes());
                }
                match &self.form.write {
                    Some(write) => write(out, found.line, snapshot.cursor_at(found.place.end)),
                    None => {
                        out.extend_from_slice(found.line);
                        out.push(b'\n');
                    }
                }
                self.left -= 1;
                self.last = Some(found.place);
            }
            if self.is_done() || out.len() >= most || Instant::now() >= until {
                return Ok(());
            }
            self.scan.read()?;
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if !self.closed {
            self.closed = true;
            out.extend_from_slice(self.form.close.as_bytes());
        }
    }

    /// What was written already, and the rest.
    fn stream(
        self,
        most: usize,
        written: VecDeque<Vec<u8>>,
    ) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let step = move |(mut writing, mut written): (Self, VecDeque<Vec<u8>>)| async move {
            loop {
                if let Some(block) = written.pop_front() {
                    return Ok(Some((Bytes::from(block), (writing, written))));
                }
                if writing.closed {
                    return Ok(None);
                }
                let block;
                (writing, block) = turn(writing, move |writing, until| {
                    let mut block = Vec::new();
                    writing.write(&mut block, most, until)?;
                    if writing.is_done() {
                        writing.close(&mut block);
                    }
                    Ok(block)
                })
                .await?;
                written.extend((!block.is_empty()).then_some(block));
            }
        };
        stream::try_unfold((self, written), step).boxed()
    }
}

/// Works on `state` for a moment.
async fn turn<S: Send + 'static, T: Send + 'static>(
    mut state: S,
    work: impl FnOnce(&mut S, Instant) -> io::Result<T> + Send + 'static,
) -> Result<(S, T), StoreError> {
    let permit = TURNS.acquire().await;
    let working = tokio::task::spawn_blocking(move || {
        let outcome = work(&mut state, Instant::now() + TURN);
        drop(permit);
        outcome.map(|result| (state, result))
    });
    match working.await {
        Ok(outcome) => outcome.map_err(|error| StoreError::read(&error)),
        Err(error) => Err(StoreError::Read(error.to_string())),
    }
}
