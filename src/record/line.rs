//! The line grammar: how a record stands in a file, written and read back.
//!
//! Text form: `[LEVEL](TIME)<CLIENT|KEY|ROUTE|PID|SEQ>MESSAGE`; JSON form: one object with always the same members in
//! the same order. Both promise: one record is one line, reading gives every field back exactly, and every line that
//! can be read would be written with the same bytes. Anything else is a foreign line and an error, never a panic.

use std::borrow::Cow;

use super::LineFormat;
use super::clock::{self, STAMP_LEN, Stamp, Time};
use super::escape::{EscapeRules, FIELD, JSON, MESSAGE, escape_into, escape_json_into};
use super::level::Level;

/// What every JSON line begins with; the time follows.
const JSON_START: &str = "{\"time\":\"";

/// What a line is written from.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// its severity
    pub level: Level,
    /// when the record was accepted
    pub stamp: &'a Stamp,
    /// the client's address
    pub client: &'a str,
    /// the name of the key
    pub key: &'a str,
    /// the route by which it came
    pub route: &'a str,
    /// the process that stored it
    pub pid: u32,
    /// its number among the records of that process, from 1
    pub seq: u64,
    /// what the client said
    pub message: &'a str,
}

/// A record read back from its line; its texts are strings, or borrow the line where nothing of them was escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<T = String> {
    /// when it was accepted
    pub time: Time,
    /// its severity
    pub level: Level,
    /// the client's address
    pub client: T,
    /// the name of the key
    pub key: T,
    /// the route by which it came
    pub route: T,
    /// the process that stored it
    pub pid: u32,
    /// its number among the records of that process
    pub seq: u64,
    /// what the client said
    pub message: T,
}

/// Why bytes are no line of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// no text at all
    #[error(
        "not a line of this log: not UTF-8 from byte {at} on; the file was changed or written by another program"
    )]
    NotUtf8 {
        /// the first byte that is not UTF-8
        at: usize,
    },
    /// not the grammar
    #[error(
        "not a line of this log: {expected} expected at byte {at}; the file was changed or written by another program"
    )]
    Foreign {
        /// where reading stopped
        at: usize,
        /// what should have been there
        expected: &'static str,
    },
}

/// Appends exactly one line, its `\n` included.
pub fn write_line(out: &mut Vec<u8>, format: LineFormat, line: &Line<'_>) {
    let texts = line.client.len() + line.key.len() + line.route.len() + line.message.len();
    out.reserve(texts + 192);
    match format {
        LineFormat::Text => write_text(out, line),
        LineFormat::Json => write_json(out, line),
    }
    out.push(b'\n');
}

fn write_text(out: &mut Vec<u8>, line: &Line<'_>) {
    out.push(b'[');
    out.extend_from_slice(line.level.as_str().as_bytes());
    write_text_origin(out, line.stamp, [line.client, line.key, line.route], line.pid);
    write_number(out, line.seq);
    out.push(b'>');
    escape_into(out, line.message);
}

/// What stands between level and number.
fn write_text_origin(out: &mut Vec<u8>, stamp: &Stamp, fields: [&str; 3], pid: u32) {
    out.extend_from_slice(b"](");
    out.extend_from_slice(stamp.as_bytes());
    out.extend_from_slice(b")<");
    for field in fields {
        FIELD.escape_into(out, field);
        out.push(b'|');
    }
    write_number(out, pid);
    out.push(b'|');
}

fn write_json(out: &mut Vec<u8>, line: &Line<'_>) {
    out.extend_from_slice(JSON_START.as_bytes());
    out.extend_from_slice(&line.stamp.rfc3339());
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(line.level.as_str().as_bytes());
    out.extend_from_slice(b"\",\"message\":\"");
    escape_json_into(out, line.message);
    write_json_origin(out, [line.client, line.key, line.route], line.pid);
    write_number(out, line.seq);
    out.push(b'}');
}

/// What stands between message and number.
fn write_json_origin(out: &mut Vec<u8>, [client, key, route]: [&str; 3], pid: u32) {
    for (name, text) in [("\",\"client\":\"", client), ("\",\"key\":\"", key), ("\",\"route\":\"", route)] {
        out.extend_from_slice(name.as_bytes());
        JSON.escape_into(out, text);
    }
    out.extend_from_slice(b"\",\"pid\":");
    write_number(out, pid);
    out.extend_from_slice(b",\"seq\":");
}

fn write_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// What the lines of a batch have in common, written once: a line of a hundred is a fifth cheaper for it.
#[derive(Debug, Default)]
pub struct LinePrefix {
    format: LineFormat,
    /// of a JSON line, what stands before the level
    time: Vec<u8>,
    /// client, key, route, process
    origin: Vec<u8>,
}

impl LinePrefix {
    /// Takes what `line` has in common with the lines that follow: all but level, number and message.
    pub fn take(&mut self, format: LineFormat, line: &Line<'_>) {
        self.format = format;
        self.time.clear();
        self.origin.clear();
        let fields = [line.client, line.key, line.route];
        match format {
            LineFormat::Text => write_text_origin(&mut self.origin, line.stamp, fields, line.pid),
            LineFormat::Json => {
                self.time.extend_from_slice(JSON_START.as_bytes());
                self.time.extend_from_slice(&line.stamp.rfc3339());
                self.time.extend_from_slice(b"\",\"level\":\"");
                write_json_origin(&mut self.origin, fields, line.pid);
            }
        }
    }

    /// Appends exactly the line that [`write_line`] would have written, its `\n` included.
    pub fn write_line(&self, out: &mut Vec<u8>, level: Level, seq: u64, message: &str) {
        out.reserve(self.time.len() + self.origin.len() + message.len() + 64);
        match self.format {
            LineFormat::Text => {
                out.push(b'[');
                out.extend_from_slice(level.as_str().as_bytes());
                out.extend_from_slice(&self.origin);
                write_number(out, seq);
                out.push(b'>');
                escape_into(out, message);
            }
            LineFormat::Json => {
                out.extend_from_slice(&self.time);
                out.extend_from_slice(level.as_str().as_bytes());
                out.extend_from_slice(b"\",\"message\":\"");
                escape_json_into(out, message);
                out.extend_from_slice(&self.origin);
                write_number(out, seq);
                out.push(b'}');
            }
        }
        out.push(b'\n');
    }
}

/// Reads a line of either form, without its `\n`.
///
/// # Errors
/// When `line` is not exactly what [`write_line`] would have written.
pub fn parse_line(line: &[u8]) -> Result<Record, LineError> {
    let Record { time, level, client, key, route, pid, seq, message } = read_line(line)?;
    let (client, key, route) = (client.into_owned(), key.into_owned(), route.into_owned());
    Ok(Record { time, level, client, key, route, pid, seq, message: message.into_owned() })
}

/// As [`parse_line`], copying only what was escaped.
///
/// # Errors
/// When `line` is not exactly what [`write_line`] would have written.
pub fn read_line(line: &[u8]) -> Result<Record<Cow<'_, str>>, LineError> {
    let text = std::str::from_utf8(line).map_err(|error| LineError::NotUtf8 { at: error.valid_up_to() })?;
    let mut reader = Reader { whole: text.len(), rest: text };
    if text.starts_with('{') { reader.json() } else { reader.text() }
}

/// Only the level of a line of either form. `None` for what is no line of ours up to there.
#[must_use]
pub fn parse_level(line: &[u8]) -> Option<Level> {
    const AFTER_TIME: &[u8] = b"\",\"level\":\"";
    let (from, end) = match line.first()? {
        b'{' => (line.get(JSON_START.len() + STAMP_LEN..)?.strip_prefix(AFTER_TIME)?, b'"'),
        _ => (line.strip_prefix(b"[")?, b']'),
    };
    let named = |level: &Level| {
        let rest = from.strip_prefix(level.as_str().as_bytes());
        rest.is_some_and(|rest| rest.first() == Some(&end))
    };
    Level::ALL.into_iter().find(named)
}

/// Only the time of a line of either form, in microseconds since the epoch; looks no further than the time.
/// `None` for what is no line of ours up to there.
#[must_use]
pub fn parse_time(line: &[u8]) -> Option<i64> {
    let (from, separator) = match line.first()? {
        b'{' => (line.strip_prefix(JSON_START.as_bytes())?, b'T'),
        _ => {
            let level = line.strip_prefix(b"[")?;
            (
                Level::ALL
                    .iter()
                    .find_map(|name| level.strip_prefix(name.as_str().as_bytes())?.strip_prefix(b"]("))?,
                b' ',
            )
        }
    };
    clock::parse(from.first_chunk()?, separator).map(|time| time.micros)
}

/// What of a line is still to be read.
struct Reader<'a> {
    whole: usize,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn text(&mut self) -> Result<Record<Cow<'a, str>>, LineError> {
        self.expect("[")?;
        let level = self.level()?;
        self.expect("](")?;
        let time = self.time(b' ')?;
        self.expect(")<")?;
        let client = self.string(&FIELD);
        self.expect("|")?;
        let key = self.string(&FIELD);
        self.expect("|")?;
        let route = self.string(&FIELD);
        self.expect("|")?;
        let pid = self.number()?;
        self.expect("|")?;
        let seq = self.number()?;
        self.expect(">")?;
        let message = self.string(&MESSAGE);
        self.end()?;
        Ok(Record { time, level, client, key, route, pid, seq, message })
    }

    fn json(&mut self) -> Result<Record<Cow<'a, str>>, LineError> {
        self.expect(JSON_START)?;
        let time = self.time(b'T')?;
        self.expect("\",\"level\":\"")?;
        let level = self.level()?;
        self.expect("\",\"message\":\"")?;
        let message = self.string(&JSON);
        self.expect("\",\"client\":\"")?;
        let client = self.string(&JSON);
        self.expect("\",\"key\":\"")?;
        let key = self.string(&JSON);
        self.expect("\",\"route\":\"")?;
        let route = self.string(&JSON);
        self.expect("\",\"pid\":")?;
        let pid = self.number()?;
        self.expect(",\"seq\":")?;
        let seq = self.number()?;
        self.expect("}")?;
        self.end()?;
        Ok(Record { time, level, client, key, route, pid, seq, message })
    }

    fn expect(&mut self, literal: &'static str) -> Result<(), LineError> {
        self.rest = self.rest.strip_prefix(literal).ok_or_else(|| self.foreign(literal))?;
        Ok(())
    }

    fn level(&mut self) -> Result<Level, LineError> {
        let found =
            Level::ALL.into_iter().find_map(|level| Some((level, self.rest.strip_prefix(level.as_str())?)));
        let (level, rest) = found.ok_or_else(|| self.foreign("a level"))?;
        self.rest = rest;
        Ok(level)
    }

    fn time(&mut self, separator: u8) -> Result<Time, LineError> {
        let text = self.rest.as_bytes().first_chunk::<STAMP_LEN>();
        let time =
            text.and_then(|text| clock::parse(text, separator)).ok_or_else(|| self.foreign("a time"))?;
        self.rest = self.rest.get(STAMP_LEN..).unwrap_or_default();
        Ok(time)
    }

    fn string(&mut self, rules: &EscapeRules) -> Cow<'a, str> {
        let (text, rest) = rules.unescape(self.rest);
        self.rest = rest;
        text
    }

    fn number<N: std::str::FromStr>(&mut self) -> Result<N, LineError> {
        let len = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(len);
        let canonical = digits == "0" || !digits.starts_with('0');
        let number = digits.parse().ok().filter(|_| canonical).ok_or_else(|| self.foreign("a number"))?;
        self.rest = rest;
        Ok(number)
    }

    fn end(&self) -> Result<(), LineError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.foreign("nothing more, or an escaped character")) }
    }

    fn foreign(&self, expected: &'static str) -> LineError {
        LineError::Foreign { at: self.whole - self.rest.len(), expected }
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
