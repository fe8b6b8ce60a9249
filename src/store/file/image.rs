//! The log as it stood at one moment: all its bytes as one sequence of whole lines, oldest first, whatever they are
//! kept in. Readers count in offsets, from 0 at the first byte that is left; cursors name the same places for longer
//! than an image lives.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::super::Cursor;
use super::view::{Published, View};

/// One state of the log, readable until it is cleared.
#[derive(Debug, Clone)]
pub(super) struct Image {
    view: Arc<View>,
    pub(super) seen: Published,
}

/// What a cursor names was cleared, or left the log in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

impl Image {
    /// The log as it stands now.
    pub(super) fn take(view: &Arc<View>) -> Self {
        Self { view: Arc::clone(view), seen: view.get() }
    }

    /// Bytes.
    pub(super) const fn len(&self) -> u64 {
        self.seen.len
    }

    /// Where its first byte stands.
    pub(super) const fn start(&self) -> Cursor {
        self.cursor_at(0)
    }

    /// Where it ends.
    pub(super) const fn end(&self) -> Cursor {
        self.cursor_at(self.len())
    }

    /// The bytes of `range`, all of them. Blocks.
    ///
    /// # Errors
    /// Also when the log was cleared or replaced since the image was taken: never bytes of another time.
    pub(super) fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut block = vec![0; (range.end - range.start) as usize];
        self.read_into(&mut block, range.start)?;
        Ok(block)
    }

    /// As [`Self::read`] of the bytes from `offset` on, into a buffer that is used again. Blocks.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn read_into(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.view.read_exact_at(&self.seen, buffer, offset)
    }

    /// The name of an offset.
    pub(super) const fn cursor_at(&self, offset: u64) -> Cursor {
        Cursor { epoch: self.seen.epoch, position: self.seen.base + offset }
    }

    /// The offset that a cursor names.
    ///
    /// # Errors
    /// [`Gone`] when what follows it is no longer what followed it when it was given.
    pub(super) fn offset_of(&self, cursor: Cursor) -> Result<u64, Gone> {
        let offset = cursor.position.checked_sub(self.seen.base).filter(|offset| *offset <= self.len());
        offset.filter(|_| cursor.epoch == self.seen.epoch).ok_or(Gone)
    }
}
