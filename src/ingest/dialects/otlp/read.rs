//! Reads the records of an `ExportLogsServiceRequest`, as protobuf and as JSON.

use std::borrow::Cow;
use std::ops::Range;

use data_encoding::HEXLOWER;

use super::any_value::{AnyValue, member_of_json, member_of_wire, text_of};
use super::record::{Entries, LogRecord, NamedText, severity_of_name};
use super::wire::{Fields, Malformed, Wire};
use crate::ingest::body::content::BodyText;
use crate::ingest::error::IngestError;
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{self, Scanner};

/// Why a request cannot be read.
pub(super) enum ReadError {
    /// It is not the announced message.
    Malformed,
    /// It is beyond a limit.
    Refused(IngestError),
}

impl From<Malformed> for ReadError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<IngestError> for ReadError {
    fn from(error: IngestError) -> Self {
        Self::Refused(error)
    }
}

/// Reads a request in protobuf.
pub(super) fn read_wire<'a>(message: &'a [u8], entries: &mut Entries<'a, '_>) -> Result<(), ReadError> {
    let mut record = LogRecord::default();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        if let (1, Wire::Bytes(resource_logs)) = field {
            read_resource(resource_logs, entries, &mut record)?;
        }
    }
    Ok(())
}

/// Reads the message `ResourceLogs`. The resource may stand behind its records.
fn read_resource<'a>(
    message: &'a [u8],
    entries: &mut Entries<'a, '_>,
    record: &mut LogRecord<'a>,
) -> Result<(), ReadError> {
    let (mut attributes, mut is_repaired) = (Vec::new(), false);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        if let (1, Wire::Bytes(resource)) = field {
            let mut fields = Fields::new(resource);
            while let Some(field) = fields.read()? {
                if let (1, Wire::Bytes(attribute)) = field {
                    read_attribute(attribute, "", &mut attributes, &mut is_repaired)?;
                }
            }
        }
    }
    entries.begin_resource(attributes, is_repaired);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        if let (2, Wire::Bytes(scope_logs)) = field {
            read_scope(scope_logs, entries, record)?;
        }
    }
    Ok(())
}

/// Reads the message `ScopeLogs`. The scope may stand behind its records.
fn read_scope<'a>(
    message: &'a [u8],
    entries: &mut Entries<'a, '_>,
    record: &mut LogRecord<'a>,
) -> Result<(), ReadError> {
    let (mut scope, mut is_repaired) = (Vec::new(), false);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        if let (1, Wire::Bytes(message)) = field {
            let mut fields = Fields::new(message);
            while let Some(field) = fields.read()? {
                match field {
                    (1, Wire::Bytes(name)) => {
                        push_text(&mut scope, SCOPE_NAME, text_of(name, &mut is_repaired));
                    }
                    (2, Wire::Bytes(version)) => {
                        push_text(&mut scope, SCOPE_VERSION, text_of(version, &mut is_repaired));
                    }
                    (3, Wire::Bytes(attribute)) => {
                        read_attribute(attribute, SCOPE_PREFIX, &mut scope, &mut is_repaired)?;
                    }
                    _ => {}
                }
            }
        }
    }
    entries.begin_scope(scope, is_repaired);
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        if let (2, Wire::Bytes(log_record)) = field {
            record.clear();
            match read_record(log_record, record) {
                Ok(()) => entries.push(record)?,
                Err(Malformed) => entries.reject(),
            }
        }
    }
    Ok(())
}

const SCOPE_NAME: &str = "otel.scope.name";
const SCOPE_VERSION: &str = "otel.scope.version";
const SCOPE_PREFIX: &str = "otel.scope.";

fn push_text<'a>(fields: &mut Vec<NamedText<'a>>, name: &'static str, text: Cow<'a, str>) {
    if !text.is_empty() {
        fields.push((Cow::Borrowed(name), text));
    }
}

/// Reads the message `LogRecord`.
fn read_record<'a>(message: &'a [u8], record: &mut LogRecord<'a>) -> Result<(), Malformed> {
    let mut fields = Fields::new(message);
    while let Some(field) = fields.read()? {
        match field {
            (1, Wire::Fixed64(nanos)) => record.time = nanos,
            (2, Wire::Varint(number)) => record.severity = number.cast_signed(),
            (3, Wire::Bytes(text)) => record.severity_text = text_of(text, &mut record.is_repaired),
            (5, Wire::Bytes(body)) => record.body = AnyValue::of_wire(body, &mut record.is_repaired)?,
            (6, Wire::Bytes(attribute)) => {
                read_attribute(attribute, "", &mut record.attributes, &mut record.is_repaired)?;
            }
            (9, Wire::Bytes(id)) => record.trace_id = hex(id),
            (10, Wire::Bytes(id)) => record.span_id = hex(id),
            (11, Wire::Fixed64(nanos)) => record.observed = nanos,
            (12, Wire::Bytes(name)) => record.event_name = text_of(name, &mut record.is_repaired),
            _ => {}
        }
    }
    Ok(())
}

#[inline]
fn read_attribute<'a>(
    message: &'a [u8],
    prefix: &'static str,
    fields: &mut Vec<NamedText<'a>>,
    is_repaired: &mut bool,
) -> Result<(), Malformed> {
    let (name, value) = member_of_wire(message, is_repaired)?;
    value.flatten(prefixed(prefix, name), fields, is_repaired)
}

fn prefixed<'a>(prefix: &'static str, name: Cow<'a, str>) -> Cow<'a, str> {
    if prefix.is_empty() { name } else { Cow::Owned(format!("{prefix}{name}")) }
}

/// Returns an identifier in hexadecimal. One of zeros means none.
fn hex(id: &[u8]) -> Cow<'static, str> {
    if id.iter().all(|byte| *byte == 0) { Cow::Borrowed("") } else { Cow::Owned(HEXLOWER.encode(id)) }
}

/// Reads a request as JSON.
pub(super) fn read_json<'a>(text: BodyText<'a>, entries: &mut Entries<'a, '_>) -> Result<(), ReadError> {
    let mut reader = JsonReader { text, entries, record: LogRecord::default(), refused: None };
    let mut scanner = Scanner::new(text.text);
    let read = reader.request(&mut scanner).and_then(|()| scanner.end());
    match (read, reader.refused) {
        (_, Some(error)) => Err(ReadError::Refused(error)),
        (Ok(()), None) => Ok(()),
        (Err(scanner::Malformed), None) => Err(ReadError::Malformed),
    }
}

/// A request in JSON while it is read. Members of another type than the expected one mean nothing.
struct JsonReader<'e, 'a, 'r> {
    text: BodyText<'a>,
    entries: &'e mut Entries<'a, 'r>,
    record: LogRecord<'a>,
    /// Set when a limit ended the reading.
    refused: Option<IngestError>,
}

type Read = Result<(), scanner::Malformed>;

impl<'a> JsonReader<'_, 'a, '_> {
    fn request(&mut self, scanner: &mut Scanner<'a>) -> Read {
        scanner.object(|scanner, name| match &*name {
            "resourceLogs" | "resource_logs" => {
                each(scanner, |scanner| object(scanner, |scanner| self.resource(scanner)))
            }
            _ => scanner.raw().map(drop),
        })
    }

    /// Reads a `ResourceLogs`. The records are read behind its other members.
    fn resource(&mut self, scanner: &mut Scanner<'a>) -> Read {
        let (mut fields, mut scopes, mut is_broken) = (Vec::new(), Vec::new(), false);
        let begin = scanner.position();
        scanner.object(|scanner, name| match &*name {
            "resource" => object(scanner, |scanner| {
                scanner.object(|scanner, name| match &*name {
                    "attributes" => attributes(scanner, "", &mut fields, &mut is_broken),
                    _ => scanner.raw().map(drop),
                })
            }),
            "scopeLogs" | "scope_logs" => {
                scopes.push(skip(scanner)?);
                Ok(())
            }
            _ => scanner.raw().map(drop),
        })?;
        if is_broken {
            return Err(scanner::Malformed);
        }
        let is_repaired = self.is_repaired_outside(begin..scanner.position(), &scopes);
        self.entries.begin_resource(fields, is_repaired);
        for span in scopes {
            let mut scanner = self.scanner(&span);
            each(&mut scanner, |scanner| object(scanner, |scanner| self.scope(scanner)))?;
        }
        Ok(())
    }

    /// Reads a `ScopeLogs`. The records are read behind its other members.
    fn scope(&mut self, scanner: &mut Scanner<'a>) -> Read {
        let (mut fields, mut records, mut is_broken) = (Vec::new(), Vec::new(), false);
        let begin = scanner.position();
        scanner.object(|scanner, name| match &*name {
            "scope" => object(scanner, |scanner| {
                scanner.object(|scanner, name| match &*name {
                    "name" => text(scanner).map(|text| push_text(&mut fields, SCOPE_NAME, text)),
                    "version" => text(scanner).map(|text| push_text(&mut fields, SCOPE_VERSION, text)),
                    "attributes" => attributes(scanner, SCOPE_PREFIX, &mut fields, &mut is_broken),
                    _ => scanner.raw().map(drop),
                })
            }),
            "logRecords" | "log_records" => {
                records.push(skip(scanner)?);
                Ok(())
            }
            _ => scanner.raw().map(drop),
        })?;
        if is_broken {
            return Err(scanner::Malformed);
        }
        let is_repaired = self.is_repaired_outside(begin..scanner.position(), &records);
        self.entries.begin_scope(fields, is_repaired);
        for span in records {
            let mut scanner = self.scanner(&span);
            each(&mut scanner, |scanner| self.record(scanner))?;
        }
        Ok(())
    }

    fn record(&mut self, scanner: &mut Scanner<'a>) -> Read {
        if scanner.peek() != Some(b'{') {
            self.entries.reject();
            return scanner.raw().map(drop);
        }
        let begin = scanner.position();
        let (record, mut is_broken) = (&mut self.record, false);
        record.clear();
        scanner.object(|scanner, name| {
            match &*name {
                "timeUnixNano" | "time_unix_nano" => record.time = nanos(scanner)?,
                "observedTimeUnixNano" | "observed_time_unix_nano" => record.observed = nanos(scanner)?,
                "severityNumber" | "severity_number" => record.severity = severity(scanner)?,
                "severityText" | "severity_text" => record.severity_text = text(scanner)?,
                "body" => record.body = AnyValue::of_json(scanner).map_err(|_| scanner::Malformed)?,
                "attributes" => attributes(scanner, "", &mut record.attributes, &mut is_broken)?,
                "traceId" | "trace_id" => record.trace_id = id(text(scanner)?),
                "spanId" | "span_id" => record.span_id = id(text(scanner)?),
                "eventName" | "event_name" => record.event_name = text(scanner)?,
                _ => drop(scanner.raw()?),
            }
            Ok(())
        })?;
        if is_broken {
            self.entries.reject();
            return Ok(());
        }
        record.is_repaired = is_repaired(self.text, begin..scanner.position());
        let pushed = self.entries.push(&mut self.record);
        pushed.map_err(|error| {
            self.refused = Some(error);
            scanner::Malformed
        })
    }

    /// Returns a scanner that reads a part of the text. Its positions are those of the whole text.
    fn scanner(&self, span: &Range<usize>) -> Scanner<'a> {
        Scanner::starting_at(self.text.text.get(..span.end).unwrap_or_default(), span.start)
    }

    /// Returns whether bytes of this part were replaced, but for those of the inner parts.
    fn is_repaired_outside(&self, span: Range<usize>, inner: &[Range<usize>]) -> bool {
        let mut from = span.start;
        for part in inner {
            if is_repaired(self.text, from..part.start) {
                return true;
            }
            from = part.end;
        }
        is_repaired(self.text, from..span.end)
    }
}

fn is_repaired(text: BodyText<'_>, span: Range<usize>) -> bool {
    !text.replaced.is_empty() && text.replaced.touches(text.text, span)
}

/// Skips a value and returns its place.
fn skip(scanner: &mut Scanner<'_>) -> Result<Range<usize>, scanner::Malformed> {
    scanner.peek();
    let begin = scanner.position();
    scanner.raw()?;
    Ok(begin..scanner.position())
}

/// Reads the elements of a list.
fn each<'a>(scanner: &mut Scanner<'a>, element: impl FnMut(&mut Scanner<'a>) -> Read) -> Read {
    if scanner.peek() == Some(b'[') { scanner.list(element) } else { scanner.raw().map(drop) }
}

/// Reads an object.
fn object<'a>(scanner: &mut Scanner<'a>, read: impl FnOnce(&mut Scanner<'a>) -> Read) -> Read {
    if scanner.peek() == Some(b'{') { read(scanner) } else { scanner.raw().map(drop) }
}

/// Reads attributes. `is_broken` is set when values lie too deep inside of each other.
fn attributes<'a>(
    scanner: &mut Scanner<'a>,
    prefix: &'static str,
    fields: &mut Vec<NamedText<'a>>,
    is_broken: &mut bool,
) -> Read {
    each(scanner, |scanner| {
        // The places of replaced bytes are known already.
        let mut ignored = false;
        let Some((name, value)) = member_of_json(scanner).map_err(|_| scanner::Malformed)? else {
            return Ok(());
        };
        *is_broken |= value.flatten(prefixed(prefix, name), fields, &mut ignored).is_err();
        Ok(())
    })
}

fn text<'a>(scanner: &mut Scanner<'a>) -> Result<Cow<'a, str>, scanner::Malformed> {
    Ok(scanner.value()?.map(Value::into_text).unwrap_or_default())
}

/// Reads a number of nanoseconds, which is a string or a number.
fn nanos(scanner: &mut Scanner<'_>) -> Result<u64, scanner::Malformed> {
    let text = text(scanner)?;
    let float = || text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    // A float saturates.
    Ok(text.trim().parse().ok().or_else(|| float().map(|number| number as u64)).unwrap_or_default())
}

/// Reads a severity, which is a number or its name.
fn severity(scanner: &mut Scanner<'_>) -> Result<i64, scanner::Malformed> {
    let text = text(scanner)?;
    Ok(text.trim().parse().ok().or_else(|| severity_of_name(text.trim())).unwrap_or_default())
}

/// Returns an identifier in hexadecimal, in lower case. One of zeros means none.
fn id(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.bytes().all(|byte| byte == b'0') {
        return Cow::Borrowed("");
    }
    let is_upper = |text: &str| text.bytes().any(|byte| byte.is_ascii_uppercase());
    let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex && is_upper(&text) { Cow::Owned(text.to_ascii_lowercase()) } else { text }
}
