//! What those who follow a log read: pieces of whole lines behind a cursor, and where the latest so many begin.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::super::{Cursor, FollowError, Piece, Selection, StoreError};
use super::image::{Gone, Image};
use super::reader::blocking;
use crate::record::parse_line;

/// What was written so recently is in memory: reading it is a copy, which is done on the spot.
const HOT: u64 = 4 * 1024 * 1024;

/// Blocks of the scan for the latest lines.
const BLOCK: u64 = 256 * 1024;

/// Of a line that is longer than this, the end is taken for the line. None of ours is.
const LONGEST: usize = 1024 * 1024;

/// The lines behind `after`, about `size` bytes of them, or none.
///
/// Where a piece ends depends on positions only: those who follow from different places soon take the same pieces.
pub(super) async fn piece(image: Image, after: Cursor, size: u64) -> Result<Piece, FollowError> {
    let from = image.offset_of(after).map_err(|Gone| FollowError::Gone { oldest: image.start() })?;
    let cursors = image.clone();
    let lines = if image.len() - from <= HOT {
        lines(&image, from, after.position, size).map_err(|error| StoreError::read(&error))?
    } else {
        blocking(move || lines(&image, from, after.position, size)).await?
    };
    Ok(Piece::new(Bytes::from(lines), after, move |end| cursors.cursor_at(from + end)))
}

fn lines(image: &Image, from: u64, position: u64, size: u64) -> io::Result<Vec<u8>> {
    let size = size.max(1);
    let mut wanted = (position + size / 2) / size * size + size - position;
    let mut block = Vec::new();
    loop {
        let to = image.len().min(from + wanted);
        let begun = block.len() as u64;
        block.append(&mut image.read(from + begun..to)?);
        if to == image.len() {
            // An image ends with a whole line.
            return Ok(block);
        }
        if let Some(newline) = memchr::memrchr(b'\n', &block[begun as usize..]) {
            block.truncate(begun as usize + newline + 1);
            return Ok(block);
        }
        wanted += size;
    }
}

/// The cursor that the latest `count` lines of `selection` follow; that of the log's start when there are fewer.
/// Dropped, it stops at the next block.
pub(super) async fn before_latest(
    image: Image,
    selection: Arc<Selection>,
    count: u64,
) -> Result<Cursor, StoreError> {
    let mut scan = Backwards { at: image.len(), carry: Vec::new(), left: count };
    while scan.left > 0 && scan.at > 0 {
        let (image, selection) = (image.clone(), Arc::clone(&selection));
        scan = blocking(move || {
            scan.step(&image, &selection)?;
            Ok(scan)
        })
        .await?;
    }
    Ok(image.cursor_at(scan.at))
}

struct Backwards {
    /// everything before is still to be looked at; once `left` is 0, where the first line that counts begins
    at: u64,
    /// what was read of the line that begins before `at`, with its line end
    carry: Vec<u8>,
    left: u64,
}

impl Backwards {
    fn step(&mut self, image: &Image, selection: &Selection) -> io::Result<()> {
        let start = self.at.saturating_sub(BLOCK);
        let mut block = image.read(start..self.at)?;
        block.append(&mut self.carry);
        // The line end of the last line does not begin a line.
        let mut end = block.len();
        while end > 0 {
            let begin = match memchr::memrchr(b'\n', &block[..end - 1]) {
                Some(newline) => newline + 1,
                None if start == 0 || end > LONGEST => 0,
                None => break,
            };
            let line = &block[begin..end - 1];
            let admitted =
                selection.is_all() || parse_line(line).is_ok_and(|record| selection.admits(&record));
            self.left -= u64::from(admitted);
            if self.left == 0 {
                self.at = start + begin as u64;
                return Ok(());
            }
            end = begin;
        }
        block.truncate(end);
        (self.at, self.carry) = (start, block);
        Ok(())
    }
}
