//! Reads one connection: what was received whole is stored before the connection is read on.
//!
//! A sender of syslog gets no answer, so the only way to slow it down is not to read. While nothing can be
//! stored, in maintenance, and while the limits of the key are reached, the connection is not read.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::last_byte::LastByte;
use super::sender::{SenderRules, Senders, problem_of};
use crate::guard::{ClientAddr, Refusal};
use crate::http::{Problem, Reason};
use crate::ingest::batch::Batch;
use crate::ingest::socket_dialect::{ConnectionOptions, ConnectionParser};
use crate::net::shutdown::Shutdown;
use crate::record::Entry;
use crate::store::{self, Source, StoreError};

/// Room of a new connection, in bytes. Most connections are silent most of the time.
const MIN_BUFFER_BYTES: usize = 4 * 1024;

/// Room for which a connection takes nothing of `max_body_memory`, in bytes.
const FREE_BUFFER_BYTES: usize = 64 * 1024;

/// Interval at which a connection that is not read looks whether it may be read again.
const PAUSE: Duration = Duration::from_millis(200);

/// Time without a byte after which a stop closes a connection.
const LAST_READ_TIMEOUT: Duration = Duration::from_millis(100);

/// Maximum time that a stop spends on reading a connection.
const MAX_LAST_READ: Duration = Duration::from_secs(2);

/// One connection of a sender.
pub(super) struct Connection {
    pub(super) senders: Senders,
    pub(super) rules: SenderRules,
    pub(super) client: ClientAddr,
    pub(super) last_byte: Arc<LastByte>,
    pub(super) shutdown: Shutdown,
}

/// The connection is to be closed.
struct Closed;

impl Connection {
    /// Stores what the peer sends until the connection ends or the stop begins.
    pub(super) async fn serve(mut self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let client = self.client.text();
        let shared_key = self.rules.listen.shared_key.clone();
        let options = ConnectionOptions {
            shared_key: shared_key.as_ref().map(crate::config::SharedKey::reveal),
            client: client.as_str(),
        };
        let Some(mut parser) = self.senders.dialect.connection(&options) else { return };
        let greeting = parser.greeting();
        if self.answer(&mut stream, &greeting).await.is_ok() {
            // A connection that is closed early has been refused, or its peer has gone.
            drop(self.read_all(&mut stream, &mut *parser).await);
        }
        drop(timeout(PAUSE, stream.shutdown()).await);
    }

    async fn read_all<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        parser: &mut dyn ConnectionParser,
    ) -> Result<(), Closed> {
        let mut buffer = Vec::new();
        let mut memory = self.senders.app.budget.share();
        loop {
            if !self.may_read().await? {
                break;
            }
            let room = buffer.capacity().max(MIN_BUFFER_BYTES);
            if buffer.len() == buffer.capacity() {
                // Twice the room, so that a large message is copied few times.
                let more = if buffer.is_empty() { room } else { buffer.len() };
                self.take_memory(&mut memory, buffer.len() + more).await?;
                buffer.reserve_exact(more);
            }
            let count = tokio::select! {
                count = stream.read_buf(&mut buffer) => count.map_err(|_| Closed),
                () = self.shutdown.drain.cancelled() => break,
            };
            // An error of the connection ends it. What came before is stored.
            let count = count.unwrap_or(0);
            self.last_byte.note();
            self.last_byte.set_busy(true);
            let stored = self.store_messages(stream, parser, &mut buffer, count == 0).await;
            self.last_byte.set_busy(false);
            stored?;
            if count == 0 {
                return Ok(());
            }
            if buffer.is_empty() && buffer.capacity() > FREE_BUFFER_BYTES {
                buffer = Vec::new();
                memory.shrink_to(0);
            }
        }
        let last = self.read_rest(stream, &mut buffer, parser.max_message_bytes());
        drop(timeout(MAX_LAST_READ, last).await);
        self.store_messages(stream, parser, &mut buffer, true).await
    }

    /// Reads what has arrived when the stop begins. The peer believes that it is stored.
    async fn read_rest(&self, stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, max: usize) {
        while buffer.len() < max {
            match timeout(LAST_READ_TIMEOUT, stream.read_buf(buffer)).await {
                Ok(Ok(count)) if count > 0 => {}
                _ => return,
            }
        }
    }

    /// Waits until the connection may be read. Returns false when the stop begins.
    async fn may_read(&mut self) -> Result<bool, Closed> {
        let mut has_refused = false;
        loop {
            self.senders.refresh(&mut self.rules);
            let problem = match self.rules.admit(&self.senders, self.client, false) {
                Ok(()) => self.senders.store_failure().map(Problem::from),
                Err(Refusal::Maintenance) => Some(Refusal::Maintenance.into()),
                Err(refusal) => {
                    self.senders.refuse(&self.rules, self.client, &refusal.into(), 1);
                    return Err(Closed);
                }
            };
            let Some(problem) = problem else { return Ok(true) };
            if !std::mem::replace(&mut has_refused, true) {
                self.senders.refuse(&self.rules, self.client, &problem, 1);
            }
            if self.is_stopping_after(PAUSE).await {
                return Ok(false);
            }
        }
    }

    /// Takes memory for a large message.
    async fn take_memory(&self, memory: &mut crate::http::MemoryShare, bytes: usize) -> Result<(), Closed> {
        let wanted = bytes.saturating_sub(FREE_BUFFER_BYTES) as u64;
        let more = wanted.saturating_sub(memory.bytes());
        let limit = self.rules.policy.files.http.max_body_memory;
        if more == 0 {
            return Ok(());
        }
        memory.wait_for(more, limit).await.map_err(|problem| {
            self.senders.refuse(&self.rules, self.client, &problem, 1);
            Closed
        })
    }

    /// Stores the complete messages at the start of `buffer`, removes them, and answers.
    async fn store_messages<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        parser: &mut dyn ConnectionParser,
        buffer: &mut Vec<u8>,
        is_end: bool,
    ) -> Result<(), Closed> {
        let mut start = 0;
        loop {
            let input = buffer.get(start..).unwrap_or_default();
            if input.is_empty() && !is_end {
                break;
            }
            self.senders.refresh(&mut self.rules);
            let rules = self.rules.clone();
            let (mut batch, mut answer) = (Batch::default(), Vec::new());
            let outcome = parser.read(input, is_end, &rules.read_rules(), &mut batch, &mut answer);
            self.store(&rules, &batch).await?;
            self.answer(stream, &answer).await?;
            match outcome {
                Ok(0) => break,
                Ok(count) => start += count,
                Err(error) => {
                    self.senders.refuse(&self.rules, self.client, &problem_of(error), 1);
                    return Err(Closed);
                }
            }
        }
        buffer.drain(..start.min(buffer.len()));
        if is_end && !buffer.is_empty() {
            let problem = Problem::bad_request("The connection ended within a message.");
            let problem = problem.counted_as(Reason::IncompleteBody);
            self.senders.refuse(&self.rules, self.client, &problem, 1);
        }
        if buffer.len() > parser.max_message_bytes() {
            let problem = Problem::too_large(parser.max_message_bytes() as u64);
            self.senders.refuse(&self.rules, self.client, &problem, 1);
            return Err(Closed);
        }
        Ok(())
    }

    /// Stores the entries of `batch`, as fast as the limits of the key allow.
    async fn store(&self, rules: &SenderRules, batch: &Batch<'_>) -> Result<(), Closed> {
        if batch.len() == 0 {
            return Ok(());
        }
        let records = &self.senders.app.instance_state.records;
        records.add_changes(batch.changes);
        let entries = batch.entries(rules.policy.log.level);
        if entries.len() < batch.len() {
            records.add_filtered((batch.len() - entries.len()) as u64);
        }
        let (mut rest, mut has_refused) = (entries.as_slice(), false);
        let mut current = rules.clone();
        while !rest.is_empty() {
            self.senders.refresh(&mut current);
            let (admitted, refusal) = current.count(&self.senders, self.client, rest.len()).await;
            let (now, later) = rest.split_at(admitted);
            self.append(rules, now).await?;
            rest = later;
            let Some(refusal) = refusal else { continue };
            let waits = matches!(refusal, Refusal::TooManyRequests { .. } | Refusal::Maintenance);
            if !waits || !std::mem::replace(&mut has_refused, true) {
                self.senders.refuse(rules, self.client, &refusal.into(), 1);
            }
            if !waits || self.is_stopping_after(PAUSE).await {
                return Err(Closed);
            }
        }
        Ok(())
    }

    /// Appends entries and waits until they are durable. Tries again until the log can be written.
    async fn append(&self, rules: &SenderRules, entries: &[Entry<'_>]) -> Result<(), Closed> {
        if entries.is_empty() {
            return Ok(());
        }
        let client = self.client.text();
        let route = self.senders.dialect.name();
        let source = Source { client: client.as_str(), key: rules.key_name(), route };
        let mut has_refused = false;
        loop {
            let store = &*self.senders.app.store;
            let error = match store::begin(store, &source, entries).await.await {
                Ok(_) => return Ok(()),
                Err(StoreError::Closed) => return Err(Closed),
                Err(error) => error,
            };
            if !std::mem::replace(&mut has_refused, true) {
                self.senders.refuse(rules, self.client, &error.into(), 1);
            }
            if self.is_stopping_after(PAUSE).await {
                return Err(Closed);
            }
        }
    }

    /// Sends an answer. A peer that does not take it within `response_timeout` is closed.
    async fn answer(&self, stream: &mut (impl AsyncWrite + Unpin), answer: &[u8]) -> Result<(), Closed> {
        if answer.is_empty() {
            return Ok(());
        }
        let sending = async {
            stream.write_all(answer).await?;
            stream.flush().await
        };
        match timeout(self.rules.policy.files.http.response_timeout, sending).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Closed),
        }
    }

    /// Waits for `duration`. Returns true when the stop begins.
    async fn is_stopping_after(&self, duration: Duration) -> bool {
        tokio::select! {
            () = sleep(duration) => false,
            () = self.shutdown.drain.cancelled() => true,
        }
    }
}
