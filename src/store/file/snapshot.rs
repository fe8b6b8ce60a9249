//! The log as it stood at one moment: all its bytes as one sequence of whole lines, oldest first, whatever they are
//! kept in. Readers count in offsets, from 0 at the first byte that is left; cursors name the same places for longer
//! than an image lives.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::published::{Published, View};
use crate::store::Cursor;

/// One state of the log, readable until it is cleared. Segments may be compressed meanwhile; those that are retired
/// may be readable for a while.
#[derive(Debug, Clone)]
pub(crate) struct LogSnapshot {
    view: Arc<View>,
    pub(crate) seen: Published,
}

/// What a cursor names was cleared, or left the log in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl LogSnapshot {
    /// The log as it stands now.
    pub(crate) fn take(view: &Arc<View>) -> Self {
        Self { view: Arc::clone(view), seen: view.get() }
    }

    /// Bytes.
    pub(crate) fn len(&self) -> u64 {
        self.rotated() + self.seen.len
    }

    /// Bytes in segments: what stands before the active file.
    pub(crate) fn rotated(&self) -> u64 {
        self.seen.segments.len()
    }

    /// Records that the log has stored by now, since it was opened.
    pub(crate) fn stored_now(&self) -> u64 {
        self.view.lock().stored
    }

    /// Where its first byte stands.
    pub(crate) fn start(&self) -> Cursor {
        self.cursor_at(0)
    }

    /// Where it ends.
    pub(crate) const fn end(&self) -> Cursor {
        self.seen.end()
    }

    /// The bytes of `range`, all of them. Blocks.
    ///
    /// # Errors
    /// Also when the log was cleared or replaced since the image was taken: never bytes of another time.
    pub(crate) fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut block = vec![0; (range.end - range.start) as usize];
        self.read_into(&mut block, range.start)?;
        Ok(block)
    }

    /// As [`Self::read`] of the bytes from `offset` on, into a buffer that is used again. Blocks.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn read_into(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (mut rest, mut at) = (buffer, offset);
        while let Some((segment, inside)) = self.seen.segments.locate(at).filter(|_| !rest.is_empty()) {
            let want = (segment.len - inside).min(rest.len() as u64);
            let (part, after) = rest.split_at_mut(want as usize);
            self.view.read_segment(&self.seen, segment, part, inside)?;
            (at, rest) = (at + want, after);
        }
        if rest.is_empty() { Ok(()) } else { self.view.read_exact_at(&self.seen, rest, at - self.rotated()) }
    }

    /// The name of an offset.
    pub(crate) fn cursor_at(&self, offset: u64) -> Cursor {
        self.seen.segments.cursor_at(offset).unwrap_or_else(|| Cursor {
            epoch: self.seen.epoch,
            position: self.seen.base + (offset - self.rotated()),
        })
    }

    /// The offset that a cursor names.
    ///
    /// # Errors
    /// [`Gone`] when what follows it is no longer what followed it when it was given.
    pub(crate) fn offset_of(&self, cursor: Cursor) -> Result<u64, Gone> {
        let seen = &self.seen;
        let active = || {
            let inside = cursor.position.checked_sub(seen.base).filter(|inside| *inside <= seen.len);
            inside.filter(|_| cursor.epoch == seen.epoch).map(|inside| self.rotated() + inside)
        };
        seen.segments.offset_of(cursor).or_else(active).ok_or(Gone)
    }
}
