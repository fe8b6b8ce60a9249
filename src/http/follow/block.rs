//! Records as they travel to followers, made once for all who want the same at the same place.
//!
//! A block is the records of one piece of the log, selected and encoded. Blocks that were made lately are kept, so that a
//! thousand followers cost one read and one encoding; a follower that is far behind makes its own, and holds one at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::http::response::record_format::{write_object, write_record};
use crate::record::parse_line;
use crate::store::{Cursor, CursorKey, LineChunk, LogStore, ReadError, Selection};

/// How a record is put down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// an event of Server-Sent Events whose data is the line
    EventOfLine,
    /// one whose data is the JSON object
    EventOfObject,
    /// a text message of WebSocket that holds the JSON object
    Message,
}

/// What a follower wants to see, and how.
#[derive(Debug)]
pub(crate) struct BlockFormat {
    pub(crate) form: Form,
    pub(crate) selection: Selection,
    /// tells selections apart
    pub(crate) name: Arc<str>,
}

/// The records of one piece of the log.
#[derive(Debug)]
pub(crate) struct Block {
    /// a chunk of HTTP/1.1 around the records, where there are any
    chunk: Bytes,
    /// bytes of `chunk` before the records
    before: usize,
    /// where each record ends
    ends: Vec<u32>,
    /// the cursor that the next block follows
    pub(crate) next: Cursor,
}

impl Block {
    /// How many records it holds.
    pub(crate) const fn records(&self) -> usize {
        self.ends.len()
    }

    /// The records as a chunk of HTTP/1.1.
    pub(crate) fn chunk(&self) -> Bytes {
        self.chunk.clone()
    }

    /// The records alone.
    pub(crate) fn all(&self) -> Bytes {
        self.first(self.records())
    }

    /// The first `count` records alone.
    pub(crate) fn first(&self, count: usize) -> Bytes {
        let end = count.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0);
        self.chunk.slice(self.before..self.before + end as usize)
    }

    fn bytes(&self) -> usize {
        self.chunk.len() + self.ends.capacity() * size_of::<u32>()
    }

    /// Selects and encodes.
    fn make(piece: &LineChunk, shape: &BlockFormat, key: &CursorKey) -> Self {
        let mut records = Vec::new();
        let mut ends = Vec::new();
        let mut begin = 0;
        for newline in memchr::memchr_iter(b'\n', &piece.lines) {
            let (line, after) = (&piece.lines[begin..newline], newline + 1);
            begin = after;
            let all = shape.selection.is_all();
            if all && shape.form == Form::EventOfLine {
                event(&mut records, line, piece.cursor_at(after), key);
            } else {
                let record = parse_line(line).ok();
                let admitted = all || record.as_ref().is_some_and(|record| shape.selection.admits(record));
                if !admitted {
                    continue;
                }
                let cursor = piece.cursor_at(after);
                let object = |out: &mut Vec<u8>| match &record {
                    Some(record) => write_record(out, record, cursor, key),
                    None => write_object(out, line, cursor, key),
                };
                match shape.form {
                    Form::EventOfLine => event(&mut records, line, cursor, key),
                    Form::EventOfObject => {
                        event_begin(&mut records, cursor, key);
                        object(&mut records);
                        records.extend_from_slice(b"\n\n");
                    }
                    Form::Message => message(&mut records, object),
                }
            }
            ends.push(u32::try_from(records.len()).unwrap_or(u32::MAX));
        }
        let (chunk, before) = chunk(&records);
        Self { chunk, before, ends, next: piece.cursor_at(begin) }
    }
}

fn event_begin(out: &mut Vec<u8>, cursor: Cursor, key: &CursorKey) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(key.encode(cursor).as_bytes());
    out.extend_from_slice(b"\ndata: ");
}

/// A line of ours holds no line end of any kind. One that another program wrote may hold a CR, which would end the data:
/// what follows it is data again, as the line ends of a text are told apart nowhere else.
fn event(out: &mut Vec<u8>, line: &[u8], cursor: Cursor, key: &CursorKey) {
    event_begin(out, cursor, key);
    let mut rest = line;
    while let Some(end) = memchr::memchr(b'\r', rest) {
        out.extend_from_slice(&rest[..end]);
        out.extend_from_slice(b"\ndata: ");
        rest = &rest[end + 1..];
    }
    match std::str::from_utf8(rest) {
        Ok(_) => out.extend_from_slice(rest),
        // An event stream is UTF-8.
        Err(_) => out.extend_from_slice(String::from_utf8_lossy(rest).as_bytes()),
    }
    out.extend_from_slice(b"\n\n");
}

/// An unmasked, unfragmented text frame (RFC 6455, section 5.2).
fn message(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    const MAX_HEAD_LENGTH: usize = 10;
    let begin = out.len();
    out.extend_from_slice(&[0; MAX_HEAD_LENGTH]);
    write(out);
    let head = frame_head(0x1, out.len() - begin - MAX_HEAD_LENGTH);
    let spare = MAX_HEAD_LENGTH - head.len();
    out[begin + spare..begin + MAX_HEAD_LENGTH].copy_from_slice(&head);
    out.drain(begin..begin + spare);
}

/// The head of an unmasked frame that is whole.
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

/// Bytes as one chunk of HTTP/1.1 (RFC 9112, section 7.1), and where they begin in it; none are no chunk, which would
/// be the last one.
pub(crate) fn chunk(bytes: &[u8]) -> (Bytes, usize) {
    if bytes.is_empty() {
        return (Bytes::new(), 0);
    }
    let head = format!("{:x}\r\n", bytes.len());
    (Bytes::from([head.as_bytes(), bytes, b"\r\n"].concat()), head.len())
}

/// Blocks that were made lately.
#[derive(Debug, Default)]
pub(crate) struct Blocks(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    blocks: HashMap<Place, Entry>,
    /// the oldest first
    order: VecDeque<Place>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Entry {
    /// made by the first who wants it; the others wait for it
    slot: Arc<OnceCell<Arc<Block>>>,
    /// once it is made
    bytes: usize,
}

/// What a block is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    after: Cursor,
    size: u64,
    form: Form,
    selection: Arc<str>,
}

/// Bytes of blocks that are kept.
const KEPT: usize = 8 * 1024 * 1024;

/// Blocks that are kept, however small they are.
const MOST: usize = 1024;

impl Blocks {
    /// The block behind `after`, of a piece of about `size` bytes. One without records ends where the log does, or where
    /// nothing in the piece was selected.
    pub(crate) async fn get(
        &self,
        store: &dyn LogStore,
        shape: &BlockFormat,
        after: Cursor,
        size: u64,
    ) -> Result<Arc<Block>, ReadError> {
        let place = Place { after, size, form: shape.form, selection: Arc::clone(&shape.name) };
        let slot = self.lock().slot(&place);
        let mut made = false;
        let make = async {
            let piece = store.line_chunk(after, size).await?;
            made = true;
            Ok(Arc::new(Block::make(&piece, shape, &store.cursor_key())))
        };
        let block = slot.get_or_try_init(|| make).await.map(Arc::clone);
        match &block {
            Ok(block) if block.next != after => {
                if made {
                    self.lock().made(&place, block.bytes());
                }
            }
            // What has no end yet, or could not be made, is asked for again.
            _ => drop(self.lock().blocks.remove(&place)),
        }
        block
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn slot(&mut self, place: &Place) -> Arc<OnceCell<Arc<Block>>> {
        if let Some(entry) = self.blocks.get(place) {
            return Arc::clone(&entry.slot);
        }
        self.order.push_back(place.clone());
        self.shrink();
        Arc::clone(&self.blocks.entry(place.clone()).or_default().slot)
    }

    fn made(&mut self, place: &Place, bytes: usize) {
        if let Some(entry) = self.blocks.get_mut(place) {
            entry.bytes = bytes;
            self.bytes += bytes;
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        while self.bytes > KEPT || self.order.len() > MOST {
            let Some(oldest) = self.order.pop_front() else { return };
            self.bytes -= self.blocks.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
    }
}
