//! `mocactl clear-logs`, and what `tail` is made of: the lines of a log, through its instance.

use std::io::Read;

use clap::Args;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::admin::{Admin, Reply};
use super::ask;
use super::block::each;
use super::error::{Error, Outcome};
use super::logs::Logs;
use super::out::Out;
use super::places::Places;
use crate::config::LogName;

/// The whole file of the log; takes ranges.
pub(crate) const FILE: &str = "/moca-file-log/download-logs";

/// Arguments of `clear-logs`.
#[derive(Debug, Args)]
pub(crate) struct Clear {
    /// The logs; all that are switched on when none is named
    #[arg(value_name = "NAME")]
    names: Vec<LogName>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn clear(clear: &Clear, places: &Places, out: &mut Out) -> Outcome {
    let names = Logs::load(places)?.select(&clear.names)?;
    let listed: Vec<&str> = names.iter().map(LogName::as_str).collect();
    if !ask::confirm(&format!("Remove every line of {}?", listed.join(", ")), clear.yes)? {
        return Ok(1);
    }
    each(&names, |name| {
        Admin::new(&places.run, name).send("POST", "/moca-file-log/clear-logs", &[], None, &[])?;
        out.line(format_args!("{name}: every line is removed"))
    })
}

/// The end of a log.
pub(crate) struct Latest {
    /// whole lines, the oldest first
    pub(crate) lines: Vec<u8>,
    /// the last bytes of the log, whether asked for or not
    pub(crate) anchor: Vec<u8>,
    /// the size of the log
    pub(crate) end: u64,
}

/// So many bytes at the end of what was read are enough to know that the log is still the same: every line has its
/// time and its number.
pub(crate) const ANCHOR: usize = 512;

/// Reads the latest `count` lines from the end of the file, never the whole of a large one.
pub(crate) fn latest(admin: &Admin, count: usize) -> Result<Latest, Error> {
    let mut bytes = count.saturating_mul(200).max(64 * 1024);
    loop {
        let range = format!("bytes=-{bytes}");
        let mut reply = part(admin, &range)?;
        let Some(place) = Place::of(&reply) else {
            return Ok(Latest { lines: Vec::new(), anchor: Vec::new(), end: 0 });
        };
        let mut text = Vec::new();
        reply.body.read_to_end(&mut text).map_err(|error| admin.broken(&error))?;
        // the first line may be cut, so one more than asked for has to end here
        let ends = memchr::memchr_iter(b'\n', &text).count();
        if place.first > 0 && ends <= count {
            bytes = bytes.saturating_mul(4);
            continue;
        }
        let end = place.first + text.len() as u64;
        let anchor = text[text.len().saturating_sub(ANCHOR)..].to_vec();
        let start = match count {
            0 => text.len(),
            _ => memchr::memrchr_iter(b'\n', &text).nth(count).map_or(0, |newline| newline + 1),
        };
        return Ok(Latest { lines: text.split_off(start), anchor, end });
    }
}

/// Asks for a part of the file; an answer that there is no such part is an answer.
pub(crate) fn part(admin: &Admin, range: &str) -> Result<Reply, Error> {
    admin.send("GET", FILE, &[("range", range)], None, &[StatusCode::RANGE_NOT_SATISFIABLE])
}

/// Which part of the file an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// the offset of its first byte
    pub(crate) first: u64,
}

impl Place {
    /// `None` = there is no such part.
    pub(crate) fn of(reply: &Reply) -> Option<Self> {
        match reply.status {
            StatusCode::PARTIAL_CONTENT => Some(Self { first: first_byte(&reply.headers).unwrap_or(0) }),
            StatusCode::RANGE_NOT_SATISFIABLE => None,
            _ => Some(Self { first: 0 }),
        }
    }
}

/// `Content-Range: bytes FIRST-LAST/SIZE`
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()
}

/// Prints lines as they are, or as JSON objects.
pub(crate) struct Sink {
    json: bool,
    /// the start of a line whose end did not come yet
    rest: Vec<u8>,
}

impl Sink {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json, rest: Vec::new() }
    }

    pub(crate) fn write(&mut self, bytes: &[u8], out: &mut Out) -> Result<(), Error> {
        if !self.json {
            return out.bytes(bytes);
        }
        let mut from = 0;
        for newline in memchr::memchr_iter(b'\n', bytes) {
            self.rest.extend_from_slice(&bytes[from..newline]);
            from = newline + 1;
            out.line(object(&self.rest))?;
            self.rest.clear();
        }
        self.rest.extend_from_slice(&bytes[from..]);
        Ok(())
    }

    /// Nothing more comes of what was written so far.
    pub(crate) fn end(&mut self, out: &mut Out) -> Result<(), Error> {
        if !self.rest.is_empty() {
            out.line(object(&self.rest))?;
            self.rest.clear();
        }
        Ok(())
    }
}

/// A line as a JSON object; a foreign one has its text only.
fn object(line: &[u8]) -> Value {
    let text = String::from_utf8_lossy(line);
    let Ok(record) = crate::record::parse_line(line) else { return json!({ "line": text }) };
    if line.starts_with(b"{")
        && let Ok(value) = serde_json::from_slice(line)
    {
        return value;
    }
    let time = text.split_once("](").and_then(|(_, rest)| rest.split_once(')')).map(|(time, _)| time);
    json!({
        "time": time.unwrap_or_default().replacen(' ', "T", 1),
        "level": record.level.as_str(),
        "message": record.message,
        "client": record.client,
        "key": record.key,
        "route": record.route,
        "pid": record.pid,
        "seq": record.seq,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_objects() {
        let line =
            b"[INFO](2026-11-23 05:02:29.805789+00:00)<203.0.113.7|8f14e45f|save-log|4711|18>hello\\nworld";
        let value = object(line);
        assert_eq!(value["time"], "2026-11-23T05:02:29.805789+00:00");
        assert_eq!(
            (value["level"].as_str(), value["message"].as_str()),
            (Some("INFO"), Some("hello\nworld"))
        );
        assert_eq!((value["pid"].as_u64(), value["seq"].as_u64()), (Some(4711), Some(18)));
        assert_eq!(object(b"no \xff line"), json!({"line": "no \u{fffd} line"}));
    }
}
