//! Defines the errors of an engine.

use std::io;

use super::cursor::Cursor;

/// Why the store did not append, read or clear. Every variant is temporary, so the same request may
/// succeed later.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A write, sync or truncation failed and was undone.
    #[error("the log can't be written: {0}")]
    Write(String),
    /// A read failed.
    #[error("the log can't be read: {0}")]
    Read(String),
    /// The disk has fewer free bytes than `min_free`.
    #[error("the disk has less space left than `min_free`")]
    LowSpace,
    /// The service is stopping.
    #[error("the log is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn write(error: &io::Error) -> Self {
        Self::Write(error.to_string())
    }

    pub(crate) fn read(error: &io::Error) -> Self {
        Self::Read(error.to_string())
    }
}

/// The queue of appends has no room left. The caller waits for
/// [`LogStore::room`](super::LogStore::room) and tries again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// Why a query has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The record that the cursor names was cleared, or left the log in another way.
    #[error("what the cursor names is no longer in the log")]
    Gone {
        /// The cursor before the oldest record that is left.
        oldest: Cursor,
    },
    /// The log can't be read at the moment.
    #[error(transparent)]
    Store(#[from] StoreError),
}
