//! Why an engine did not do what was asked.

use std::io;

use super::cursor::Cursor;

/// Why nothing was stored, read or cleared. Every variant is a temporary state: the same request may succeed later.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// a write, sync or truncation failed and was undone
    #[error("the log can't be written: {0}")]
    Write(String),
    /// a read failed
    #[error("the log can't be read: {0}")]
    Read(String),
    /// the disk has less space left than it should have
    #[error("the disk has less space left than `min_free`")]
    LowSpace,
    /// the service is stopping
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

/// The queue is full: wait for [`LogStore::room`], then try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// what the cursor names was cleared, or left the log in another way
    #[error("what the cursor names is no longer in the log")]
    Gone {
        /// the cursor to read everything with that is left
        oldest: Cursor,
    },
    /// the log can't be read at the moment
    #[error(transparent)]
    Store(#[from] StoreError),
}
