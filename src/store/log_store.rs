//! Defines the trait that separates the service from an engine, and the types of its methods.

use std::num::NonZeroU64;
use std::ops::Range;
use std::path::PathBuf;
use std::time::SystemTime;

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
use crate::record::{Entry, LineFormat};

/// The sender of the entries of one append, and the route that they came by.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The client's address.
    pub client: &'a str,
    /// The name of the key.
    pub key: &'a str,
    /// The route.
    pub route: &'a str,
}

/// The settings of a store. All of them can change while the store is open.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The path of the active file.
    pub path: PathBuf,
    /// The format of new lines.
    pub format: LineFormat,
    /// The durability of a completed append.
    pub durability: Durability,
    /// Rotation and retention. `None`: the active file grows without limit.
    pub rotate: Option<Rotate>,
}

/// Size and age of a log, which the store knows without reading its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// Number of lines. It is a lower bound while `counting` is true.
    pub count: u64,
    /// True while the lines that the log had when the store was opened are being counted.
    pub counting: bool,
    /// Bytes of all lines.
    pub size: u64,
    /// Bytes of all files that hold the lines.
    pub size_on_disk: u64,
    /// Number of rotated segments.
    pub segments: u64,
    /// Time of the first line, RFC 3339.
    pub oldest: Option<String>,
    /// Time of the last line, RFC 3339.
    pub newest: Option<String>,
}

/// The whole log at one moment.
pub struct Snapshot {
    /// Identifies this state of this log. It changes when lines are added or cleared.
    pub etag: String,
    /// Bytes of all lines.
    pub len: u64,
    /// When the last line was added.
    pub modified: SystemTime,
    /// The cursor after the last line.
    pub end: Cursor,
    /// Reads parts of the snapshot.
    pub bytes: Box<dyn ByteSource>,
}

/// Reads the bytes of one snapshot.
pub trait ByteSource: Send + Sync {
    /// Streams the bytes of `range` in constant memory. The stream fails when the log is cleared
    /// meanwhile, so it never returns bytes of another state.
    fn stream(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, StoreError>>;
}

/// An engine that keeps one log.
pub trait LogStore: Send + Sync + 'static {
    /// Adds `entries` to the current batch, in order and all or nothing. The engine adds time,
    /// process and sequence number. The ticket completes when they are durable.
    ///
    /// # Errors
    /// [`QueueFull`] when the bounded queue has no room. Then the store took nothing.
    fn try_append(&self, source: &Source<'_>, entries: &[Entry<'_>]) -> Result<AppendTicket, QueueFull>;

    /// Completes when the queue may have room again.
    fn room(&self) -> BoxFuture<'static, ()>;

    /// Returns the number of records stored since the store was opened.
    fn stored(&self) -> u64;

    /// Returns the cursor at which the log ends now.
    fn end(&self) -> Cursor;

    /// Returns the key that encodes and decodes the cursors of this log.
    fn cursor_key(&self) -> CursorKey;

    /// Returns size and age.
    fn details(&self) -> BoxFuture<'_, Details>;

    /// Returns counters and the present state. Waits at most a fraction of a second for the disk.
    fn statistics(&self) -> BoxFuture<'_, Statistics>;

    /// Returns the log as it is now, to be read in any order and more than once.
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>>;

    /// Returns the records that `query` selects from the log as it is now. Reads no more of the log
    /// than it must.
    ///
    /// # Errors
    /// Fails when the log can't be read, or no longer holds the record that the cursor of the query
    /// names.
    fn read(&self, query: Query) -> BoxFuture<'_, Result<Reading, ReadError>>;

    /// Completes when lines were added, or the log was cleared or replaced, since the last
    /// completion. Only one caller may wait at a time.
    fn changed(&self) -> BoxFuture<'static, ()>;

    /// Returns about `size` bytes of whole lines after the cursor `after`, or none at the end of
    /// the log. Followers that start at different cursors soon share the same chunks.
    fn line_chunk(&self, after: Cursor, size: u64) -> BoxFuture<'static, Result<LineChunk, ReadError>>;

    /// Returns the cursor at which a follower of `selection` starts. With `latest` it is before as
    /// many of the last selected records, otherwise before the first record of the selected time.
    /// Without either, it is the end of the log.
    fn begin(
        &self,
        selection: Selection,
        latest: Option<NonZeroU64>,
        progress: Progress,
    ) -> BoxFuture<'_, Result<Cursor, StoreError>>;

    /// Removes every line, after all earlier appends have completed.
    fn clear(&self) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Applies new settings after all earlier appends have completed. On failure the old ones stay.
    fn reconfigure(&self, settings: Settings) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Completes all appends, syncs, and closes the store.
    fn close(&self) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// Stores `entries`. Waits for room and for durability.
///
/// # Errors
/// Fails when nothing was stored.
pub async fn append(
    store: &dyn LogStore,
    source: &Source<'_>,
    entries: &[Entry<'_>],
) -> Result<Saved, StoreError> {
    begin(store, source, entries).await.await
}

/// Adds `entries` to the queue. This waits for room, and the ticket waits for durability.
pub async fn begin(store: &dyn LogStore, source: &Source<'_>, entries: &[Entry<'_>]) -> AppendTicket {
    loop {
        if let Ok(ticket) = store.try_append(source, entries) {
            return ticket;
        }
        // Subscribed before the second attempt, so that room that appears in between is not missed.
        let room = store.room();
        match store.try_append(source, entries) {
            Ok(ticket) => return ticket,
            Err(QueueFull) => room.await,
        }
    }
}
