//! Reads the messages of one connection: the four modes of the forward protocol, heartbeats, and the
//! handshake.
//!
//! A message is read when all of it is there, so that a connection that breaks off leaves no part of one.
//! A larger one is stored while it arrives. The events of a message become several batches, so its memory
//! is bounded, and it is acknowledged behind the last one.

use std::borrow::Cow;

use super::handshake::{Handshake, MAX_PING_BYTES};
use super::inflate::Inflater;
use super::msgpack::{Broken, Head, Reader, Scan, Token};
use super::record::Members;
use crate::ingest::batch::Batch;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry::reader::EntryReader;
use crate::ingest::json::object::Value;
use crate::ingest::socket_dialect::{ConnectionParser, SocketError};

/// Maximum size of a message that is read only when all of it is there, in bytes.
const MAX_WHOLE_BYTES: usize = 8 * 1024 * 1024;

/// Maximum size of one event, in bytes.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// Limits of one batch: its records, and about the memory that they and their lines need.
const MAX_BATCH_RECORDS: usize = 8_192;
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Number of bytes that tell how events are compressed.
const MAGIC_BYTES: usize = 4;

const MALFORMED: SocketError = SocketError::Malformed("The message is no Fluent Forward.");
const TOO_LARGE: SocketError = SocketError::TooLarge("An event is too large.");

impl From<Broken> for SocketError {
    fn from(_: Broken) -> Self {
        MALFORMED
    }
}

/// One connection.
pub(super) struct Connection {
    state: State,
    /// The search for the end of the message or of the event at the start of the input.
    scan: Scan,
}

enum State {
    /// The client has not proved that it knows the secret.
    Handshake(Handshake),
    /// The next byte begins a message.
    Idle,
    /// The next byte belongs to the events of a message.
    Events(Events),
}

/// The events of a message that are still to come.
struct Events {
    tag: String,
    source: Source,
    /// Number of elements of the message behind the events. The first one is the options.
    elements: usize,
}

enum Source {
    /// An array with this many events left.
    Array(usize),
    /// A text with this many bytes left.
    Packed(usize),
    /// A compressed text with this many bytes left.
    Compressed {
        left: usize,
        inflater: Box<Inflater>,
        /// Bytes at the start of the input that were decompressed. They stay there until their events are
        /// read, so that the caller comes back.
        pending: usize,
    },
    /// None.
    Done,
}

/// The start of a message.
struct Start<'a> {
    elements: usize,
    tag: &'a [u8],
    body: Body<'a>,
    /// Length of what stands before the body, or before its first event, in bytes.
    len: usize,
}

/// The second element of a message.
enum Body<'a> {
    /// The time of the only event.
    Time,
    /// An array of events.
    Array(usize),
    /// A text of events: its length, and as much of it as is there.
    Packed(usize, &'a [u8]),
}

impl<'a> Start<'a> {
    /// Reads the start of an array.
    fn read(input: &'a [u8]) -> Result<Self, Broken> {
        let mut reader = Reader::new(input);
        let elements = reader.array()?;
        if elements < 2 {
            return Err(Broken::Invalid);
        }
        let tag = reader.bytes()?;
        let at = input.len() - reader.rest().len();
        let (head, len) = Head::read(reader.rest())?;
        let inside = reader.rest().get(len..).unwrap_or_default();
        let body = match head {
            Head::Text(all) | Head::Binary(all) => Body::Packed(all, inside.get(..all).unwrap_or(inside)),
            Head::Array(count) if count > 0 => match Head::read(inside)?.0 {
                Head::Array(_) => Body::Array(count),
                // A time with the metadata of its event.
                _ => Body::Time,
            },
            Head::Array(count) => Body::Array(count),
            _ => Body::Time,
        };
        let len = if matches!(body, Body::Time) { at } else { at + len };
        if matches!(body, Body::Time) && elements < 3 {
            return Err(Broken::Invalid);
        }
        Ok(Self { elements, tag, body, len })
    }
}

/// A batch that is being filled.
struct Filling<'b, 'a, 'r> {
    batch: &'b mut Batch<'a>,
    rules: &'b ReadRules<'r>,
    bytes: usize,
    max_records: usize,
}

impl<'a> Filling<'_, 'a, '_> {
    fn is_full(&self) -> bool {
        self.batch.len() >= self.max_records || self.bytes >= MAX_BATCH_BYTES
    }

    /// Adds an event: an array of a time and a record.
    fn event(&mut self, tag: &str, event: &'a [u8]) -> Result<(), Broken> {
        let mut input = Reader::new(event);
        if input.array()? < 2 {
            return Err(Broken::Invalid);
        }
        self.time_and_record(tag, &mut input)
    }

    /// Adds an event of which the time is next.
    fn time_and_record(&mut self, tag: &str, input: &mut Reader<'a>) -> Result<(), Broken> {
        let mut reader = EntryReader::default();
        let mut members = Members { reader: &mut reader };
        let time = members.time(input)?;
        if !members.record(input)? {
            return Ok(());
        }
        if let Some(time) = time {
            reader.set_time(time);
        }
        reader.add_outer(Cow::Borrowed("tag"), Value::Text(Cow::Owned(tag.to_owned())), "forward");
        // With its tag, every event has something to store.
        if reader.finish(self.rules, None, self.batch).is_ok() {
            self.bytes += self.batch.memory_of_last();
        }
        Ok(())
    }

    /// Adds the complete events at the start of bytes that do not live as long as the batch. Returns the
    /// number of bytes that they have.
    fn owned_events(&mut self, tag: &str, bytes: &[u8], scan: &mut Scan) -> Result<usize, SocketError> {
        let mut batch = Batch::default();
        let max_records = self.max_records.saturating_sub(self.batch.len());
        let mut inner = Filling { batch: &mut batch, rules: self.rules, bytes: self.bytes, max_records };
        let mut at = 0;
        let outcome = loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() || inner.is_full() {
                break Ok(at);
            }
            match scan.end_of(rest) {
                Ok(Some(len)) => {
                    if let Err(error) = inner.event(tag, rest.get(..len).unwrap_or_default()) {
                        break Err(error.into());
                    }
                    at += len;
                }
                Ok(None) if rest.len() > MAX_EVENT_BYTES => break Err(TOO_LARGE),
                Ok(None) => break Ok(at),
                Err(error) => break Err(error.into()),
            }
        };
        self.bytes = inner.bytes;
        self.batch.append(batch.into_owned());
        outcome
    }
}

impl Connection {
    /// Starts a connection. `None`: the system gives no random bytes for the handshake.
    pub(super) fn new(shared_key: Option<&str>) -> Option<Self> {
        let state = match shared_key {
            Some(secret) => State::Handshake(Handshake::new(secret)?),
            None => State::Idle,
        };
        Some(Self { state, scan: Scan::default() })
    }

    fn read_ping(&mut self, input: &[u8], answer: &mut Vec<u8>) -> Result<usize, SocketError> {
        let State::Handshake(handshake) = &self.state else { return Ok(0) };
        let end = match self.scan.end_of(input) {
            Ok(None) if input.len() <= MAX_PING_BYTES => return Ok(0),
            Ok(end) => end.filter(|end| *end <= MAX_PING_BYTES),
            Err(_) => None,
        };
        let ping = end.and_then(|end| input.get(..end)).unwrap_or_default();
        handshake.check(ping, answer)?;
        self.state = State::Idle;
        Ok(ping.len())
    }

    /// Begins the message at the start of `input`. Returns how many bytes are done with.
    fn begin<'a>(
        &mut self,
        input: &'a [u8],
        filling: &mut Filling<'_, 'a, '_>,
        answer: &mut Vec<u8>,
    ) -> Result<usize, SocketError> {
        match input.first() {
            None => return Ok(0),
            // Heartbeats: nil, and the zero byte.
            Some(0xc0 | 0) => return Ok(1),
            // No client sends a number, and text consists of such bytes.
            Some(0x01..0x80) => return Err(MALFORMED),
            Some(_) => {}
        }
        let end = self.scan.end_of(input)?;
        match Head::read(input) {
            Err(Broken::Short) => return Ok(0),
            Ok((Head::Array(_), _)) => {}
            // Other values than arrays are ignored, as the protocol says.
            _ => return Ok(end.unwrap_or(0)),
        }
        let Start { elements, tag, body, len } = match Start::read(input) {
            Err(Broken::Short) if end.is_none() => return Ok(0),
            start => start?,
        };
        let tag = String::from_utf8_lossy(tag);
        let source = match body {
            Body::Time => {
                let Some(end) = end else { return Ok(0) };
                let mut reader = Reader::new(input.get(len..end).unwrap_or_default());
                filling.time_and_record(&tag, &mut reader)?;
                for _ in 3..elements {
                    acknowledge(reader.skip()?, answer)?;
                }
                return Ok(end);
            }
            Body::Array(count) if end.is_some() || input.len() >= MAX_WHOLE_BYTES => Source::Array(count),
            Body::Packed(all, first) if end.is_some() || all > MAX_WHOLE_BYTES => {
                if end.is_none() && first.len() < MAGIC_BYTES {
                    return Ok(0);
                }
                match Inflater::of(first)? {
                    Some(inflater) => {
                        Source::Compressed { left: all, inflater: Box::new(inflater), pending: 0 }
                    }
                    None => Source::Packed(all),
                }
            }
            Body::Array(_) | Body::Packed(..) => return Ok(0),
        };
        self.scan = Scan::default();
        let tag = tag.into_owned();
        self.state = State::Events(Events { tag, source, elements: elements - 2 });
        Ok(len)
    }

    /// Reads events of the message until the batch is full or the input ends. Returns how many bytes are
    /// done with, and whether the message has ended.
    fn read_events<'a>(
        &mut self,
        events: &mut Events,
        input: &'a [u8],
        filling: &mut Filling<'_, 'a, '_>,
        answer: &mut Vec<u8>,
    ) -> Result<(usize, bool), SocketError> {
        let Events { tag, source, elements } = events;
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            if filling.is_full() {
                return Ok((at, false));
            }
            match source {
                Source::Array(0) | Source::Packed(0) => *source = Source::Done,
                Source::Array(left) => {
                    let Some(len) = self.next_event(rest)? else { return Ok((at, false)) };
                    filling.event(tag, rest.get(..len).unwrap_or_default())?;
                    *left -= 1;
                    at += len;
                }
                Source::Packed(left) => {
                    let inside = rest.get(..*left).unwrap_or(rest);
                    let Some(len) = self.next_event(inside)? else {
                        return if inside.len() < *left { Ok((at, false)) } else { Err(MALFORMED) };
                    };
                    filling.event(tag, inside.get(..len).unwrap_or_default())?;
                    *left -= len;
                    at += len;
                }
                Source::Compressed { left, inflater, pending } => {
                    let len = filling.owned_events(tag, inflater.output(), &mut self.scan)?;
                    inflater.remove(len);
                    if filling.is_full() {
                        return Ok((at, false));
                    }
                    at += std::mem::take(pending);
                    let inside = input.get(at..).unwrap_or_default();
                    let inside = inside.get(..*left).unwrap_or(inside);
                    if *left == 0 {
                        inflater.finish()?;
                        // What the end yields is less than one step does.
                        (filling.bytes, filling.max_records) = (0, usize::MAX);
                        let len = filling.owned_events(tag, inflater.output(), &mut self.scan)?;
                        if len < inflater.output().len() {
                            return Err(MALFORMED);
                        }
                        *source = Source::Done;
                    } else if inside.is_empty() {
                        return Ok((at, false));
                    } else {
                        *pending = inflater.feed(inside)?;
                        *left -= *pending;
                    }
                }
                Source::Done if *elements == 0 => return Ok((at, true)),
                Source::Done => {
                    let Some(len) = self.next_event(rest)? else { return Ok((at, false)) };
                    acknowledge(rest.get(..len).unwrap_or_default(), answer)?;
                    *elements -= 1;
                    at += len;
                }
            }
        }
    }

    /// Returns the length of the value at the start of `input`. `None`: it is not complete.
    fn next_event(&mut self, input: &[u8]) -> Result<Option<usize>, SocketError> {
        match self.scan.end_of(input)? {
            None if input.len() > MAX_EVENT_BYTES => Err(TOO_LARGE),
            end => Ok(end),
        }
    }
}

impl ConnectionParser for Connection {
    fn greeting(&mut self) -> Vec<u8> {
        match &self.state {
            State::Handshake(handshake) => handshake.helo(),
            _ => Vec::new(),
        }
    }

    fn read<'a>(
        &mut self,
        input: &'a [u8],
        _is_end: bool,
        rules: &ReadRules<'_>,
        batch: &mut Batch<'a>,
        answer: &mut Vec<u8>,
    ) -> Result<usize, SocketError> {
        let mut filling = Filling { batch, rules, bytes: 0, max_records: MAX_BATCH_RECORDS };
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            let done = match std::mem::replace(&mut self.state, State::Idle) {
                State::Handshake(handshake) => {
                    self.state = State::Handshake(handshake);
                    self.read_ping(rest, answer)?
                }
                State::Idle => self.begin(rest, &mut filling, answer)?,
                State::Events(mut events) => {
                    let (done, is_over) = self.read_events(&mut events, rest, &mut filling, answer)?;
                    if is_over {
                        // The client waits for this answer, so the batch ends here.
                        return Ok(at + done);
                    }
                    self.state = State::Events(events);
                    return Ok(at + done);
                }
            };
            at += done;
            if done == 0 || filling.is_full() {
                return Ok(at);
            }
        }
    }

    fn max_message_bytes(&self) -> usize {
        MAX_EVENT_BYTES + MAX_WHOLE_BYTES
    }
}

/// Appends the answer to the options of a message that ask for one.
fn acknowledge(options: &[u8], answer: &mut Vec<u8>) -> Result<(), Broken> {
    let mut reader = Reader::new(options);
    let Token::Head(Head::Map(len)) = reader.token()? else { return Ok(()) };
    for _ in 0..len {
        let is_chunk = matches!(reader.token()?, Token::Text(b"chunk") | Token::Binary(b"chunk"));
        let value = reader.skip()?;
        if is_chunk && matches!(Head::read(value)?.0, Head::Text(_) | Head::Binary(_)) {
            answer.extend_from_slice(b"\x81\xa3ack");
            answer.extend_from_slice(value);
        }
    }
    Ok(())
}
