//! What those who follow a log read: pieces of whole lines behind a cursor.

use std::io;

use bytes::Bytes;

use super::super::{Cursor, Piece, ReadError, StoreError};
use super::image::{Gone, Image};
use super::reader::blocking;

/// What was written so recently is in memory, unless it was rotated since: reading it is a copy, which is done on the
/// spot.
const HOT: u64 = 4 * 1024 * 1024;

/// The lines behind `after`, about `size` bytes of them, or none.
///
/// Where a piece ends depends on positions only: those who follow from different places soon take the same pieces.
pub(super) async fn piece(image: Image, after: Cursor, size: u64) -> Result<Piece, ReadError> {
    let from = image.offset_of(after).map_err(|Gone| ReadError::Gone { oldest: image.start() })?;
    let cursors = image.clone();
    let lines = if from >= image.rotated() && image.len() - from <= HOT {
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
