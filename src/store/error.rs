//! Defines the errors of an engine.

use std::io;
use std::sync::Arc;

use super::cursor::Cursor;

/// Why the store did not append, read or clear. Every variant is temporary, so the same request may
/// succeed later.
///
/// All appends of a batch get the same error, so the cause is shared.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A write, sync or truncation failed and was undone, so nothing was stored.
    #[error("the log can't be written: {0}")]
    Write(#[source] Arc<io::Error>),
    /// A write failed, and the engine does not know whether the records are stored. Either the write
    /// could not be undone, or its outcome did not arrive in time. A retry may store the records twice.
    #[error("it is unknown whether the log was written: {0}")]
    Unknown(#[source] Arc<io::Error>),
    /// A read failed.
    #[error("the log can't be read: {0}")]
    Read(#[source] Arc<io::Error>),
    /// The disk has fewer free bytes than `min_free`.
    #[error("the disk has less space left than `min_free`")]
    LowSpace,
    /// The service is stopping.
    #[error("the log is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn write(error: io::Error) -> Self {
        Self::Write(Arc::new(error))
    }

    pub(crate) fn unknown(error: io::Error) -> Self {
        Self::Unknown(Arc::new(error))
    }

    pub(crate) fn read(error: io::Error) -> Self {
        Self::Read(Arc::new(error))
    }

    /// Returns the error of the system that caused this one, if one did.
    pub(crate) fn cause(&self) -> Option<&io::Error> {
        match self {
            Self::Write(error) | Self::Unknown(error) | Self::Read(error) => Some(error),
            Self::LowSpace | Self::Closed => None,
        }
    }
}

/// The queue of appends has no room left. The caller waits for
/// [`AppendLog::room`](super::AppendLog::room) and tries again.
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

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn every_clone_of_an_error_keeps_its_source() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        for error in [StoreError::write(full()), StoreError::unknown(full()), StoreError::read(full())] {
            let clone = error.clone();
            let source = clone.source().and_then(|source| source.downcast_ref::<Arc<io::Error>>());
            assert_eq!(source.map(|source| source.kind()), Some(io::ErrorKind::StorageFull), "{error}");
            assert_eq!(clone.cause().map(io::Error::kind), Some(io::ErrorKind::StorageFull));
        }
        assert!(StoreError::Closed.source().is_none() && StoreError::Closed.cause().is_none());
    }
}
