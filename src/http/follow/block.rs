//! Encodes records into blocks, once for all followers that request the same records.
//!
//! A block holds the records of one chunk of the log, selected and encoded. The cache keeps recent
//! blocks, so that a thousand followers cost one read and one encoding. A follower that is far
//! behind makes its own blocks and holds one at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::http::response::record_format::write_object;
use crate::record::begins_record;
use crate::store::{Cursor, CursorKey, LineChunk, ReadError, ReadLog, Selection};

/// Names the encoding of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// One event of Server-Sent Events whose data is the line.
    EventOfLine,
    /// One event of Server-Sent Events whose data is the JSON object.
    EventOfObject,
    /// One WebSocket text message that holds the JSON object.
    Message,
}

/// Describes the records that a follower requests, and their encoding.
#[derive(Debug)]
pub(crate) struct BlockFormat {
    /// The encoding of each record.
    pub(crate) form: Form,
    /// The filter that the records must pass.
    pub(crate) selection: Selection,
    /// A text that is equal only for equal selections. It is part of the cache key.
    pub(crate) name: Arc<str>,
}

/// Holds the encoded records of one chunk of the log.
#[derive(Debug)]
pub(crate) struct Block {
    /// The records, framed as one chunk of HTTP/1.1. Empty when there are no records.
    chunk: Bytes,
    /// Number of bytes of `chunk` before the records.
    head_len: usize,
    /// The offset of the end of each record, in bytes from the start of the records. The lines that
    /// continue a record of an earlier block come first and count as none.
    ends: Vec<u32>,
    /// The cursor at which the next block begins.
    pub(crate) next: Cursor,
}

impl Block {
    /// Returns the number of records in the block.
    pub(crate) const fn record_count(&self) -> usize {
        self.ends.len()
    }

    /// Returns the records, framed as one chunk of HTTP/1.1.
    pub(crate) fn chunk(&self) -> Bytes {
        self.chunk.clone()
    }

    /// Returns all lines without framing, also those that continue a record of an earlier block.
    pub(crate) fn all_lines(&self) -> Bytes {
        let end = self.chunk.len().saturating_sub(CHUNK_END.len());
        self.chunk.slice(self.head_len.min(end)..end)
    }

    /// Returns the first `count` records without framing.
    pub(crate) fn first_records(&self, count: usize) -> Bytes {
        let end = count.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        self.chunk.slice(self.head_len..self.head_len + end as usize)
    }

    fn bytes(&self) -> usize {
        self.chunk.len() + self.ends.capacity() * size_of::<u32>()
    }

    /// Returns whether the block has nothing to send.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunk.is_empty()
    }

    /// Selects the records of `line_chunk` and encodes them. `open` holds the lines before the chunk
    /// that belong to the same record as its first line.
    fn encode(
        line_chunk: &LineChunk,
        open: Option<&LineChunk>,
        format: &BlockFormat,
        key: &CursorKey,
    ) -> Self {
        let encoder = Encoder { selection: &format.selection, form: format.form, key };
        let (records, ends) = if format.selection.is_all() {
            encoder.all(line_chunk)
        } else {
            encoder.selected(line_chunk, open)
        };
        let (chunk, head_len) = http_chunk(&records);
        let len = memchr::memrchr(b'\n', &line_chunk.lines).map_or(0, |newline| newline + 1);
        Self { chunk, head_len, ends, next: line_chunk.cursor_at(len) }
    }
}

/// Encodes the records of a chunk.
struct Encoder<'e> {
    selection: &'e Selection,
    form: Form,
    key: &'e CursorKey,
}

/// Encoded records, and the offset of the end of each record.
type Encoded = (Vec<u8>, Vec<u32>);

impl Encoder<'_> {
    /// Encodes each line as a record.
    fn all(&self, chunk: &LineChunk) -> Encoded {
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        for (line, end) in lines(&chunk.lines) {
            self.write(&mut out, line, chunk.cursor_at(end));
            ends.push(offset(&out));
        }
        (out, ends)
    }

    /// Encodes the selected records, each with the lines that continue it.
    ///
    /// A line that continues a record may arrive later than the record. It is sent behind the record
    /// if the record was sent. Otherwise it may be the first line with a text of the selection. Then
    /// the lines before it are sent as well.
    fn selected(&self, chunk: &LineChunk, open: Option<&LineChunk>) -> Encoded {
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        let begins = |line: &(&[u8], usize)| begins_record(line.0);
        let all: Vec<(&[u8], usize)> = lines(&chunk.lines).collect();
        let first = all.iter().position(begins).unwrap_or(all.len());
        let (continuing, records) = all.split_at(first);
        match open.filter(|open| !open.lines.is_empty()) {
            Some(open) => {
                let before = || lines(&open.lines).map(|(line, _)| line);
                let was_sent = self.selection.admits(before());
                if was_sent || self.selection.admits(before().chain(continuing.iter().map(|line| line.0))) {
                    if !was_sent {
                        self.write_lines(&mut out, open, lines(&open.lines));
                    }
                    self.write_lines(&mut out, chunk, continuing.iter().copied());
                    ends.extend((!was_sent).then(|| offset(&out)));
                }
            }
            None => {
                for line in continuing.iter().filter(|line| self.selection.admits_stray(line.0)) {
                    self.write_lines(&mut out, chunk, [*line]);
                    ends.push(offset(&out));
                }
            }
        }
        for record in records.chunk_by(|_, next| !begins(next)) {
            if self.selection.admits(record.iter().map(|line| line.0)) {
                self.write_lines(&mut out, chunk, record.iter().copied());
                ends.push(offset(&out));
            }
        }
        (out, ends)
    }

    fn write_lines<'l>(
        &self,
        out: &mut Vec<u8>,
        chunk: &LineChunk,
        lines: impl IntoIterator<Item = (&'l [u8], usize)>,
    ) {
        for (line, end) in lines {
            self.write(out, line, chunk.cursor_at(end));
        }
    }

    fn write(&self, out: &mut Vec<u8>, line: &[u8], cursor: Cursor) {
        let key = self.key;
        match self.form {
            Form::EventOfLine => write_event(out, line, cursor, key),
            Form::EventOfObject => {
                write_event_start(out, cursor, key);
                write_object(out, line, cursor, key);
                out.extend_from_slice(b"\n\n");
            }
            Form::Message => write_message(out, |out| write_object(out, line, cursor, key)),
        }
    }
}

/// Returns the lines of a chunk without their line ends, each with the offset after it.
fn lines(chunk: &[u8]) -> impl Iterator<Item = (&[u8], usize)> {
    let mut begin = 0;
    memchr::memchr_iter(b'\n', chunk).map(move |newline| {
        let line = chunk.get(begin..newline).unwrap_or_default();
        begin = newline + 1;
        (line, begin)
    })
}

fn offset(out: &[u8]) -> u32 {
    u32::try_from(out.len()).unwrap_or(u32::MAX)
}

fn write_event_start(out: &mut Vec<u8>, cursor: Cursor, key: &CursorKey) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(key.encode(cursor).as_bytes());
    out.extend_from_slice(b"\ndata: ");
}

/// Writes a line as an event.
///
/// A line of this server contains no line end. A line of another program may contain a CR, which
/// would end the data field. The text after it therefore becomes another data field.
fn write_event(out: &mut Vec<u8>, line: &[u8], cursor: Cursor, key: &CursorKey) {
    write_event_start(out, cursor, key);
    let mut rest = line;
    while let Some(end) = memchr::memchr(b'\r', rest) {
        out.extend_from_slice(&rest[..end]);
        out.extend_from_slice(b"\ndata: ");
        rest = &rest[end + 1..];
    }
    match std::str::from_utf8(rest) {
        Ok(_) => out.extend_from_slice(rest),
        // An event stream must be UTF-8.
        Err(_) => out.extend_from_slice(String::from_utf8_lossy(rest).as_bytes()),
    }
    out.extend_from_slice(b"\n\n");
}

/// Writes an unmasked, unfragmented text frame (RFC 6455, section 5.2).
fn write_message(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    const MAX_HEAD_BYTES: usize = 10;
    let begin = out.len();
    out.extend_from_slice(&[0; MAX_HEAD_BYTES]);
    write(out);
    let head = frame_head(0x1, out.len() - begin - MAX_HEAD_BYTES);
    let spare = MAX_HEAD_BYTES - head.len();
    out[begin + spare..begin + MAX_HEAD_BYTES].copy_from_slice(&head);
    out.drain(begin..begin + spare);
}

/// Returns the head of an unmasked, unfragmented frame (RFC 6455, section 5.2).
pub(crate) fn frame_head(opcode: u8, length: usize) -> Vec<u8> {
    let mut head = vec![0x80 | opcode];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => head.push(short),
        (_, Ok(length)) => {
            head.push(126);
            head.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    head
}

/// The bytes behind the data of a chunk of HTTP/1.1.
const CHUNK_END: &[u8] = b"\r\n";

/// Frames bytes as one chunk of HTTP/1.1 (RFC 9112, section 7.1). Returns the chunk and the offset
/// of the bytes in it.
///
/// Returns an empty buffer for no bytes, because a chunk of length 0 ends the body.
pub(crate) fn http_chunk(bytes: &[u8]) -> (Bytes, usize) {
    if bytes.is_empty() {
        return (Bytes::new(), 0);
    }
    let head = format!("{:x}\r\n", bytes.len());
    (Bytes::from([head.as_bytes(), bytes, CHUNK_END].concat()), head.len())
}

/// Keeps recent blocks for all followers of an instance.
#[derive(Debug, Default)]
pub(crate) struct BlockCache(Mutex<CacheState>);

#[derive(Debug, Default)]
struct CacheState {
    blocks: HashMap<BlockKey, CacheEntry>,
    /// The keys of the cached blocks, the oldest first.
    order: VecDeque<BlockKey>,
    /// Number of bytes of all cached blocks.
    bytes: usize,
}

#[derive(Debug, Default)]
struct CacheEntry {
    /// The block. The first follower that requests it makes it, and the others wait for it.
    slot: Arc<OnceCell<Arc<Block>>>,
    /// Number of bytes of the block, or 0 until it is made.
    bytes: usize,
}

/// Identifies a block by the part of the log and the encoding that it is made from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BlockKey {
    after: Cursor,
    size: u64,
    form: Form,
    selection: Arc<str>,
}

/// Maximum number of bytes of cached blocks.
const MAX_CACHED_BYTES: usize = 8 * 1024 * 1024;

/// Maximum number of cached blocks. It bounds the memory of the keys when the blocks are small.
const MAX_CACHED_BLOCKS: usize = 1024;

impl BlockCache {
    /// Returns the block of the chunk of about `size` bytes after `after`.
    ///
    /// The block has no records at the end of the log, or when the selection admits no record of
    /// the chunk.
    ///
    /// # Errors
    ///
    /// Fails when the store cannot read the chunk.
    pub(crate) async fn get(
        &self,
        store: &dyn ReadLog,
        format: &BlockFormat,
        after: Cursor,
        size: u64,
    ) -> Result<Arc<Block>, ReadError> {
        let block_key = BlockKey { after, size, form: format.form, selection: Arc::clone(&format.name) };
        let slot = self.lock().slot(&block_key);
        let mut is_new = false;
        let make = async {
            let line_chunk = store.line_chunk(after, size).await?;
            is_new = true;
            let lines = &line_chunk.lines;
            let continues = !format.selection.is_all() && !lines.is_empty() && !begins_record(lines);
            let open = if continues { Some(store.open_record(after).await?) } else { None };
            Ok(Arc::new(Block::encode(&line_chunk, open.as_ref(), format, &store.cursor_key())))
        };
        let block = slot.get_or_try_init(|| make).await.map(Arc::clone);
        match &block {
            Ok(block) if block.next != after => {
                if is_new {
                    self.lock().set_size(&block_key, block.bytes());
                }
            }
            // The log ends here, so the block is empty, or the read failed. The next call tries
            // again.
            _ => drop(self.lock().blocks.remove(&block_key)),
        }
        block
    }

    fn lock(&self) -> MutexGuard<'_, CacheState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheState {
    fn slot(&mut self, block_key: &BlockKey) -> Arc<OnceCell<Arc<Block>>> {
        if let Some(entry) = self.blocks.get(block_key) {
            return Arc::clone(&entry.slot);
        }
        self.order.push_back(block_key.clone());
        self.shrink();
        Arc::clone(&self.blocks.entry(block_key.clone()).or_default().slot)
    }

    fn set_size(&mut self, block_key: &BlockKey, bytes: usize) {
        if let Some(entry) = self.blocks.get_mut(block_key) {
            entry.bytes = bytes;
            self.bytes += bytes;
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        while self.bytes > MAX_CACHED_BYTES || self.order.len() > MAX_CACHED_BLOCKS {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= self.blocks.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
    }
}
