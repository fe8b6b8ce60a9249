//! GELF over datagrams and connections.

use std::borrow::Cow;
use std::time::Instant;

use super::chunks::{Chunks, is_chunk};
use super::frames::Frames;
use super::inflate::decompressed;
use super::object::read_text;
use crate::ingest::batch::Batch;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry::reader::EntryReader;
use crate::ingest::socket_dialect::{
    ConnectionOptions, ConnectionParser, DatagramParser, SocketDialect, SocketError,
};

/// Maximum size of one message of a connection, in bytes.
const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// Maximum number of messages of a connection that are stored together.
const MAX_BATCH_RECORDS: usize = 8_192;

/// Memory of messages after which they are stored, in bytes.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// The format.
pub(crate) struct Gelf;

impl SocketDialect for Gelf {
    fn name(&self) -> &'static str {
        "gelf"
    }

    fn datagrams(&self) -> Option<Box<dyn DatagramParser>> {
        Some(Box::new(Datagrams::default()))
    }

    fn connection(&self, _options: &ConnectionOptions<'_>) -> Option<Box<dyn ConnectionParser>> {
        Some(Box::new(Connection::default()))
    }
}

/// Reads the datagrams of one socket.
#[derive(Default)]
pub(super) struct Datagrams {
    chunks: Chunks,
}

impl DatagramParser for Datagrams {
    fn read<'a>(
        &mut self,
        sender: &str,
        datagram: &'a [u8],
        rules: &ReadRules<'_>,
        batch: &mut Batch<'a>,
    ) -> Result<(), SocketError> {
        if !is_chunk(datagram) {
            return match decompressed(datagram)? {
                Cow::Borrowed(message) => read_object(message, rules, batch),
                Cow::Owned(message) => read_owned(&message, rules, batch),
            };
        }
        let complete = self.chunks.add(sender, datagram, Instant::now());
        let lost = self.chunks.take_lost();
        if let Some(message) = complete? {
            read_owned(&decompressed(&message)?, rules, batch)?;
        }
        if lost > 0 {
            return Err(SocketError::Malformed("Chunks of a message did not arrive within 5 seconds."));
        }
        Ok(())
    }
}

/// Reads a message that does not live as long as the batch.
fn read_owned(message: &[u8], rules: &ReadRules<'_>, batch: &mut Batch<'_>) -> Result<(), SocketError> {
    let mut inner = Batch::default();
    read_object(message, rules, &mut inner)?;
    batch.append(inner.into_owned());
    Ok(())
}

/// Reads a message, which is a JSON object.
fn read_object<'a>(
    message: &'a [u8],
    rules: &ReadRules<'_>,
    batch: &mut Batch<'a>,
) -> Result<(), SocketError> {
    let message = trimmed(message);
    let is_object = match String::from_utf8_lossy(message) {
        Cow::Borrowed(text) => read_text(text, false, rules, batch),
        Cow::Owned(text) => {
            let mut inner = Batch::default();
            let is_object = read_text(&text, true, rules, &mut inner);
            batch.append(inner.into_owned());
            is_object
        }
    };
    if is_object { Ok(()) } else { Err(SocketError::Malformed("The message is no JSON object.")) }
}

/// Returns a message without a byte order mark before it, and without white space and zero bytes behind
/// it.
fn trimmed(message: &[u8]) -> &[u8] {
    let message = message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message);
    let end = message.iter().rposition(|byte| !matches!(byte, 0 | b' ' | b'\n' | b'\r' | b'\t'));
    end.and_then(|end| message.get(..=end)).unwrap_or_default()
}

/// Reads the messages of one connection.
#[derive(Default)]
pub(super) struct Connection {
    frames: Frames,
}

impl ConnectionParser for Connection {
    fn read<'a>(
        &mut self,
        input: &'a [u8],
        is_end: bool,
        rules: &ReadRules<'_>,
        batch: &mut Batch<'a>,
        _answer: &mut Vec<u8>,
    ) -> Result<usize, SocketError> {
        let (mut at, mut bytes) = (0, 0);
        while batch.len() < MAX_BATCH_RECORDS && bytes < MAX_BATCH_BYTES {
            let rest = input.get(at..).unwrap_or_default();
            let Some((message, len)) = self.frames.next(rest, is_end) else { break };
            at += len;
            if trimmed(message).is_empty() {
                continue;
            }
            let before = batch.len();
            if read_object(message, rules, batch).is_err() {
                push_text(trimmed(message), rules, batch);
            }
            if batch.len() > before {
                bytes += batch.memory_of_last();
            }
        }
        Ok(at)
    }

    fn max_message_bytes(&self) -> usize {
        MAX_MESSAGE_BYTES
    }
}

/// Stores a message that is no object as its text.
fn push_text<'a>(message: &'a [u8], rules: &ReadRules<'_>, batch: &mut Batch<'a>) {
    let mut reader = EntryReader::default();
    let text = String::from_utf8_lossy(message);
    if matches!(text, Cow::Owned(_)) {
        reader.mark_repaired();
    }
    reader.mark_unparsed();
    reader.set_message(text);
    // A text always has something to store.
    reader.finish(rules, None, batch).unwrap_or_default();
}
