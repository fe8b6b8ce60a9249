//! A part of a log as somebody who follows it takes it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::cursor::Cursor;

/// Whole lines that follow one another, with the cursor of each.
#[derive(Clone)]
pub struct LineChunk {
    /// the lines with their line ends; empty where nothing follows
    pub lines: Bytes,
    /// the cursor that they follow
    pub after: Cursor,
    cursors: Arc<dyn Fn(u64) -> Cursor + Send + Sync>,
}

impl LineChunk {
    pub(crate) fn new(
        lines: Bytes,
        after: Cursor,
        cursors: impl Fn(u64) -> Cursor + Send + Sync + 'static,
    ) -> Self {
        Self { lines, after, cursors: Arc::new(cursors) }
    }

    /// The cursor of the line that ends, its line end included, at this byte of [`Self::lines`].
    #[must_use]
    pub fn cursor_at(&self, end: usize) -> Cursor {
        if end == 0 { self.after } else { (self.cursors)(end as u64) }
    }
}

impl fmt::Debug for LineChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piece").field("after", &self.after).field("bytes", &self.lines.len()).finish()
    }
}
