//! Stores the records of a body while it arrives.
//!
//! The body may have any length and take any time, as long as it makes progress. Its records are
//! appended piece by piece, so readers see them while the upload runs. What was appended is kept until
//! it is durable, and appended again when that failed. So memory is bounded, and a failing disk, a full
//! queue, maintenance and used-up limits stop the reading of the socket. The client waits meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::body::Incoming;

use super::admitted_request::AdmittedRequest;
use super::policy::Policy;
use super::request::body::next_chunk;
use super::request::memory_budget::MemoryShare;
use super::response::problem::Problem;
use crate::guard::{Key, is_in_maintenance};
use crate::ingest::body::stream::stream_rules;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry_stream::{EntryStream, HeldEntries, StreamStep};
use crate::net::deadline::{Millis, now};
use crate::net::shutdown::DRAIN_GRACE;
use crate::record::Entry;
use crate::store::{self, AppendTicket, Source, StoreError};

/// Size of the entries that are appended together, in bytes. Appending them takes less than a
/// millisecond.
const APPEND_BYTES: usize = 64 * 1024;

/// Maximum size of the entries that are appended and not yet durable. One sync of a slow disk covers as
/// many.
const MAX_IN_FLIGHT_BYTES: usize = 512 * 1024;

/// Memory that each upload takes: the entries in flight, their next ones, and the piece of the body.
const BASE_MEMORY_BYTES: u64 = 1024 * 1024;

/// Maximum number of steps of reading in one turn of the event loop.
const MAX_TURN_STEPS: u32 = 4;

/// Interval at which a paused upload checks whether it may go on.
const PAUSE: Duration = Duration::from_millis(200);

/// What became of the records of an upload.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stored {
    /// Number of stored records.
    pub(crate) saved: usize,
    /// Number of records below the level of the log.
    pub(crate) filtered: usize,
}

/// Reads the body of a request, and stores its records. Returns when all of them are durable.
///
/// # Errors
/// Fails for a body that is malformed, breaks off or stops to arrive, and when the service stops. The
/// records that arrived whole are stored nevertheless.
pub(crate) async fn store_records(
    request: &AdmittedRequest,
    key: Arc<Key>,
    route: &'static str,
    stream: Box<dyn EntryStream>,
) -> Result<Stored, Problem> {
    let Some(mut body) = request.take_body() else {
        return Err(Problem::bad_request("The body was read already."));
    };
    let mut upload = Upload::new(request, key, route, stream);
    let read = upload.read_body(&mut body).await;
    // The entries that arrived whole are stored, also after an upload that broke off.
    let stored = upload.finish().await;
    if read.is_ok() && stored.is_ok() {
        request.state.body_read();
    } else {
        request.state.keep_unread_body(body);
    }
    read.and(stored)
}

/// An upload that runs.
struct Upload<'r> {
    request: &'r AdmittedRequest,
    key: Arc<Key>,
    route: &'static str,
    stream: Box<dyn EntryStream>,
    /// The configuration in force.
    policy: Arc<Policy>,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    memory: MemoryShare,
    /// Time until which a used-up limit does not matter, because the upload itself was its last request.
    paid_until: Millis,
    /// Time at which the upload ends because the service stops.
    stops_at: Option<Millis>,
    stored: Stored,
}

/// Entries that were appended and are not yet durable.
struct InFlight {
    entries: Box<dyn HeldEntries>,
    ticket: AppendTicket,
}

impl<'r> Upload<'r> {
    fn new(
        request: &'r AdmittedRequest,
        key: Arc<Key>,
        route: &'static str,
        stream: Box<dyn EntryStream>,
    ) -> Self {
        let limits = request.quota().into_iter().flat_map(|quota| quota.limits());
        let used_up = limits.filter(|limit| limit.remaining == 0).map(|limit| limit.reset).max();
        let paid_until = used_up.map_or(0, |reset| now() + reset.as_millis() as Millis);
        Self {
            request,
            key,
            route,
            stream,
            policy: request.app.policy(),
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            memory: request.app.budget.share(),
            paid_until,
            stops_at: None,
            stored: Stored::default(),
        }
    }

    /// Reads the body to its end.
    async fn read_body(&mut self, body: &mut Incoming) -> Result<(), Problem> {
        self.take_memory().await?;
        let mut steps: u32 = 0;
        while let Some(mut piece) = self.next_piece(body).await? {
            loop {
                let step = self.stream.read(&mut piece, &rules(&self.policy, &self.key));
                if step.is_err() || self.stream.held_bytes() >= APPEND_BYTES {
                    self.append_held().await?;
                }
                if step? == StreamStep::NeedsBytes {
                    break;
                }
                self.take_memory().await?;
                steps = steps.wrapping_add(1);
                if steps.is_multiple_of(MAX_TURN_STEPS) {
                    self.append_held().await?;
                    tokio::task::yield_now().await;
                }
            }
        }
        let ended = self.stream.end(&rules(&self.policy, &self.key));
        Ok(ended?)
    }

    /// Waits for the next piece of the body, unless the upload has to pause or to end. The entries so far
    /// are appended before the wait.
    async fn next_piece(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, Problem> {
        self.pause_if_needed().await?;
        let state = &self.request.state;
        if let Some(piece) = next_chunk(body, state).now_or_never() {
            return piece;
        }
        self.append_held().await?;
        let stops = self.stops();
        tokio::select! {
            biased;
            piece = next_chunk(body, state) => piece,
            () = stops => Err(stopping()),
        }
    }

    /// Returns a future that completes when the upload has to end because the service stops.
    fn stops(&self) -> impl Future<Output = ()> + use<> {
        let draining = self.request.app.draining.clone();
        let left = self.stops_at.map(|at| at.saturating_sub(now()));
        async move {
            draining.cancelled().await;
            tokio::time::sleep(Duration::from_millis(left.unwrap_or(DRAIN_GRACE))).await;
        }
    }

    /// Fails once the time that a stop leaves is over.
    fn check_stop(&mut self) -> Result<(), Problem> {
        if !self.request.app.draining.is_cancelled() {
            return Ok(());
        }
        let stops_at = *self.stops_at.get_or_insert_with(|| now() + DRAIN_GRACE);
        if now() >= stops_at { Err(stopping()) } else { Ok(()) }
    }

    /// Waits while maintenance, a used-up limit, or a log that cannot be written keeps records out.
    async fn pause_if_needed(&mut self) -> Result<(), Problem> {
        self.check_stop()?;
        self.policy = self.request.app.policy();
        if !self.must_pause() {
            return Ok(());
        }
        self.append_held().await?;
        self.request.state.enter_pause();
        while self.must_pause() {
            self.wait().await?;
            self.policy = self.request.app.policy();
        }
        self.request.state.upload_goes_on();
        Ok(())
    }

    fn must_pause(&self) -> bool {
        let app = &self.request.app;
        let is_used_up = || now() >= self.paid_until && self.request.limits_used_up_for().is_some();
        app.store.failure().is_some()
            || is_in_maintenance(&app.guard, &self.policy.rules, &self.request.client)
            || is_used_up()
    }

    /// Waits for a moment, unless the service stops.
    async fn wait(&mut self) -> Result<(), Problem> {
        self.check_stop()?;
        drop(tokio::time::timeout(PAUSE, self.stops()).await);
        self.check_stop()
    }

    /// Counts the memory of the upload. Waits for it, if other bodies have it.
    async fn take_memory(&mut self) -> Result<(), Problem> {
        let limit = self.policy.files.http.max_body_memory;
        let needed = (BASE_MEMORY_BYTES + self.stream.memory_bytes()).min(limit);
        if !self.memory.try_grow_to(needed, limit) {
            self.append_held().await?;
            self.request.state.enter_pause();
            let stops = self.stops();
            tokio::select! {
                () = self.memory.grow_to(needed, limit) => {}
                () = stops => return Err(stopping()),
            }
        }
        self.memory.shrink_to(needed);
        self.request.state.upload_goes_on();
        Ok(())
    }

    /// Appends the entries that were read.
    async fn append_held(&mut self) -> Result<(), Problem> {
        if self.stream.held_bytes() == 0 {
            return Ok(());
        }
        let entries = self.stream.take();
        self.append(entries, true).await?;
        self.settle(MAX_IN_FLIGHT_BYTES).await
    }

    /// Appends entries. `is_first` says that they were not appended before.
    async fn append(&mut self, entries: Box<dyn HeldEntries>, is_first: bool) -> Result<(), Problem> {
        let ticket = {
            let batch = entries.batch(&rules(&self.policy, &self.key));
            let selected = batch.entries(self.policy.log.level);
            if is_first {
                let records = &self.request.app.instance_state.records;
                let filtered = batch.len() - selected.len();
                records.add_changes(batch.changes);
                records.add_filtered(filtered as u64);
                self.stored.saved += selected.len();
                self.stored.filtered += filtered;
            }
            if selected.is_empty() {
                return Ok(());
            }
            self.begin_append(&selected).await?
        };
        self.in_flight_bytes += entries.bytes();
        self.in_flight.push_back(InFlight { entries, ticket });
        Ok(())
    }

    /// Adds entries to the queue of the store, and waits for room in it.
    async fn begin_append(&mut self, entries: &[Entry<'_>]) -> Result<AppendTicket, Problem> {
        let Self { request, key, route, .. } = self;
        let client = request.client.text();
        let source = Source { client: client.as_str(), key: &key.entry.name, route };
        let store = &*request.app.store;
        let append = store::begin(store, &source, entries);
        tokio::pin!(append);
        if let Some(ticket) = append.as_mut().now_or_never() {
            return Ok(ticket);
        }
        request.state.enter_pause();
        let ticket = append.await;
        request.state.upload_goes_on();
        Ok(ticket)
    }

    /// Waits until at most `max_bytes` of the appended entries are not durable. Appends those again that
    /// could not be stored.
    async fn settle(&mut self, max_bytes: usize) -> Result<(), Problem> {
        let mut failed = Vec::new();
        while let Some(InFlight { mut ticket, entries }) = self.in_flight.pop_front() {
            let mut outcome = (&mut ticket).now_or_never();
            if outcome.is_none() {
                if self.in_flight_bytes <= max_bytes && failed.is_empty() {
                    self.in_flight.push_front(InFlight { entries, ticket });
                    return Ok(());
                }
                self.request.state.enter_pause();
                outcome = Some(ticket.await);
                self.request.state.upload_goes_on();
            }
            self.in_flight_bytes -= entries.bytes();
            match outcome {
                Some(Err(StoreError::Closed)) => return Err(stopping()),
                Some(Err(_)) => failed.push(entries),
                _ => {}
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        self.append_again(failed).await
    }

    /// Appends entries that could not be stored, until they are.
    async fn append_again(&mut self, mut failed: Vec<Box<dyn HeldEntries>>) -> Result<(), Problem> {
        self.request.state.enter_pause();
        while !failed.is_empty() {
            self.wait().await?;
            if self.request.app.store.failure().is_some() {
                continue;
            }
            for entries in std::mem::take(&mut failed) {
                self.append(entries, false).await?;
            }
            self.request.state.enter_pause();
            while let Some(InFlight { ticket, entries }) = self.in_flight.pop_front() {
                let outcome = ticket.await;
                self.in_flight_bytes -= entries.bytes();
                match outcome {
                    Ok(_) => {}
                    Err(StoreError::Closed) => return Err(stopping()),
                    Err(_) => failed.push(entries),
                }
            }
        }
        self.request.state.upload_goes_on();
        Ok(())
    }

    /// Appends the rest, and waits until all is durable.
    async fn finish(&mut self) -> Result<Stored, Problem> {
        self.append_held().await?;
        self.settle(0).await?;
        Ok(self.stored)
    }
}

/// Entries that arrived whole are stored, also when the connection ends in the middle of the upload.
impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if self.stream.held_bytes() == 0 {
            return;
        }
        let held = self.stream.take();
        let batch = held.batch(&rules(&self.policy, &self.key));
        let entries = batch.entries(self.policy.log.level);
        let client = self.request.client.text();
        let source = Source { client: client.as_str(), key: &self.key.entry.name, route: self.route };
        // Without room, the client sends them again, because it got no answer.
        drop(self.request.app.store.try_append(&source, &entries));
    }
}

/// Returns how the entries are read now.
fn rules<'a>(policy: &'a Policy, key: &'a Key) -> ReadRules<'a> {
    stream_rules(&ReadRules::new(&policy.log, Some(&key.entry)))
}

/// Returns the refusal of an upload that the service ends.
fn stopping() -> Problem {
    Problem::from(StoreError::Closed).closing()
}
