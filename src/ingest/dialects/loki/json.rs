//! Reads a push in JSON, in the format of `/loki/api/v1/push` and in the older one of
//! `/api/prom/push`, over borrowed bytes.

use std::borrow::Cow;

use jiff::tz::TimeZone;

use super::streams::Streams;
use crate::ingest::body::content::BodyText;
use crate::ingest::error::IngestError;
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{Malformed, Scanner};
use crate::ingest::timestamp::{time_of_number, time_of_text};
use crate::record::SenderTime;

/// Numbers of at least this many nanoseconds are nanoseconds for certain: March 1973. Smaller ones
/// may count another unit.
const MIN_NANOS: i64 = 100_000_000_000_000_000;

const NANOS_PER_MICRO: i64 = 1_000;

/// Why a push in JSON cannot be read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum JsonError {
    /// The text is no JSON, or not in the format.
    #[error("{0}")]
    Malformed(&'static str),
    /// The records cannot be stored.
    #[error(transparent)]
    Records(#[from] IngestError),
}

/// Reads all streams of a text.
///
/// # Errors
/// Fails for a text in another format, for too many records, and when the memory is used up.
pub(super) fn read<'a>(text: BodyText<'a>, streams: &mut Streams<'a, '_>) -> Result<(), JsonError> {
    const FORMAT: &str = "expected a JSON object with streams, each with stream and values";
    let mut reading = Reading { text, streams, error: None };
    let mut scanner = Scanner::new(text.text);
    let mut has_streams = false;
    let read = scanner.object(|scanner, name| {
        if name != "streams" {
            return scanner.raw().map(drop);
        }
        has_streams = true;
        scanner.list(|scanner| reading.stream(scanner))
    });
    match (read.and_then(|()| scanner.end()), reading.error) {
        (Ok(()), None) if has_streams => Ok(()),
        (_, Some(error)) => Err(error),
        _ => Err(JsonError::Malformed(FORMAT)),
    }
}

/// The lines of a stream, which stood before its labels.
struct Pending<'a> {
    text: &'a str,
    /// The position of the text in the body.
    base: usize,
    is_legacy: bool,
}

struct Reading<'a, 's, 'r> {
    text: BodyText<'a>,
    streams: &'s mut Streams<'a, 'r>,
    /// What is wrong, if more is known than that the text is malformed.
    error: Option<JsonError>,
}

impl<'a> Reading<'a, '_, '_> {
    /// Reads one stream.
    fn stream(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Malformed> {
        self.streams.begin();
        let mut has_labels = false;
        let mut pending = None;
        scanner.object(|scanner, name| {
            let begin = scanner.position();
            match &*name {
                "stream" | "labels" => {
                    self.labels(scanner)?;
                    if self.touches(begin, scanner.position()) {
                        self.streams.mark_labels_repaired();
                    }
                    self.streams.end_labels();
                    has_labels = true;
                    Ok(())
                }
                "values" | "entries" => {
                    let is_legacy = name == "entries";
                    if has_labels {
                        return self.lines(scanner, 0, is_legacy);
                    }
                    scanner.peek();
                    let base = scanner.position();
                    let lines = Pending { text: scanner.raw()?.get(), base, is_legacy };
                    pending = Some(lines);
                    Ok(())
                }
                _ => scanner.raw().map(drop),
            }
        })?;
        match pending {
            Some(Pending { text, base, is_legacy }) => self.lines(&mut Scanner::new(text), base, is_legacy),
            None => Ok(()),
        }
    }

    /// Reads the labels: an object, or the text of the older format.
    fn labels(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Malformed> {
        if scanner.peek() == Some(b'{') {
            return scanner.object(|scanner, name| {
                if let Some(value) = scanner.value()? {
                    self.streams.label(name, value);
                }
                Ok(())
            });
        }
        match scanner.value()? {
            Some(Value::Text(text)) => self.streams.labels_of(text),
            None => {}
            Some(_) => return self.refuse("expected an object of labels"),
        }
        Ok(())
    }

    /// Reads the lines of a stream. `base` is where the text of the scanner begins in the body.
    fn lines(&mut self, scanner: &mut Scanner<'a>, base: usize, is_legacy: bool) -> Result<(), Malformed> {
        if scanner.peek() == Some(b'n') {
            return scanner.raw().map(drop);
        }
        scanner.list(|scanner| {
            let begin = scanner.position();
            let (time, line) = if is_legacy { self.entry(scanner)? } else { self.value(scanner)? };
            let is_repaired = self.touches(base + begin, base + scanner.position());
            let Some(line) = line else { return self.refuse("a value without a line") };
            self.streams.line(time, line, is_repaired).map_err(|error| {
                self.error = Some(error.into());
                Malformed
            })
        })
    }

    /// Reads `["TIME","LINE",{METADATA}]`.
    fn value(
        &mut self,
        scanner: &mut Scanner<'a>,
    ) -> Result<(Option<SenderTime>, Option<Cow<'a, str>>), Malformed> {
        let (mut time, mut line, mut index) = (None, None, 0_usize);
        scanner.list(|scanner| {
            index += 1;
            match index {
                1 => time = self.time(scanner)?,
                2 => line = scanner.value()?.map(Value::into_text),
                3 if scanner.peek() == Some(b'{') => self.metadata(scanner)?,
                _ => drop(scanner.raw()?),
            }
            Ok(())
        })?;
        Ok((time, line))
    }

    /// Reads `{"ts":"TIME","line":"LINE"}`.
    fn entry(
        &mut self,
        scanner: &mut Scanner<'a>,
    ) -> Result<(Option<SenderTime>, Option<Cow<'a, str>>), Malformed> {
        let (mut time, mut line) = (None, None);
        scanner.object(|scanner, name| {
            match &*name {
                "ts" | "timestamp" => time = self.time(scanner)?,
                "line" => line = scanner.value()?.map(Value::into_text),
                "structuredMetadata" if scanner.peek() == Some(b'{') => self.metadata(scanner)?,
                _ => drop(scanner.raw()?),
            }
            Ok(())
        })?;
        Ok((time, line))
    }

    fn metadata(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Malformed> {
        scanner.object(|scanner, name| {
            if let Some(value) = scanner.value()? {
                self.streams.add_metadata(name, value);
            }
            Ok(())
        })
    }

    /// Reads a time, which must be a string.
    fn time(&mut self, scanner: &mut Scanner<'a>) -> Result<Option<SenderTime>, Malformed> {
        match scanner.value()? {
            Some(Value::Text(text)) => match time_of(&text) {
                Some(time) => Ok(time),
                None => self.refuse("a timestamp that is no time: expected nanoseconds since the Unix epoch"),
            },
            _ => self
                .refuse("a timestamp that is no string: expected nanoseconds since the Unix epoch in quotes"),
        }
    }

    fn refuse<T>(&mut self, why: &'static str) -> Result<T, Malformed> {
        self.error.get_or_insert(JsonError::Malformed(why));
        Err(Malformed)
    }

    fn touches(&self, begin: usize, end: usize) -> bool {
        !self.text.replaced.is_empty() && self.text.replaced.touches(self.text.text, begin..end)
    }
}

/// Reads a time: nanoseconds since the Unix epoch, or RFC 3339 as in the older format. `None` for a
/// text that is neither, and no instant for 0, which some senders write for "now".
fn time_of(text: &str) -> Option<Option<SenderTime>> {
    match text.parse::<i64>() {
        Ok(0) => Some(None),
        Ok(nanos) if nanos >= MIN_NANOS => Some(SenderTime::from_micros(nanos / NANOS_PER_MICRO)),
        Ok(nanos) => {
            Some(time_of_number(text).or_else(|| SenderTime::from_micros(nanos.div_euclid(NANOS_PER_MICRO))))
        }
        Err(_) => time_of_text(text, TimeZone::system).map(Some),
    }
}
