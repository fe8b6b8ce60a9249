//! Defines an optional capability of an engine, the log as one sequence of bytes. With it, a client
//! can continue a download where it broke off.

use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::cursor::Cursor;
use super::error::StoreError;

/// Reads the bytes of the log in any order and more than once.
pub trait RawFile: Send + Sync {
    /// Returns the log as it is now.
    ///
    /// # Errors
    /// Fails when the log can't be read.
    fn snapshot(&self) -> BoxFuture<'_, Result<Snapshot, StoreError>>;
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
