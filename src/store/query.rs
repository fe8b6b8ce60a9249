//! What a reader wants of a log, and what it gets: the seam between the routes that read and an engine.

use std::fmt;
use std::num::NonZeroU64;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::cursor::Cursor;
use super::error::StoreError;
use super::selection::Selection;

/// The direction in which records are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// oldest first; a cursor means what follows it
    #[default]
    Ascending,
    /// newest first; a cursor means what precedes it, without the record that it was given for
    Descending,
}

/// Which records, in which direction and form.
pub struct Query {
    /// conditions on each
    pub selection: Selection,
    /// the direction in which they are given
    pub order: Order,
    /// where the reader stopped before: what follows, or precedes where the order descends
    pub cursor: Option<Cursor>,
    /// at most so many
    pub limit: Option<NonZeroU64>,
    /// which ones, where there are more, and which one the reader goes on from
    pub extent: Extent,
    /// how each is written
    pub form: Form,
    /// called on the way to the first byte of the answer, each time that something was done
    pub progress: Progress,
}

/// Called each time that something was done for a reader who waits.
pub type Progress = Box<dyn Fn() + Send + Sync>;

/// Which records are given where there are more than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// those that come first in the order asked for; a reader goes on after the last one
    First,
    /// the newest, in either order; a reader goes on after the newest of them
    Newest,
}

/// How records are written: `open`, the records with `between` between them, `close`.
pub struct Form {
    /// before the first record
    pub open: &'static str,
    /// between two records
    pub between: &'static str,
    /// after the last record
    pub close: &'static str,
    /// appends one record: its line, without the line end, and its cursor. `None` = its line, with the line end.
    pub write: Option<Writer>,
}

/// Appends what a line is given as.
pub type Writer = Box<dyn Fn(&mut Vec<u8>, &[u8], Cursor) + Send + Sync>;

impl Form {
    /// The lines as they stand in the log.
    pub const LINES: Self = Self { open: "", between: "", close: "", write: None };
}

/// The answer to a query.
pub struct Reading {
    /// after the last record that is given, or, where [`Extent::Newest`] says so, after the newest; where nothing is
    /// given, where reading stopped
    pub stopped: Cursor,
    /// bytes of all blocks together, where that is known
    pub len: Option<u64>,
    /// what was asked for. Fails when the log is cleared meanwhile. Dropped, reading ends with the block in hand.
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
