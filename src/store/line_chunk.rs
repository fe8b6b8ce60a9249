//! Defines the part of a log that a follower reads at once.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::cursor::Cursor;

/// Whole lines that follow one another, with the cursor of each.
#[derive(Clone)]
pub struct LineChunk {
    /// The lines with their line ends. Empty: the log ends at `after`.
    pub lines: Bytes,
    /// The cursor that the lines follow.
    pub after: Cursor,
    cursors: Arc<dyn Fn(u64) -> Cursor + Send + Sync>,
}

impl LineChunk {
    /// Returns about how many bytes a chunk of about `size` bytes has that begins at `position`. Its
    /// end depends on positions only, so followers that start at different cursors soon share the
    /// same chunks.
    pub(super) const fn bytes_from(position: u64, size: u64) -> u64 {
        (position + size / 2) / size * size + size - position
    }

    pub(crate) fn new(
        lines: Bytes,
        after: Cursor,
        cursors: impl Fn(u64) -> Cursor + Send + Sync + 'static,
    ) -> Self {
        Self { lines, after, cursors: Arc::new(cursors) }
    }

    /// Returns the cursor after the line that ends, its line end included, at byte `end` of
    /// [`Self::lines`].
    #[must_use]
    pub fn cursor_at(&self, end: usize) -> Cursor {
        if end == 0 { self.after } else { (self.cursors)(end as u64) }
    }
}

impl fmt::Debug for LineChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineChunk").field("after", &self.after).field("bytes", &self.lines.len()).finish()
    }
}
