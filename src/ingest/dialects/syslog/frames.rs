//! Finds the messages of a connection: octet counting or line ends (RFC 6587), found out for each message.

use memchr::memchr2;

use super::entry::EntryMaker;
use super::without_end;
use crate::ingest::batch::Batch;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::socket_dialect::{ConnectionParser, SocketError};

/// Maximum number of messages that are read at once. It bounds the memory of their entries.
const MAX_MESSAGES: usize = 2048;

/// Room for the header of a message, in bytes.
const HEADER_BYTES: usize = 16 * 1024;

/// Maximum length of a character, in bytes.
const MAX_CHAR_BYTES: usize = 4;

/// Maximum number of digits of an octet count.
const MAX_COUNT_DIGITS: usize = 9;

/// Maximum number of characters of a message in any log.
const MAX_MESSAGE_CHARS: usize = 1_048_576;

/// Finds the messages of one connection.
#[derive(Default)]
pub(super) struct Frames {
    maker: EntryMaker,
    overlong: Option<Overlong>,
}

/// A message that is so long that its end is left out.
struct Overlong {
    head: Vec<u8>,
    /// Number of characters that were left out.
    cut_chars: usize,
    /// The bytes that are still to come. `None`: up to the next line end.
    left: Option<usize>,
}

/// What stands at the start of the bytes that were received.
#[derive(Debug, PartialEq, Eq)]
enum Frame<'a> {
    /// A message, and the number of bytes that it takes.
    Whole(&'a [u8], usize),
    /// The start of a message. With octet counting, the length of the prefix and of the message is known.
    Part(Option<(usize, usize)>),
}

impl ConnectionParser for Frames {
    fn read<'a>(
        &mut self,
        input: &'a [u8],
        is_end: bool,
        rules: &ReadRules<'_>,
        batch: &mut Batch<'a>,
        _answer: &mut Vec<u8>,
    ) -> Result<usize, SocketError> {
        let max_bytes = rules.max_message_chars.min(MAX_MESSAGE_CHARS) * MAX_CHAR_BYTES + HEADER_BYTES;
        let mut at = 0;
        while batch.len() < MAX_MESSAGES {
            let rest = input.get(at..).unwrap_or_default();
            if let Some(overlong) = &mut self.overlong {
                let (count, is_complete) = overlong.skip(rest);
                at += count;
                if is_complete || (is_end && at == input.len()) {
                    self.push_overlong(rules, batch);
                }
                if count == 0 {
                    break;
                }
                continue;
            }
            match rest.first() {
                None => break,
                // Line ends behind a counted message, and empty lines.
                Some(b'\n' | b'\r' | 0) => {
                    at += 1;
                    continue;
                }
                Some(_) => {}
            }
            match frame(rest, is_end) {
                Frame::Whole(message, count) => {
                    let message = without_end(message);
                    if !message.is_empty() {
                        self.maker.push(message, 0, rules, batch);
                    }
                    at += count;
                }
                Frame::Part(counted) => {
                    let (prefix, left) = counted.map_or((0, None), |(prefix, len)| (prefix, Some(len)));
                    let Some(head) = rest.get(prefix..prefix + max_bytes) else { break };
                    let left = left.map(|len| len.saturating_sub(max_bytes));
                    self.overlong = Some(Overlong { head: head.to_vec(), cut_chars: 0, left });
                    at += prefix + max_bytes;
                }
            }
        }
        Ok(at)
    }

    fn max_message_bytes(&self) -> usize {
        MAX_MESSAGE_CHARS * MAX_CHAR_BYTES + 2 * HEADER_BYTES
    }
}

impl Frames {
    fn push_overlong(&mut self, rules: &ReadRules<'_>, batch: &mut Batch<'_>) {
        let Some(Overlong { mut head, cut_chars, .. }) = self.overlong.take() else { return };
        // A character that was cut in its middle is left out.
        let cut = std::str::from_utf8(&head).err().filter(|error| error.error_len().is_none());
        if let Some(error) = cut {
            head.truncate(error.valid_up_to());
        }
        let mut one = Batch::default();
        self.maker.push(without_end(&head), cut_chars, rules, &mut one);
        batch.append(one.into_owned());
    }
}

impl Overlong {
    /// Skips bytes of the message. Returns how many, and whether the message is complete.
    fn skip(&mut self, bytes: &[u8]) -> (usize, bool) {
        let (count, end) = match self.left {
            Some(left) => (left.min(bytes.len()), 0),
            None => match memchr2(b'\n', 0, bytes) {
                Some(end) => (end, 1),
                None => (bytes.len(), 0),
            },
        };
        let skipped = bytes.get(..count).unwrap_or_default();
        // Every byte but those that continue a character begins one.
        self.cut_chars += skipped.iter().filter(|byte| **byte & 0xC0 != 0x80).count();
        let is_complete = match &mut self.left {
            Some(left) => {
                *left -= count;
                *left == 0
            }
            None => end == 1,
        };
        (count + end, is_complete)
    }
}

/// Looks at the start of `bytes`, which do not begin with a line end.
fn frame(bytes: &[u8], is_end: bool) -> Frame<'_> {
    let digits = bytes.iter().take(MAX_COUNT_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if (1..=MAX_COUNT_DIGITS).contains(&digits) && bytes.first() != Some(&b'0') {
        match bytes.get(digits..) {
            // A counted message begins with its priority, and a line that begins with a number does not.
            Some([b' ', b'<', ..]) => return counted(bytes, digits),
            Some([] | [b' ']) if !is_end => return Frame::Part(None),
            _ => {}
        }
    }
    match memchr2(b'\n', 0, bytes) {
        Some(end) => Frame::Whole(bytes.get(..end).unwrap_or_default(), end + 1),
        None if is_end => Frame::Whole(bytes, bytes.len()),
        None => Frame::Part(None),
    }
}

/// Reads a message whose length stands before it, in `digits` digits.
fn counted(bytes: &[u8], digits: usize) -> Frame<'_> {
    let count = bytes.iter().take(digits).fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    let prefix = digits + 1;
    match bytes.get(prefix..prefix + count) {
        Some(message) => Frame::Whole(message, prefix + count),
        None => Frame::Part(Some((prefix, count))),
    }
}
