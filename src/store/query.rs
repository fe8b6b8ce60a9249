//! Defines queries and their answers, independent of the engine and of the route.

use std::fmt;
use std::num::NonZeroU64;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::cursor::Cursor;
use super::error::StoreError;
use super::selection::Selection;

/// The direction in which records are returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Oldest first. A cursor selects the records after it.
    #[default]
    Ascending,
    /// Newest first. A cursor selects the records before it, without the record that it names.
    Descending,
}

/// Selects records, their direction and their form.
pub struct Query {
    /// Conditions on each record.
    pub selection: Selection,
    /// The direction in which records are returned.
    pub order: Order,
    /// The cursor at which the caller stopped reading before.
    pub cursor: Option<Cursor>,
    /// Maximum number of records.
    pub limit: Option<NonZeroU64>,
    /// The choice of records when more than `limit` are selected, and the record at which the
    /// caller continues.
    pub extent: Extent,
    /// The form in which each record is written.
    pub form: Form,
    /// Called after each step of work that precedes the first byte of the answer.
    pub progress: Progress,
}

/// Called after each step of work for a waiting caller.
pub type Progress = Box<dyn Fn() + Send + Sync>;

/// The choice of records when more than the limit are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The first records in the order of the query. The caller continues after the last one.
    First,
    /// The newest records, in either order. The caller continues after the newest one.
    Newest,
}

/// The form of an answer: `open`, the records with `between` between them, `close`.
pub struct Form {
    /// Written before the first record.
    pub open: &'static str,
    /// Written between two records.
    pub between: &'static str,
    /// Written after the last record.
    pub close: &'static str,
    /// Writes one record. `None`: its line, with the line end.
    pub write: Option<Writer>,
}

/// Appends one record to a buffer, from its line without the line end and its cursor.
pub type Writer = Box<dyn Fn(&mut Vec<u8>, &[u8], Cursor) + Send + Sync>;

impl Form {
    /// The lines of the log, unchanged.
    pub const LINES: Self = Self { open: "", between: "", close: "", write: None };
}

/// The answer to a query.
pub struct Reading {
    /// The cursor after the last record returned, or after the newest one with [`Extent::Newest`].
    /// Without a record: where reading stopped.
    pub stopped: Cursor,
    /// Bytes of all blocks together, when that is known.
    pub len: Option<u64>,
    /// The records in the form of the query. The stream may fail when the log is cleared meanwhile.
    /// It never returns records of another state. When the caller drops it, reading ends with the
    /// current block.
    pub blocks: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading")
            .field("stopped", &self.stopped)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
