//! Makes entries of the log records of OTLP.

use std::borrow::Cow;

use super::any_value::AnyValue;
use super::wire::Malformed;
use crate::ingest::batch::Batch;
use crate::ingest::body::content::MAX_RECORDS;
use crate::ingest::body::memory::BodyMemory;
use crate::ingest::body::stream::stream_rules;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry::reader::{EntryReader, can_be_field, fit};
use crate::ingest::error::IngestError;
use crate::ingest::flatten::is_level_name;
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::Scanner;
use crate::ingest::level_names::{ReadLevel, read_level};
use crate::record::{FieldsBuilder, Level, OwnField, SenderTime};

/// Memory that is taken at a time, in bytes. Bodies whose records need less are not counted.
const MEMORY_STEP: usize = 256 * 1024;

/// Maximum length of a level in the words of its sender, in characters.
const MAX_WORDS_CHARS: usize = 128;

/// The names of severities 1 to 24, each with the numbers 1 to 4, of which 1 is left out.
const SEVERITIES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// A field with its name.
pub(super) type NamedText<'a> = (Cow<'a, str>, Cow<'a, str>);

/// A log record as it was sent.
#[derive(Debug, Default)]
pub(super) struct LogRecord<'a> {
    /// Nanoseconds since the Unix epoch, or 0.
    pub(super) time: u64,
    /// The time at which the record was seen.
    pub(super) observed: u64,
    /// 1 to 24, or 0.
    pub(super) severity: i64,
    pub(super) severity_text: Cow<'a, str>,
    pub(super) body: AnyValue<'a>,
    /// The attributes, flattened.
    pub(super) attributes: Vec<NamedText<'a>>,
    /// In hexadecimal.
    pub(super) trace_id: Cow<'a, str>,
    pub(super) span_id: Cow<'a, str>,
    pub(super) event_name: Cow<'a, str>,
    /// Whether bytes were no UTF-8.
    pub(super) is_repaired: bool,
}

impl LogRecord<'_> {
    /// Forgets the record, and keeps the memory of its attributes.
    pub(super) fn clear(&mut self) {
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.clear();
        *self = Self { attributes, ..Self::default() };
    }
}

/// The entries of one request, and what all records of a scope share.
pub(super) struct Entries<'a, 'r> {
    batch: Batch<'a>,
    rules: ReadRules<'r>,
    memory: &'r dyn BodyMemory,
    /// The fields of the resource, and behind them those of the scope.
    outer: Vec<NamedText<'a>>,
    resource_len: usize,
    /// Whether bytes of these fields were no UTF-8.
    resource_is_repaired: bool,
    scope_is_repaired: bool,
    /// Number of records that cannot be read.
    pub(super) rejected: usize,
    /// Memory that the entries and their lines need, and that was taken, in bytes.
    needed: usize,
    taken: usize,
}

impl<'a, 'r> Entries<'a, 'r> {
    /// Begins without entries.
    pub(super) fn new(rules: &ReadRules<'r>, memory: &'r dyn BodyMemory) -> Self {
        Self {
            batch: Batch::default(),
            rules: stream_rules(rules),
            memory,
            outer: Vec::new(),
            resource_len: 0,
            resource_is_repaired: false,
            scope_is_repaired: false,
            rejected: 0,
            needed: 0,
            taken: MEMORY_STEP,
        }
    }

    /// Sets the fields of the resource of the next records.
    pub(super) fn begin_resource(&mut self, fields: Vec<NamedText<'a>>, is_repaired: bool) {
        self.outer = fields;
        self.resource_len = self.outer.len();
        (self.resource_is_repaired, self.scope_is_repaired) = (is_repaired, false);
    }

    /// Sets the fields of the scope of the next records.
    pub(super) fn begin_scope(&mut self, fields: Vec<NamedText<'a>>, is_repaired: bool) {
        self.outer.truncate(self.resource_len);
        self.outer.extend(fields);
        self.scope_is_repaired = is_repaired;
    }

    /// Returns the entries.
    pub(super) fn into_batch(self) -> Batch<'a> {
        self.batch
    }

    /// Counts a record that cannot be read.
    pub(super) const fn reject(&mut self) {
        self.rejected += 1;
    }

    /// Adds a record. One whose body cannot be read is only counted.
    ///
    /// # Errors
    /// Fails for more than [`MAX_RECORDS`] records, and when the memory is used up.
    pub(super) fn push(&mut self, record: &mut LogRecord<'a>) -> Result<(), IngestError> {
        if self.batch.len() >= MAX_RECORDS {
            return Err(IngestError::TooManyRecords);
        }
        record.is_repaired |= self.resource_is_repaired | self.scope_is_repaired;
        if let AnyValue::Array(encoded) | AnyValue::Named(encoded) = &record.body {
            // As JSON, a value takes at most six times its size.
            self.count(6 * encoded.len())?;
        }
        let is_object = matches!(record.body, AnyValue::Named(_));
        let pushed = if is_object { self.push_object(record) } else { self.push_plain(record) };
        match pushed {
            Ok(()) => self.count(self.batch.memory_of_last()),
            Err(Malformed) => {
                self.reject();
                Ok(())
            }
        }
    }

    /// Adds a record whose body is its message.
    fn push_plain(&mut self, record: &mut LogRecord<'a>) -> Result<(), Malformed> {
        let message = std::mem::take(&mut record.body).into_message(&mut record.is_repaired)?;
        let severity = Severity::of(record, &self.rules);
        // These rules cut a long message, so none is refused.
        let (message, sent_chars) = fit(message.unwrap_or_default(), &self.rules).map_err(|_| Malformed)?;
        let (rules, outer) = (&self.rules, self.outer.as_slice());
        let keeps_fields = rules.keeps_fields;
        let at = time_of(record).filter(|_| keeps_fields);
        let left_out = self.batch.push_with(severity.level, message, at, |fields| {
            if let Some(words) = severity.kept.filter(|_| keeps_fields) {
                fields.push_own(OwnField::Level, words);
            }
            if keeps_fields {
                push_fields(fields, record, outer, self.resource_len, rules);
            }
            if let Some(chars) = sent_chars {
                fields.push_own(OwnField::Cut, chars.to_string());
            }
            if record.is_repaired {
                fields.push_own(OwnField::Utf8, "replaced");
            }
        });
        let changes = &mut self.batch.changes;
        changes.unknown_levels += u64::from(!severity.is_known);
        changes.cut_messages += u64::from(sent_chars.is_some());
        changes.dropped_fields += left_out as u64;
        changes.replaced_texts += u64::from(record.is_repaired);
        Ok(())
    }

    /// Adds a record whose body is an object. It is read as a record of the native format, whose text is
    /// the JSON of the object.
    fn push_object(&mut self, record: &mut LogRecord<'a>) -> Result<(), Malformed> {
        let json = record.body.json(&mut record.is_repaired)?;
        let severity = Severity::of(record, &self.rules);
        let mut reader = EntryReader::default();
        let mut has_level = false;
        let read = Scanner::new(&json).object(|scanner, name| {
            has_level |= is_level_name(&name);
            reader.add(name, scanner.value()?);
            Ok(())
        });
        read.map_err(|_| Malformed)?;
        if !reader.has_message() {
            reader.set_message(Cow::Borrowed(&json));
        }
        if let Some(time) = time_of(record) {
            reader.set_time(time);
        }
        let (resource, scope) = self.outer.split_at_checked(self.resource_len).unwrap_or_default();
        let ids = ids(record);
        let attributes = record.attributes.iter().map(|(name, text)| (name, text, "otel.log"));
        let outer = (resource.iter().map(|(name, text)| (name, text, "resource")))
            .chain(scope.iter().map(|(name, text)| (name, text, "scope")));
        for (name, text, prefix) in outer {
            if record.attributes.iter().all(|(other, _)| other != name) {
                reader.add_outer(Cow::Borrowed(name), Value::Text(Cow::Borrowed(text)), prefix);
            } else {
                let name = Cow::Owned(format!("{prefix}.{name}"));
                reader.add_outer(name, Value::Text(Cow::Borrowed(text)), prefix);
            }
        }
        for (name, text, prefix) in attributes.filter(|(name, ..)| can_be_field(name)) {
            reader.add_outer(Cow::Borrowed(name), Value::Text(Cow::Borrowed(text)), prefix);
        }
        for (name, text) in ids {
            reader.add_outer(Cow::Borrowed(name), Value::Text(Cow::Borrowed(text)), "otel.log");
        }
        if record.is_repaired {
            reader.mark_repaired();
        }
        let default_level = Cow::Borrowed(severity.level.as_str());
        if !has_level {
            reader.set_read_level(severity.level, severity.kept);
        }
        let mut batch = Batch::default();
        // An object with a message, and a message that may be cut, are always stored.
        reader.finish(&self.rules, Some(default_level), &mut batch).map_err(|_| Malformed)?;
        self.batch.append(batch.into_owned());
        Ok(())
    }

    /// Takes memory.
    fn count(&mut self, bytes: usize) -> Result<(), IngestError> {
        self.needed += bytes;
        if self.needed > self.taken {
            let more = (self.needed - self.taken).max(MEMORY_STEP);
            self.memory.take(more)?;
            self.taken += more;
        }
        Ok(())
    }
}

/// Adds the fields of a record. A field of the resource or of the scope gives way to an attribute of the
/// same name: it gets a prefix.
fn push_fields<'a>(
    fields: &mut FieldsBuilder<'_, 'a>,
    record: &mut LogRecord<'a>,
    outer: &[NamedText<'a>],
    resource_len: usize,
    rules: &ReadRules<'_>,
) {
    for (index, (name, text)) in outer.iter().enumerate() {
        if !rules.keeps(name) {
            continue;
        }
        if record.attributes.iter().any(|(other, _)| other == name) {
            let prefix = if index < resource_len { "resource" } else { "scope" };
            fields.push(format!("{prefix}.{name}"), text.clone());
        } else {
            fields.push(name.clone(), text.clone());
        }
    }
    for (name, text) in record.attributes.drain(..) {
        if can_be_field(&name) && rules.keeps(&name) {
            fields.push(name, text);
        }
    }
    let LogRecord { trace_id, span_id, event_name, .. } = record;
    for (name, text) in [("trace_id", trace_id), ("span_id", span_id), ("event_name", event_name)] {
        if !text.is_empty() && rules.keeps(name) {
            fields.push(name, std::mem::take(text));
        }
    }
}

/// Returns the fields of a record that are no attributes.
fn ids<'r>(record: &'r LogRecord<'_>) -> impl Iterator<Item = (&'static str, &'r str)> {
    let LogRecord { trace_id, span_id, event_name, .. } = record;
    let named = [("trace_id", trace_id), ("span_id", span_id), ("event_name", event_name)];
    named.into_iter().map(|(name, text)| (name, &**text)).filter(|(_, text)| !text.is_empty())
}

/// Returns the time of a record, else the time at which it was seen.
fn time_of(record: &LogRecord<'_>) -> Option<SenderTime> {
    const NANOS_PER_MICRO: u64 = 1_000;
    let nanos = if record.time == 0 { record.observed } else { record.time };
    let micros = i64::try_from(nanos / NANOS_PER_MICRO).ok()?;
    SenderTime::from_micros(micros).filter(|_| nanos != 0)
}

/// The level of a record.
struct Severity<'a> {
    level: Level,
    /// The words of the sender, if the record keeps them.
    kept: Option<Cow<'a, str>>,
    is_known: bool,
}

impl<'a> Severity<'a> {
    /// Reads the number, else the text. The text is kept when it says more than the level.
    fn of(record: &mut LogRecord<'a>, rules: &ReadRules<'_>) -> Self {
        let text = cut(std::mem::take(&mut record.severity_text));
        let number = record.severity;
        let Some(level) = level_of_number(number) else {
            return match (number, text.trim().is_empty()) {
                (0, true) => Self { level: Level::Info, kept: None, is_known: true },
                (_, true) => {
                    Self { level: Level::Info, kept: Some(Cow::Owned(number.to_string())), is_known: false }
                }
                _ => {
                    let ReadLevel { level, is_kept, is_known } = read_level(&text, rules.scale);
                    Self { level, kept: is_kept.then_some(text), is_known }
                }
            };
        };
        let kept = if text.trim().is_empty() {
            // Of the four numbers of a severity, the first one is the plain level.
            let is_plain = matches!(number, 5 | 9 | 13 | 17);
            (!is_plain).then(|| short_name(number))
        } else {
            let read = read_level(&text, rules.scale);
            let is_same = read.level == level && read.is_known && !read.is_kept;
            (!is_same).then_some(text)
        };
        Self { level, kept, is_known: true }
    }
}

/// Returns the level of a severity.
const fn level_of_number(number: i64) -> Option<Level> {
    Some(match number {
        1..=8 => Level::Debug,
        9..=12 => Level::Info,
        13..=16 => Level::Warning,
        17..=20 => Level::Error,
        21..=24 => Level::Critical,
        _ => return None,
    })
}

/// Returns the name of a severity, such as `TRACE` or `INFO2`.
fn short_name(number: i64) -> Cow<'static, str> {
    let step = usize::try_from(number - 1).unwrap_or_default();
    let name = SEVERITIES.get(step / 4).copied().unwrap_or_default();
    match step % 4 {
        0 => Cow::Borrowed(name),
        more => Cow::Owned(format!("{name}{}", more + 1)),
    }
}

/// Returns the severity with this name, such as `SEVERITY_NUMBER_INFO2`.
pub(super) fn severity_of_name(name: &str) -> Option<i64> {
    let name = name.strip_prefix("SEVERITY_NUMBER_").unwrap_or(name);
    (1..=24).find(|number| short_name(*number).eq_ignore_ascii_case(name))
}

fn cut(words: Cow<'_, str>) -> Cow<'_, str> {
    match words.char_indices().nth(MAX_WORDS_CHARS) {
        Some((end, _)) => Cow::Owned(words.get(..end).unwrap_or_default().to_owned()),
        None => words,
    }
}
