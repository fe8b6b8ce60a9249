//! Reads lines that this server did not write: lines of version 1.0.0, lines that another program
//! altered, and lines of other programs between them.
//!
//! A line begins like a record when it has the level and the time of one, up to the `<` of a text
//! line, or up to the message of a JSON line. Then it is a record. If the rest does not follow the
//! grammar, the message is that rest, unchanged. Each other line continues the record before it.

use std::borrow::Cow;
use std::net::IpAddr;

use super::clock::{self, STAMP_LEN, Time};
use super::escape::FIELD;
use super::level::Level;
use super::line::JSON_START;
use super::line_fields::LineFields;
use super::line_reader::{LineBody, read_body, read_json_tail};

/// Bytes of a line in which its head ends: the level and the time of a record, and a byte order mark.
pub const MAX_HEAD_BYTES: usize = 96;

/// The client of records that came through the admin socket.
pub const LOCAL_CLIENT: &str = "local";

/// The mark that some editors put before the first line of a file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Length of a time without a fraction, such as `2026-11-23 05:02:29+00:00`. Version 1.0.0 wrote no
/// fraction of zero.
const WHOLE_SECOND_LEN: usize = 25;

/// A record of any line that begins like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnyRecord<'a> {
    /// The time of the line.
    pub time: Time,
    /// The severity.
    pub level: Level,
    /// The sender. `None`: another program wrote the line, or version 1.0.0.
    pub origin: Option<Origin<'a>>,
    /// The ID of the process that wrote the line.
    pub pid: Option<u32>,
    /// The message. If the line does not follow the grammar, it is a part of the line, unchanged
    /// except for bytes that are not UTF-8.
    pub message: Cow<'a, str>,
    /// The fields of the record.
    pub fields: LineFields<Cow<'a, str>>,
}

/// The sender of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The client's address, or [`LOCAL_CLIENT`].
    pub client: Cow<'a, str>,
    /// The name of the key.
    pub key: Cow<'a, str>,
    /// The name of the route that received the record.
    pub route: Cow<'a, str>,
    /// The sequence number of the record within its process, from 1.
    pub seq: u64,
}

/// The part of a record behind its level and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnyBody<'a> {
    /// The sender, see [`AnyRecord::origin`].
    pub origin: Option<Origin<'a>>,
    /// The ID of the process that wrote the line.
    pub pid: Option<u32>,
    /// The message, see [`AnyRecord::message`].
    pub message: Cow<'a, str>,
    /// The fields of the record.
    pub fields: LineFields<Cow<'a, str>>,
}

impl<'a> From<LineBody<'a>> for AnyBody<'a> {
    fn from(body: LineBody<'a>) -> Self {
        let LineBody { client, key, route, pid, seq, message, fields } = body;
        let origin = Some(Origin { client, key, route, seq });
        Self { origin, pid: Some(pid), message, fields }
    }
}

/// The level and the time at the start of a line.
#[derive(Debug, Clone, Copy)]
pub struct LineHead<'a> {
    /// The severity.
    pub level: Level,
    /// The time, with a fraction or without.
    time: &'a [u8],
    separator: u8,
    /// The offset in the line after the head: that of the `<` of a text line, or the one after the
    /// opening quote of the message of a JSON line.
    end: usize,
}

impl<'a> LineHead<'a> {
    /// Reads the head of a line of either format, with or without its line end. `None`: the line
    /// does not begin like a record. [`MAX_HEAD_BYTES`] of the line are enough.
    #[must_use]
    pub fn of(line: &'a [u8]) -> Option<Self> {
        let unmarked = if line.first() == Some(&0xef) { without_mark(line) } else { line };
        let (level, time, separator, rest) = match unmarked.first()? {
            b'[' => Self::text(unmarked)?,
            b'{' => Self::json(unmarked)?,
            _ => return None,
        };
        let head = Self { level, time, separator, end: line.len() - rest.len() };
        is_time(time, separator).then_some(head)
    }

    fn text(line: &'a [u8]) -> Option<(Level, &'a [u8], u8, &'a [u8])> {
        let (level, rest) = level(line.get(1..)?)?;
        let rest = rest.strip_prefix(b"](")?;
        let len = if rest.get(19) == Some(&b'.') { STAMP_LEN } else { WHOLE_SECOND_LEN };
        let (time, rest) = rest.split_at_checked(len)?;
        let rest = rest.strip_prefix(b")").filter(|rest| rest.first() == Some(&b'<'))?;
        Some((level, time, b' ', rest))
    }

    fn json(line: &'a [u8]) -> Option<(Level, &'a [u8], u8, &'a [u8])> {
        let (time, rest) = line.strip_prefix(JSON_START.as_bytes())?.split_at_checked(STAMP_LEN)?;
        let (level, rest) = level(rest.strip_prefix(b"\",\"level\":\"")?)?;
        let rest = rest.strip_prefix(b"\",\"message\":\"")?;
        Some((level, time, b'T', rest))
    }

    /// Returns the time.
    #[must_use]
    pub fn time(&self) -> Time {
        // The time was checked, so the default is never used.
        parse_time_text(self.time, self.separator).unwrap_or(Time { micros: 0, offset: 0 })
    }

    /// Returns the sender in a line whose message is taken as it is, and the offset at which the
    /// message begins. `start` is the start of the line.
    #[must_use]
    pub fn literal_origin(&self, start: &'a [u8]) -> (Option<Origin<'a>>, usize) {
        let rest = start.get(self.end..).unwrap_or_default();
        let is_json = self.separator == b'T';
        let (origin, _, message) = if is_json { (None, None, rest) } else { literal_parts(rest) };
        (origin, start.len() - message.len())
    }

    /// Reads the part behind the head of `line`, which is given without its `\n`.
    #[must_use]
    pub fn body(&self, line: &'a [u8]) -> AnyBody<'a> {
        let is_json = self.separator == b'T';
        let rest = line.get(self.end..).unwrap_or_default();
        // A time without a fraction stands in lines of version 1.0.0 only.
        if self.time.len() == STAMP_LEN
            && let Ok(body) = read_body(rest, is_json)
            && (is_json || is_client(&body.client))
        {
            return body.into();
        }
        read_literally(rest, is_json)
    }
}

/// Returns the time of a line of either format, in microseconds since the Unix epoch. `None`: the
/// line does not begin like a record. [`MAX_HEAD_BYTES`] of the line are enough.
#[must_use]
pub fn parse_time(line: &[u8]) -> Option<i64> {
    LineHead::of(line).map(|head| head.time().micros)
}

/// Returns whether a line begins like a record. [`MAX_HEAD_BYTES`] of the line are enough.
#[must_use]
pub fn begins_record(line: &[u8]) -> bool {
    LineHead::of(line).is_some()
}

/// Reads any line, given without its `\n`. `None`: the line does not begin like a record.
#[must_use]
pub fn read_any_line(line: &[u8]) -> Option<AnyRecord<'_>> {
    let head = LineHead::of(line)?;
    let AnyBody { origin, pid, message, fields } = head.body(line);
    Some(AnyRecord { time: head.time(), level: head.level, origin, pid, message, fields })
}

fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line)
}

/// Returns whether `text` may be the client of a record.
fn is_client(text: &str) -> bool {
    text == LOCAL_CLIENT || text.parse::<IpAddr>().is_ok()
}

/// Reads the part behind a head that does not follow the grammar.
fn read_literally(rest: &[u8], is_json: bool) -> AnyBody<'_> {
    if is_json && let Some(body) = read_literal_json(rest) {
        return body;
    }
    let (origin, pid, message) = if is_json { (None, None, rest) } else { literal_parts(rest) };
    AnyBody { origin, pid, message: String::from_utf8_lossy(message), fields: LineFields::default() }
}

/// Returns the sender, the process and the message of a text line from its `<` on.
fn literal_parts(rest: &[u8]) -> (Option<Origin<'_>>, Option<u32>, &[u8]) {
    if let Some((origin, pid, message)) = sender(rest) {
        (Some(origin), Some(pid), message)
    } else if let Some((pid, message)) = call_site(rest) {
        (None, pid, message)
    } else {
        (None, None, rest)
    }
}

/// Reads a JSON line whose message is not spelled as this server spells it.
fn read_literal_json(rest: &[u8]) -> Option<AnyBody<'_>> {
    let rest = std::str::from_utf8(rest).ok()?;
    let mut at = 0;
    let end = loop {
        match *rest.as_bytes().get(at)? {
            b'"' => break at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    };
    let (message, tail) = rest.split_at_checked(end)?;
    read_json_tail(Cow::Borrowed(message), tail).ok().map(AnyBody::from)
}

/// Reads `<CLIENT|KEY|ROUTE|PID|SEQ>`, and returns what follows.
fn sender(rest: &[u8]) -> Option<(Origin<'_>, u32, &[u8])> {
    // The fields escape `>`.
    let end = memchr::memchr(b'>', rest)?;
    let (inside, message) = (rest.get(1..end)?, rest.get(end + 1..)?);
    let mut parts = std::str::from_utf8(inside).ok()?.split('|');
    let mut field = || {
        let (text, unread) = FIELD.unescape(parts.next()?);
        unread.is_empty().then_some(text)
    };
    let (client, key, route) = (field()?, field()?, field()?);
    let (pid, seq) = (number(parts.next()?.as_bytes())?, number(parts.next()?.as_bytes())?);
    (parts.next().is_none() && is_client(&client)).then_some(())?;
    Some((Origin { client, key, route, seq }, u32::try_from(pid).ok()?, message))
}

/// Reads the call site of version 1.0.0, `<FILE|FUNCTION|LINE|PID|THREAD>` or
/// `<FILE|FUNCTION|LINE>`. Returns the process and what follows.
fn call_site(rest: &[u8]) -> Option<(Option<u32>, &[u8])> {
    let rest = rest.get(1..)?;
    let file = memchr::memchr3(b'|', b'<', b'>', rest)?;
    let rest = rest.get(file..)?.strip_prefix(b"|")?;
    // A function may be named `<module>`.
    let function = memchr::memchr(b'|', rest)?;
    let (_, rest) = number_before(rest.get(function + 1..)?)?;
    if let Some(message) = rest.strip_prefix(b">") {
        return Some((None, message));
    }
    let (pid, rest) = number_before(rest.strip_prefix(b"|")?)?;
    let (_, rest) = number_before(rest.strip_prefix(b"|")?)?;
    Some((u32::try_from(pid).ok(), rest.strip_prefix(b">")?))
}

fn number(digits: &[u8]) -> Option<u64> {
    number_before(digits).and_then(|(number, rest)| rest.is_empty().then_some(number))
}

/// Reads a number at the start of `text`, and returns what follows.
fn number_before(text: &[u8]) -> Option<(u64, &[u8])> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(len);
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

fn level(text: &[u8]) -> Option<(Level, &[u8])> {
    let level = match text.first()? {
        b'D' => Level::Debug,
        b'I' => Level::Info,
        b'W' => Level::Warning,
        b'E' => Level::Error,
        b'C' => Level::Critical,
        _ => return None,
    };
    Some((level, text.strip_prefix(level.as_str().as_bytes())?))
}

fn parse_time_text(text: &[u8], separator: u8) -> Option<Time> {
    if let Ok(stamp) = text.try_into() {
        return clock::parse(stamp, separator);
    }
    let (second, offset) = text.split_at_checked(19)?;
    let mut stamp = *b"0000-00-00 00:00:00.000000+00:00";
    stamp.get_mut(..19)?.copy_from_slice(second);
    stamp.get_mut(26..)?.copy_from_slice(offset.get(..6)?);
    clock::parse(&stamp, separator)
}

/// Returns whether `text` is a time. Most times are recognised without being computed.
fn is_time(text: &[u8], separator: u8) -> bool {
    is_common_time(text, separator) || parse_time_text(text, separator).is_some()
}

/// Returns whether `text` is a time of this century, on one of the first 28 days of its month, with
/// an offset of less than a day to the east or of less than ten hours to the west.
fn is_common_time(text: &[u8], separator: u8) -> bool {
    const SECOND: &[u8; 19] = b"2000-00-00 00:00:00";
    let Some((second, rest)) = text.split_first_chunk::<19>() else { return false };
    let (fraction, offset) = match rest.split_first() {
        Some((b'.', rest)) => rest.split_at_checked(6).unwrap_or((b"x", rest)),
        _ => (&b""[..], rest),
    };
    let [sign, east @ ..] = offset else { return false };
    let [hours, hour, b':', minutes, minute] = east else { return false };
    let is_shaped = second.iter().zip(SECOND).enumerate().all(|(at, (byte, shape))| match shape {
        b'0' if at > 1 => byte.is_ascii_digit(),
        b' ' => *byte == separator,
        _ => byte == shape,
    });
    let two = |at: usize| (second[at] - b'0') * 10 + (second[at + 1] - b'0');
    is_shaped
        && fraction.iter().all(u8::is_ascii_digit)
        && [hours, hour, minutes, minute].into_iter().all(u8::is_ascii_digit)
        && *minutes < b'6'
        && (*sign == b'+' && *hours < b'2' || *sign == b'-' && *hours == b'0' && *hour != b'0')
        && (1..=12).contains(&two(5))
        && (1..=28).contains(&two(8))
        && two(11) < 24
        && two(14) < 60
        && two(17) < 60
}

#[cfg(test)]
#[path = "foreign_tests.rs"]
mod tests;
