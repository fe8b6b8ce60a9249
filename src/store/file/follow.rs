//! Reads chunks of whole lines after a cursor, for followers.

use std::io;

use bytes::Bytes;

use super::reader::blocking;
use super::snapshot::{Gone, LogSnapshot};
use crate::store::{Cursor, LineChunk, ReadError, StoreError};

/// Maximum distance from the end of the active file at which a read runs on the caller's thread.
/// The page cache still holds bytes that were written so recently.
const MAX_INLINE_READ_BYTES: u64 = 4 * 1024 * 1024;

/// Maximum length of a line that followers get as a whole. Only another program writes a longer one.
const MAX_LINE_BYTES: usize = 32 * 1024 * 1024;

/// The part of a longer line that followers get.
const CUT_LINE_BYTES: usize = 256 * 1024;

/// Returns about `size` bytes of whole lines after the cursor `after`, or none at the end of the
/// log.
pub(crate) async fn line_chunk(
    snapshot: LogSnapshot,
    after: Cursor,
    size: u64,
) -> Result<LineChunk, ReadError> {
    let from = snapshot.offset_of(after).map_err(|Gone| ReadError::Gone { oldest: snapshot.start() })?;
    let cursors = snapshot.clone();
    let lines = if from >= snapshot.rotated() && snapshot.len() - from <= MAX_INLINE_READ_BYTES {
        lines(&snapshot, from, after.position, size).map_err(StoreError::read)?
    } else {
        blocking(move || lines(&snapshot, from, after.position, size)).await?
    };
    Ok(match lines {
        Lines::Whole(lines) => {
            LineChunk::new(Bytes::from(lines), after, move |end| cursors.cursor_at(from + end))
        }
        Lines::Cut { start, end } => {
            LineChunk::new(Bytes::from(start), after, move |_| cursors.cursor_at(end))
        }
    })
}

/// What a chunk holds.
enum Lines {
    Whole(Vec<u8>),
    /// The start of one long line, which ends at the offset `end`.
    Cut {
        start: Vec<u8>,
        end: u64,
    },
}

fn lines(snapshot: &LogSnapshot, from: u64, position: u64, size: u64) -> io::Result<Lines> {
    let size = size.max(1);
    let mut wanted = LineChunk::bytes_from(position, size);
    let mut block = Vec::new();
    loop {
        let to = snapshot.len().min(from + wanted);
        let read = block.len() as u64;
        block.append(&mut snapshot.read(from + read..to)?);
        if to == snapshot.len() {
            // A snapshot ends with a whole line.
            return Ok(Lines::Whole(block));
        }
        if let Some(newline) = memchr::memrchr(b'\n', &block[read as usize..]) {
            block.truncate(read as usize + newline + 1);
            return Ok(Lines::Whole(block));
        }
        if block.len() > MAX_LINE_BYTES {
            return cut_line(snapshot, from, block);
        }
        wanted += size;
    }
}

/// Cuts the line at `from`, of which `block` holds the first bytes.
fn cut_line(snapshot: &LogSnapshot, from: u64, mut block: Vec<u8>) -> io::Result<Lines> {
    let mut at = from + block.len() as u64;
    block.truncate(CUT_LINE_BYTES);
    // A character that is cut is left out.
    let is_cut = |error: &std::str::Utf8Error| error.error_len().is_none();
    if let Some(error) = std::str::from_utf8(&block).err().filter(is_cut) {
        block.truncate(error.valid_up_to());
    }
    block.shrink_to_fit();
    let mut window = vec![0; CUT_LINE_BYTES];
    let end = loop {
        let len = (window.len() as u64).min(snapshot.len() - at) as usize;
        let part = &mut window[..len];
        snapshot.read_into(part, at)?;
        match memchr::memchr(b'\n', part) {
            Some(newline) => break at + newline as u64 + 1,
            // A snapshot ends with a whole line.
            None if len == 0 => break at,
            None => at += len as u64,
        }
    };
    block.extend_from_slice(format!(" \\| cut={}\n", end - from).as_bytes());
    Ok(Lines::Cut { start: block, end })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Durability;
    use crate::record::LineFormat;
    use crate::store::ReadLog;
    use crate::store::file::FileStore;
    use crate::store::file::settings::Settings;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn chunks_are_the_log_and_followers_share_them(lengths in prop::collection::vec(0_usize..300, 0..80), size in 1_u64..2000, start in 0_usize..80) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("a.log");
            let lines: Vec<String> = lengths.iter().enumerate().map(|(n, length)| format!("{n} {}\n", "x".repeat(*length))).collect();
            std::fs::write(&path, lines.concat()).unwrap();
            let settings = Settings { path, format: LineFormat::Text, durability: Durability::Os, rotate: None };
            let (store, _committer) = FileStore::open(&settings, dir.path(), &dir.path().join("a.state"), 1024).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            // One follower from the start, one from a later line.
            let skipped = start.min(lines.len());
            let mut ends: Vec<Vec<u64>> = Vec::new();
            for (from, expected) in [(0, lines.concat()), (lines[..skipped].concat().len() as u64, lines[skipped..].concat())] {
                let mut at = Cursor { position: from, ..store.end() };
                let (mut text, mut of_this) = (Vec::new(), Vec::new());
                loop {
                    let chunk = runtime.block_on(store.line_chunk(at, size)).unwrap();
                    if chunk.lines.is_empty() {
                        break;
                    }
                    prop_assert!(chunk.lines.ends_with(b"\n"));
                    // A line may be longer than a chunk.
                    prop_assert!(chunk.lines.len() as u64 <= 2 * size + 310, "{} bytes of about {}", chunk.lines.len(), size);
                    text.extend_from_slice(&chunk.lines);
                    at = chunk.cursor_at(chunk.lines.len());
                    prop_assert_eq!(at.position, from + text.len() as u64);
                    of_this.push(at.position);
                }
                prop_assert_eq!(text, expected.into_bytes());
                prop_assert_eq!(at, store.end());
                ends.push(of_this);
            }
            // After its first two chunks, the second follower shares the chunks of the first one.
            prop_assert!(ends[1].iter().skip(2).all(|end| ends[0].contains(end)), "{:?}", ends);
        }
    }

    #[tokio::test]
    async fn line_that_is_much_too_long_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let long = format!("{}\n", "äx".repeat(MAX_LINE_BYTES / 2));
        std::fs::write(&path, ["first\n", &long, "last\n"].concat()).unwrap();
        let settings = Settings { path, format: LineFormat::Text, durability: Durability::Os, rotate: None };
        let (store, _committer) =
            FileStore::open(&settings, dir.path(), &dir.path().join("a.state"), 1024).unwrap();
        let (mut at, mut found) = (Cursor { position: 0, ..store.end() }, Vec::new());
        while at != store.end() {
            let chunk = store.line_chunk(at, 64 * 1024).await.unwrap();
            at = chunk.cursor_at(chunk.lines.len());
            found.push((String::from_utf8(chunk.lines.to_vec()).unwrap(), at.position));
        }
        let ends = [6, 6 + long.len() as u64, 11 + long.len() as u64];
        assert_eq!(found.iter().map(|(_, end)| *end).collect::<Vec<_>>(), ends);
        assert_eq!((found[0].0.as_str(), found[2].0.as_str()), ("first\n", "last\n"));
        let cut = &found[1].0;
        assert!(cut.starts_with("äxäx") && cut.len() < CUT_LINE_BYTES + 100, "{} bytes", cut.len());
        assert!(cut.ends_with(&format!("x \\| cut={}\n", long.len())), "{}", &cut[cut.len() - 40..]);
    }

    #[tokio::test]
    async fn cursor_outside_the_log_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            path: dir.path().join("a.log"),
            format: LineFormat::Text,
            durability: Durability::Os,
            rotate: None,
        };
        let (store, _committer) =
            FileStore::open(&settings, dir.path(), &dir.path().join("a.state"), 1024).unwrap();
        let end = store.end();
        assert!(store.line_chunk(end, 100).await.unwrap().lines.is_empty());
        for gone in [Cursor { position: end.position + 1, ..end }, Cursor { epoch: end.epoch + 1, ..end }] {
            let outcome = store.line_chunk(gone, 100).await;
            assert!(matches!(outcome, Err(ReadError::Gone { oldest }) if oldest == end), "{outcome:?}");
        }
    }
}
