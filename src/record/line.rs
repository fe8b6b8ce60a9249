//! Writes a record as one line of a file and parses it back.
//!
//! The text format is `[LEVEL](TIME)<CLIENT|KEY|ROUTE|PID|SEQ>MESSAGE`, and with fields
//! `…>MESSAGE \| NAME=VALUE NAME=VALUE`. The JSON format is one object with the same members, and
//! `fields` when there are any. In both formats one record is one line, and parsing restores every
//! part exactly.
//!
//! Each valid line is the only spelling of its record, with one exception: a text line whose fields
//! do not parse completely is a record without fields, whose message contains that text. This server
//! writes no such line. Every other line is foreign. Parsing it returns an error and never panics.

use super::LineFormat;
use super::clock::{Stamp, Time};
use super::entry::Entry;
use super::escape::{FIELD, JSON_FIELD, escape_into, escape_json_into};
use super::escaped_entries::EscapedEntries;
use super::level::Level;
use super::line_fields::{LineFields, write_json_fields, write_text_fields};

/// The start of every JSON line. The time follows it.
pub(super) const JSON_START: &str = "{\"time\":\"";

/// A record to be written, with borrowed texts.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// The level, the message and the fields that the client sent.
    pub entry: Entry<'a>,
    /// The time at which the server accepted the record.
    pub stamp: &'a Stamp,
    /// The client's address.
    pub client: &'a str,
    /// The name of the key.
    pub key: &'a str,
    /// The name of the route that received the record.
    pub route: &'a str,
    /// The ID of the process that stores the record.
    pub pid: u32,
    /// The sequence number of the record within that process, from 1.
    pub seq: u64,
}

/// A record parsed from its line.
///
/// `T` is `String`, or `Cow<str>` to borrow texts without escapes from the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<T: AsRef<str> = String> {
    /// The time at which the server accepted the record.
    pub time: Time,
    /// The severity.
    pub level: Level,
    /// The client's address.
    pub client: T,
    /// The name of the key.
    pub key: T,
    /// The name of the route that received the record.
    pub route: T,
    /// The ID of the process that stored the record.
    pub pid: u32,
    /// The sequence number of the record within that process, from 1.
    pub seq: u64,
    /// The client's message.
    pub message: T,
    /// The fields of the record.
    pub fields: LineFields<T>,
}

/// Appends `line` to `out` as exactly one line, with its `\n`.
pub fn write_line(out: &mut Vec<u8>, format: LineFormat, line: &Line<'_>) {
    let texts = line.client.len() + line.key.len() + line.route.len() + line.entry.text_len();
    out.reserve(texts + 192);
    match format {
        LineFormat::Text => write_text(out, line),
        LineFormat::Json => write_json(out, line),
    }
    out.push(b'\n');
}

fn write_text(out: &mut Vec<u8>, line: &Line<'_>) {
    out.push(b'[');
    out.extend_from_slice(line.entry.level.as_str().as_bytes());
    write_text_origin(out, line.stamp, [line.client, line.key, line.route], line.pid);
    write_number(out, line.seq);
    write_text_end(out, &line.entry);
}

/// Writes the part of a text line behind the sequence number.
#[inline]
fn write_text_end(out: &mut Vec<u8>, entry: &Entry<'_>) {
    out.push(b'>');
    escape_into(out, entry.message);
    if entry.has_fields() {
        write_text_fields(out, entry);
    }
}

/// Writes the part of a text line between level and sequence number.
fn write_text_origin(out: &mut Vec<u8>, stamp: &Stamp, origin: [&str; 3], pid: u32) {
    out.extend_from_slice(b"](");
    out.extend_from_slice(stamp.as_bytes());
    out.extend_from_slice(b")<");
    for text in origin {
        FIELD.escape_into(out, text);
        out.push(b'|');
    }
    write_number(out, pid);
    out.push(b'|');
}

fn write_json(out: &mut Vec<u8>, line: &Line<'_>) {
    out.extend_from_slice(JSON_START.as_bytes());
    out.extend_from_slice(&line.stamp.rfc3339());
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(line.entry.level.as_str().as_bytes());
    out.extend_from_slice(b"\",\"message\":\"");
    escape_json_into(out, line.entry.message);
    write_json_origin(out, [line.client, line.key, line.route], line.pid);
    write_json_end(out, &line.entry, line.seq);
}

/// Writes the part of a JSON line from the sequence number on.
#[inline]
fn write_json_end(out: &mut Vec<u8>, entry: &Entry<'_>, seq: u64) {
    write_number(out, seq);
    if entry.has_fields() {
        write_json_fields(out, entry);
    }
    out.push(b'}');
}

/// Writes the part of a JSON line between message and sequence number.
fn write_json_origin(out: &mut Vec<u8>, [client, key, route]: [&str; 3], pid: u32) {
    for (name, text) in [("\",\"client\":\"", client), ("\",\"key\":\"", key), ("\",\"route\":\"", route)] {
        out.extend_from_slice(name.as_bytes());
        JSON_FIELD.escape_into(out, text);
    }
    out.extend_from_slice(b"\",\"pid\":");
    write_number(out, pid);
    out.extend_from_slice(b",\"seq\":");
}

fn write_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The parts that the lines of one batch share, formatted once for the batch.
///
/// This makes a line of a batch of 100 a fifth cheaper.
#[derive(Debug, Default)]
pub struct LinePrefix {
    format: LineFormat,
    /// The part of a JSON line before the level; empty in the text format.
    time: Vec<u8>,
    /// Client, key, route and process, and in the text format also the time.
    origin: Vec<u8>,
}

impl LinePrefix {
    /// Replaces the shared parts by those of `line`: all but the entry and the sequence number.
    pub fn take(&mut self, format: LineFormat, line: &Line<'_>) {
        self.format = format;
        self.time.clear();
        self.origin.clear();
        let origin = [line.client, line.key, line.route];
        match format {
            LineFormat::Text => write_text_origin(&mut self.origin, line.stamp, origin, line.pid),
            LineFormat::Json => {
                self.time.extend_from_slice(JSON_START.as_bytes());
                self.time.extend_from_slice(&line.stamp.rfc3339());
                self.time.extend_from_slice(b"\",\"level\":\"");
                write_json_origin(&mut self.origin, origin, line.pid);
            }
        }
    }

    /// Appends the same bytes as [`write_line`] for a record with these parts, with its `\n`.
    pub fn write_line(&self, out: &mut Vec<u8>, entry: &Entry<'_>, seq: u64) {
        out.reserve(self.time.len() + self.origin.len() + entry.text_len() + 64);
        match self.format {
            LineFormat::Text => {
                out.push(b'[');
                out.extend_from_slice(entry.level.as_str().as_bytes());
                out.extend_from_slice(&self.origin);
                write_number(out, seq);
                write_text_end(out, entry);
            }
            LineFormat::Json => {
                out.extend_from_slice(&self.time);
                out.extend_from_slice(entry.level.as_str().as_bytes());
                out.extend_from_slice(b"\",\"message\":\"");
                escape_json_into(out, entry.message);
                out.extend_from_slice(&self.origin);
                write_json_end(out, entry, seq);
            }
        }
        out.push(b'\n');
    }
}

impl LinePrefix {
    /// Appends the same bytes as [`Self::write_line`] for each of the entries, whose texts are escaped
    /// already. `levels` are those of the entries, and `seq` is the number of the first one.
    pub fn write_escaped(
        &self,
        out: &mut Vec<u8>,
        levels: impl Iterator<Item = Level>,
        texts: &EscapedEntries,
        seq: u64,
    ) {
        for ((level, (message, fields)), seq) in levels.zip(texts.each()).zip(seq..) {
            match self.format {
                LineFormat::Text => {
                    out.push(b'[');
                    out.extend_from_slice(level.as_str().as_bytes());
                    out.extend_from_slice(&self.origin);
                    write_number(out, seq);
                    out.push(b'>');
                    out.extend_from_slice(message);
                    out.extend_from_slice(fields);
                }
                LineFormat::Json => {
                    out.extend_from_slice(&self.time);
                    out.extend_from_slice(level.as_str().as_bytes());
                    out.extend_from_slice(b"\",\"message\":\"");
                    out.extend_from_slice(message);
                    out.extend_from_slice(&self.origin);
                    write_number(out, seq);
                    out.extend_from_slice(fields);
                    out.push(b'}');
                }
            }
            out.push(b'\n');
        }
    }
}

/// Maximum length of a line of a record, in bytes. Each of at most 1,048,576 characters of a message
/// takes at most eight bytes, and the rest is for the head and the fields.
pub const MAX_LINE_BYTES: usize = 9 * 1024 * 1024;

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
