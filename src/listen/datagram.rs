//! Stores the datagrams of one socket.
//!
//! One turn of the loop reads one batch. A datagram gets no answer, so its record does not wait for the
//! disk before the next batch is read. What cannot be stored is dropped and counted.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::receive::{DatagramSocket, MAX_BATCH, Received, Slots};
use super::sender::{SenderRules, Senders, problem_of};
use crate::guard::ClientAddr;
use crate::http::Problem;
use crate::ingest::batch::Batch;
use crate::ingest::socket_dialect::{DatagramParser, SocketError};
use crate::log_limit::LogLimit;
use crate::store::{self, AppendTicket, Source};

/// Maximum number of appends that wait for the disk. Then the next batch waits too, and the kernel
/// buffers.
const MAX_PENDING_APPENDS: usize = 256;

/// Pause between two batches while datagrams come fast. Without it, the loop wakes up for each three of
/// 200,000 datagrams a second, which costs more than storing them. The kernel buffers meanwhile.
const BATCH_PAUSE: Duration = Duration::from_millis(1);

/// Time between two reads below which datagrams come fast.
const FAST_INTERVAL: Duration = Duration::from_millis(2);

/// Number of datagrams at once with which they come fast.
const FAST_BATCH: usize = 16;

/// Pause after an error of the socket.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Time that a stop spends on datagrams that have arrived.
const MAX_LAST_READ: Duration = Duration::from_secs(1);

/// An append that waits for the disk.
struct Pending {
    ticket: AppendTicket,
    client: ClientAddr,
    records: usize,
}

/// The state of one socket.
struct Datagrams {
    senders: Senders,
    rules: SenderRules,
    parser: Box<dyn DatagramParser>,
    slots: Slots,
    pending: VecDeque<Pending>,
    losses: LogLimit,
}

/// Stores the datagrams of `socket` until the stop begins, and then those that have arrived.
pub(super) async fn run(senders: Senders, socket: DatagramSocket, drain: CancellationToken) {
    let Some(parser) = senders.dialect.datagrams() else {
        return log::error!("{} has no datagrams", senders.dialect.name());
    };
    let rules = senders.rules();
    let (slots, pending) = (Slots::new(), VecDeque::new());
    let mut datagrams = Datagrams { senders, rules, parser, slots, pending, losses: LogLimit::default() };
    datagrams.read_until(&socket, &drain).await;
    drop(timeout(MAX_LAST_READ, datagrams.read_rest(&socket)).await);
}

impl Datagrams {
    async fn read_until(&mut self, socket: &DatagramSocket, drain: &CancellationToken) {
        let mut last_read = None;
        loop {
            let ready = tokio::select! {
                () = drain.cancelled() => return,
                ready = socket.readable() => ready,
                () = first_completed(&mut self.pending), if !self.pending.is_empty() => {
                    self.forget_completed();
                    continue;
                }
            };
            let outcome = match ready {
                Ok(()) => self.slots.read(socket),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(lost) => {
                    self.store_batch(lost).await;
                    pause_if_fast(self.slots.received.len(), &mut last_read).await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => {
                    self.log_error(&error);
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
            // Other clients get their turn, however many datagrams wait.
            tokio::task::yield_now().await;
        }
    }

    /// Stores what has arrived, so that a stop loses no datagram that this socket has taken.
    async fn read_rest(&mut self, socket: &DatagramSocket) {
        while let Ok(lost) = self.slots.read(socket) {
            self.store_batch(lost).await;
        }
        while let Some(pending) = self.pending.pop_front() {
            let Pending { ticket, client, records } = pending;
            if let Err(error) = ticket.await {
                self.drop_datagrams(client, &error.into(), records);
            }
        }
    }

    async fn store_batch(&mut self, lost: u64) {
        self.count_received(lost);
        self.senders.refresh(&mut self.rules);
        let received = std::mem::take(&mut self.slots.received);
        for run in received.chunk_by(|a, b| a.sender == b.sender) {
            self.store_run(run).await;
        }
        self.slots.received = received;
        self.forget_completed();
        while self.pending.len() > MAX_PENDING_APPENDS {
            first_completed(&mut self.pending).await;
            self.forget_completed();
        }
    }

    fn count_received(&self, lost: u64) {
        let counters = &self.senders.app.instance_state.datagrams;
        counters.received.fetch_add(self.slots.received.len() as u64, Ordering::Relaxed);
        if lost > 0 {
            counters.lost.fetch_add(lost, Ordering::Relaxed);
            if self.losses.admit(Instant::now()).is_some() {
                let on = &self.rules.listen.on;
                log::warn!("{on}: the kernel dropped {lost} datagrams: they came faster than they were read");
            }
        }
    }

    /// Stores datagrams of one sender.
    async fn store_run(&mut self, run: &[Received]) {
        let Some(client) = run.first().map(|first| first.sender) else { return };
        if let Some(failure) = self.senders.store_failure() {
            return self.drop_datagrams(client, &failure.into(), run.len());
        }
        let (admitted, refusal) = self.rules.count(&self.senders, client, run.len()).await;
        if let Some(refusal) = refusal {
            self.drop_datagrams(client, &refusal.into(), run.len() - admitted);
        }
        let text = client.text();
        let (mut batch, mut malformed) = (Batch::default(), None);
        let rules = self.rules.read_rules();
        for received in run.iter().take(admitted) {
            let bytes = self.slots.bytes_of(received);
            if let Err(error) = self.parser.read(text.as_str(), bytes, &rules, &mut batch) {
                let (_, times) = malformed.unwrap_or((error, 0_usize));
                malformed = Some((error, times + 1));
            }
        }
        let records = &self.senders.app.instance_state.records;
        records.add_changes(batch.changes);
        let entries = batch.entries(self.rules.policy.log.level);
        if entries.len() < batch.len() {
            records.add_filtered((batch.len() - entries.len()) as u64);
        }
        if !entries.is_empty() {
            let route = self.senders.dialect.name();
            let source = Source { client: text.as_str(), key: self.rules.key_name(), route };
            let ticket = store::begin(&*self.senders.app.store, &source, &entries).await;
            self.pending.push_back(Pending { ticket, client, records: entries.len() });
        }
        if let Some((error, times)) = malformed {
            self.drop_malformed(client, error, times);
        }
    }

    fn drop_malformed(&self, client: ClientAddr, error: SocketError, times: usize) {
        self.drop_datagrams(client, &problem_of(error), times);
    }

    fn drop_datagrams(&self, client: ClientAddr, problem: &Problem, times: usize) {
        add(&self.senders.app.instance_state.datagrams.dropped, times);
        self.senders.refuse(&self.rules, client, problem, times);
    }

    /// Removes the appends that are complete, and counts those that failed.
    fn forget_completed(&mut self) {
        while let Some(outcome) =
            self.pending.front_mut().and_then(|first| (&mut first.ticket).now_or_never())
        {
            let Some(Pending { client, records, .. }) = self.pending.pop_front() else { return };
            if let Err(error) = outcome {
                self.drop_datagrams(client, &error.into(), records);
            }
        }
    }

    fn log_error(&self, error: &io::Error) {
        if self.losses.admit(Instant::now()).is_some() {
            log::warn!("{}: datagrams can't be read: {error}", self.rules.listen.on);
        }
    }
}

/// Lets datagrams come together in the kernel while they come fast. `count` were read just now.
async fn pause_if_fast(count: usize, last_read: &mut Option<Instant>) {
    let now = Instant::now();
    let is_soon = last_read.is_some_and(|last| now.duration_since(last) < FAST_INTERVAL);
    *last_read = Some(now);
    let is_fast = count >= FAST_BATCH || (is_soon && count > 1);
    if is_fast && count < MAX_BATCH {
        tokio::time::sleep(BATCH_PAUSE).await;
    }
}

fn add(counter: &AtomicU64, times: usize) {
    counter.fetch_add(times as u64, Ordering::Relaxed);
}

/// Waits for the oldest append, whose ticket can be polled again afterwards.
async fn first_completed(pending: &mut VecDeque<Pending>) {
    if let Some(first) = pending.front_mut() {
        // The outcome stays with the ticket.
        drop((&mut first.ticket).await);
    }
}
