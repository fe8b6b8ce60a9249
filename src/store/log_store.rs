//! The seam between the service and an engine: what an engine does, and the types that it takes and gives.

use std::num::NonZeroU64;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::commit::{AppendTicket, Saved};
use super::cursor::{Cursor, CursorKey};
use super::error::{QueueFull, ReadError, StoreError};
use super::line_chunk::LineChunk;
use super::query::{Progress, Query, Reading};
use super::selection::Selection;
use super::statistics::Statistics;
use crate::config::{Durability, Rotate};
use crate::record::{Level, LineFormat};

/// One message to store; the engine adds time, process and sequence number.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// how severe
    pub level: Level,
    /// any text
    pub message: &'a str,
}

/// Who sent the entries of one append, and through which route.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// the client's address
    pub client: &'a str,
    /// the key's name
    pub key: &'a str,
    /// the route
    pub route: &'a str,
}

/// What of the configuration steers a store. All of it can change while the store is open.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// the active file
    pub path: PathBuf,
    /// how new lines look
    pub format: LineFormat,
    /// what a completed append means
    pub durability: Durability,
    /// rotation and retention; `None` = the file grows for ever
    pub rotate: Option<Rotate>,
}

/// Size and age of a log; taken without touching its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// lines; a lower bound while `counting`
    pub count: u64,
    /// the lines that were there at the start are still being counted
    pub counting: bool,
    /// bytes of all lines
    pub size: u64,
    /// bytes of all files that hold them
    pub size_on_disk: u64,
    /// rotated segments
    pub segments: u64,
    /// time of the first line, RFC 3339
    pub oldest: Option<String>,
    /// time of the last line, RFC 3339
    pub newest: Option<String>,
}

/// The whole log as it stood at one moment.
pub struct Snapshot {
    /// identifies this state of this file: changes when lines are added or cleared
    pub etag: String,
    /// bytes
    pub len: u64,
    /// when the last line was added
    pub modified: std::time::SystemTime,
    /// where the log ends
    pub end: Cursor,
    /// reads a part of it
    pub bytes: Box<dyn ByteSource>,
}

/// Bytes of one snapshot.
pub trait ByteSource: Send + Sync {
    /// Streams the bytes `range` in constant memory. The stream fails when the log is cleared meanwhile: it never
    /// gives bytes of another time as if they were these.
    fn stream(&self, range: std::ops::Range<u64>) -> BoxStream<'static, Result<Bytes, StoreError>>;
}

/// An engine that keeps one log.
pub trait LogStore: Send + Sync + 'static {
    /// Puts `entries` into the batch in hand, in order and all or nothing. The ticket completes when they are durable.
    ///
    /// # Errors
    /// [`Full`] when the bounded queue has no room; nothing was taken then.
    fn try_append(&self, source: &Source<'_>, entries: &[Entry<'_>]) -> Result<AppendTicket, QueueFull>;

    /// Completes when the queue may have room again.
    fn room(&self) -> BoxFuture<'static, ()>;

    /// Records stored since the store was opened.
    fn stored(&self) -> u64;

    /// Where the log ends now.
    fn end(&self) -> Cursor;

    /// The cursor for a position of a completed append.
    fn cursor_key(&self) -> CursorKey;

    /// Size and age.
    fn details(&self) -> BoxFuture<'_, Details>;

    /// Counts and present state, for those who watch. Waits for no disk longer than a moment.
    fn statistics(&self) -> BoxFuture<'_, Statistics>;

    /// The log as it stands now, to be read in any order and more than once.
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>>;

    /// The records that `query` asks for, as the log stands now; reads no more of it than it must.
    ///
    /// # Errors
    /// When the log can't be read, or no longer holds what the query's cursor names.
    fn read(&self, query: Query) -> BoxFuture<'_, Result<Reading, ReadError>>;

    /// Completes when lines were added, or the log was cleared or replaced, since it completed last. For one caller.
    fn changed(&self) -> BoxFuture<'static, ()>;

    /// What follows `after`: about `size` bytes of whole lines, none where the log ends. Those who ask from different
    /// places are soon given the same pieces.
    fn piece(&self, after: Cursor, size: u64) -> BoxFuture<'static, Result<LineChunk, ReadError>>;

    /// Where somebody begins who follows `selection`: before the `latest` so many of its records, where they are asked
    /// for, else before the first one of its time; where there are none, at the end.
    fn begin(
        &self,
        selection: Selection,
        latest: Option<NonZeroU64>,
        progress: Progress,
    ) -> BoxFuture<'_, Result<Cursor, StoreError>>;

    /// Removes every line, after everything appended before has completed.
    fn clear(&self) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Applies other settings after everything appended before has completed. On failure the old ones stay.
    fn reconfigure(&self, settings: Settings) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Completes everything appended, syncs, and stops.
    fn close(&self) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// Stores `entries`, waiting for room and for durability.
///
/// # Errors
/// When nothing was stored.
pub async fn append(
    store: &dyn LogStore,
    source: &Source<'_>,
    entries: &[Entry<'_>],
) -> Result<Saved, StoreError> {
    begin(store, source, entries).await.await
}

/// Puts `entries` into the queue, waiting for room; they are not needed any more then. The ticket waits for durability.
pub async fn begin(store: &dyn LogStore, source: &Source<'_>, entries: &[Entry<'_>]) -> AppendTicket {
    loop {
        if let Ok(ticket) = store.try_append(source, entries) {
            return ticket;
        }
        // Listening before trying once more: room that appears in between is not missed.
        let room = store.room();
        match store.try_append(source, entries) {
            Ok(ticket) => return ticket,
            Err(QueueFull) => room.await,
        }
    }
}
