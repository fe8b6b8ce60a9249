//! Defines the contract of an engine. Appending, reading and administration are traits of their own,
//! so that each part of the service sees what it needs. [`LogStore`] is their sum. [`RawFile`] is a
//! capability that an engine may lack.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use tokio::task::JoinHandle;

use super::commit::{AppendTicket, Saved};
use super::cursor::{Cursor, CursorKey};
use super::details::Details;
use super::error::{QueueFull, ReadError, StoreError};
use super::line_chunk::LineChunk;
use super::query::{Progress, Query, Reading};
use super::raw_file::RawFile;
use super::selection::Selection;
use super::statistics::Statistics;
use crate::config::LogEntry;
use crate::record::Entry;

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

/// The places that the service gives an engine. An engine that keeps nothing on this machine
/// ignores them.
#[derive(Debug, Clone)]
pub struct Places {
    /// The directory of log files with a relative path.
    pub log_dir: PathBuf,
    /// The file of this log in the state directory.
    pub state_path: PathBuf,
}

/// Takes records.
pub trait AppendLog: Send + Sync {
    /// Adds `entries` to the current batch, in order and all or nothing. The engine adds time,
    /// process and sequence number. The ticket completes when they have reached what the durability
    /// of the log names.
    ///
    /// # Errors
    /// [`QueueFull`] when the bounded queue has no room. Then the store took nothing.
    fn try_append(&self, source: &Source<'_>, entries: &[Entry<'_>]) -> Result<AppendTicket, QueueFull>;

    /// Returns the lines that these entries would be now, without their line ends. Stores nothing.
    fn preview(&self, source: &Source<'_>, entries: &[Entry<'_>]) -> Vec<String>;

    /// Completes when the queue may have room again.
    fn room(&self) -> BoxFuture<'static, ()>;

    /// Returns the number of records stored since the store was opened.
    fn stored(&self) -> u64;

    /// Returns why records can't be stored at the moment. The engine finds out by itself when they
    /// can be stored again.
    fn failure(&self) -> Option<StoreError>;
}

/// Returns records, in their order.
pub trait ReadLog: Send + Sync {
    /// Returns the cursor at which the log ends now.
    fn end(&self) -> Cursor;

    /// Returns the key that encodes and decodes the cursors of this log.
    fn cursor_key(&self) -> CursorKey;

    /// Returns whether a record of this log may lie between `cursor` and `other`, in this order.
    fn is_before(&self, cursor: Cursor, other: Cursor) -> bool;

    /// Returns size and age.
    fn details(&self) -> BoxFuture<'_, Details>;

    /// Returns counters and the present state. Waits at most a fraction of a second for the engine.
    fn statistics(&self) -> BoxFuture<'_, Statistics>;

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

    /// Checks whether another program changed the log, so that followers get the lines that it added.
    /// Completes when the log is as that program left it, or can't be checked. Without a call, the next
    /// append or read notices the change.
    fn notice_changes(&self) -> BoxFuture<'static, ()> {
        std::future::ready(()).boxed()
    }

    /// Returns about `size` bytes of whole lines after the cursor `after`, or none at the end of
    /// the log. Followers that start at different cursors soon share the same chunks.
    ///
    /// # Errors
    /// Fails as [`Self::read`] does.
    fn line_chunk(&self, after: Cursor, size: u64) -> BoxFuture<'static, Result<LineChunk, ReadError>>;

    /// Returns the lines before `at` that belong to the same record as the line after it. There are
    /// none when that line begins like a record, or belongs to no record.
    ///
    /// # Errors
    /// Fails as [`Self::read`] does.
    fn open_record(&self, at: Cursor) -> BoxFuture<'static, Result<LineChunk, ReadError>>;

    /// Checks that the log can be read on from `cursor`.
    ///
    /// # Errors
    /// Fails as [`Self::read`] does.
    fn check_cursor(&self, cursor: Cursor) -> BoxFuture<'_, Result<(), ReadError>> {
        self.line_chunk(cursor, 1).map_ok(drop).boxed()
    }

    /// Returns the cursor at which a follower of `selection` starts. With `latest` it is before as
    /// many of the last selected records, otherwise before the first record of the selected time.
    /// Without either, it is the end of the log.
    ///
    /// # Errors
    /// Fails when the log can't be read.
    fn begin(
        &self,
        selection: Selection,
        latest: Option<NonZeroU64>,
        progress: Progress,
    ) -> BoxFuture<'_, Result<Cursor, StoreError>>;
}

/// Changes the log as a whole. Each change follows all appends that were taken before it, and
/// precedes all later ones.
pub trait ManageLog: Send + Sync {
    /// Removes every line.
    ///
    /// # Errors
    /// Fails when the log keeps its lines, or the store is closed.
    fn clear(&self) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Checks whether another program removed what the engine keeps beside the lines, and makes it
    /// again.
    ///
    /// # Errors
    /// Fails when it can't be made again, or the store is closed.
    fn check_state(&self) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Applies the options of `log` that concern the engine. Does nothing when they did not change.
    ///
    /// # Errors
    /// Fails when an option can't be applied. Then the old options stay.
    fn reconfigure(&self, log: &LogEntry) -> BoxFuture<'static, Result<(), StoreError>>;

    /// Completes all appends, makes them durable, and closes the store. Later appends fail with
    /// [`StoreError::Closed`].
    ///
    /// # Errors
    /// Fails when the last records could not be made durable.
    fn close(&self) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// An engine that keeps one log.
pub trait LogStore: AppendLog + ReadLog + ManageLog + 'static {
    /// Returns the log as one sequence of bytes, if the engine keeps such a sequence.
    fn raw_file(&self) -> Option<&dyn RawFile> {
        None
    }
}

/// An open log, and the task of its engine, which ends after [`ManageLog::close`].
pub type Opened = (Arc<dyn LogStore>, JoinHandle<()>);

/// Stores `entries`. Waits for room and for durability.
///
/// # Errors
/// Fails when nothing was stored, and with [`StoreError::Unknown`] when the records may be stored.
pub async fn append(
    store: &dyn AppendLog,
    source: &Source<'_>,
    entries: &[Entry<'_>],
) -> Result<Saved, StoreError> {
    begin(store, source, entries).await.await
}

/// Adds `entries` to the queue. This waits for room, and the ticket waits for durability.
pub async fn begin(store: &dyn AppendLog, source: &Source<'_>, entries: &[Entry<'_>]) -> AppendTicket {
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
