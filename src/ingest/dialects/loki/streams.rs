//! Makes records of the lines of streams. Labels and structured metadata become fields.
//!
//! The labels of a stream are read once, and each of its lines gets a copy of what they became.

use std::borrow::Cow;

use super::labels;
use crate::ingest::body::records::{LineEntry, Records};
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry::reader::can_be_field;
use crate::ingest::error::IngestError;
use crate::ingest::flatten::Members;
use crate::ingest::json::object::Value;
use crate::ingest::level_names::{ReadLevel, level_by_name, read_level};
use crate::record::{MAX_FIELDS_BYTES, MAX_SENDER_FIELDS, SenderTime};

/// The name of the label or metadata whose value is the level, also if the value is no known level.
const LEVEL: &str = "level";

/// Other names, in this order, of which a value is the level if it is the name of one.
const OTHER_LEVELS: [&str; 9] = [
    "detected_level",
    "severity",
    "levelname",
    "level_name",
    "severityText",
    "lvl",
    "loglevel",
    "log.level",
    "priority",
];

/// Maximum length of a level in the words of its sender, in bytes.
const MAX_WORDS_BYTES: usize = 128;

/// The records of a push while its streams are read.
pub(super) struct Streams<'a, 'r> {
    records: Records<'a, 'r>,
    labels: Labels<'a>,
    /// The structured metadata of the next line. [`Self::line`] empties it.
    metadata: Members<'a>,
}

/// The labels of the stream that is being read.
#[derive(Default)]
struct Labels<'a> {
    members: Members<'a>,
    /// Length of the members, in bytes.
    bytes: usize,
    /// Number of labels past the limits of a record.
    left_out: usize,
    /// Whether bytes of the labels were no UTF-8.
    is_repaired: bool,
    /// What the members became: the level, and the fields.
    level: Option<Level<'a>>,
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// A level, and the words of the sender if the record keeps them.
#[derive(Clone)]
struct Level<'a> {
    read: ReadLevel,
    words: Cow<'a, str>,
}

impl<'a, 'r> Streams<'a, 'r> {
    /// Starts without streams.
    pub(super) fn new(records: Records<'a, 'r>) -> Self {
        Self { records, labels: Labels::default(), metadata: Members::default() }
    }

    /// Begins a stream without labels.
    pub(super) fn begin(&mut self) {
        let labels = &mut self.labels;
        labels.members.clear();
        labels.fields.clear();
        (labels.bytes, labels.left_out, labels.is_repaired, labels.level) = (0, 0, false, None);
    }

    /// Adds a label to the stream. Labels past the limits of one record are only counted: each line
    /// would copy them, and none would keep them.
    pub(super) fn label(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        self.labels.add(name, value);
    }

    /// Adds a pair of structured metadata to the next line.
    pub(super) fn add_metadata(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        self.metadata.add(name, value);
    }

    /// Adds the labels of a text such as `{app="x"}`. A text that is no set of labels is kept as the
    /// label `labels`, because the lines of the stream are well formed.
    pub(super) fn labels_of(&mut self, text: Cow<'a, str>) {
        let list = &mut self.labels;
        let read = match &text {
            Cow::Borrowed(text) => labels::read(text, |name, value| list.add(name, Value::Text(value))),
            Cow::Owned(text) => labels::read(text, |name, value| {
                list.add(Cow::Owned(name.into_owned()), Value::Text(Cow::Owned(value.into_owned())));
            }),
        };
        if read.is_err() {
            list.members.clear();
            (list.bytes, list.left_out) = (0, 0);
            list.add(Cow::Borrowed("labels"), Value::Text(text));
        }
    }

    /// Notes that bytes of the labels were no UTF-8.
    pub(super) const fn mark_labels_repaired(&mut self) {
        self.labels.is_repaired = true;
    }

    /// Ends the labels of the stream. Its lines follow.
    pub(super) fn end_labels(&mut self) {
        let rules = self.records.rules();
        let labels = &mut self.labels;
        labels.level = take_level(&mut labels.members, rules);
        let members = labels.members.list.drain(..);
        let fields = members.map(|member| (member.name, member.value.into_text()));
        labels.fields.extend(fields.filter(|(name, _)| is_kept(name, rules)));
    }

    /// Adds a line of the stream, with the metadata that were collected for it.
    ///
    /// # Errors
    /// Fails for too many records, and when the memory is used up.
    pub(super) fn line(
        &mut self,
        time: Option<SenderTime>,
        text: Cow<'a, str>,
        is_repaired: bool,
    ) -> Result<(), IngestError> {
        let Self { records, labels, metadata } = self;
        let level = match &labels.level {
            Some(level) => Some(level.clone()),
            None if metadata.is_empty() => None,
            None => take_level(metadata, records.rules()),
        };
        let rules = *records.rules();
        let entry = LineEntry {
            level: level.as_ref().map(|level| level.read),
            words: level.map(|level| level.words),
            message: text,
            at: time,
            is_repaired: is_repaired || labels.is_repaired,
        };
        let left_out = labels.left_out + metadata.left_out;
        records.push(entry, |fields| {
            for (name, value) in &labels.fields {
                fields.push(name.clone(), value.clone());
            }
            for member in metadata.list.drain(..) {
                if is_kept(&member.name, &rules) {
                    fields.push(member.name, member.value.into_text());
                }
            }
            fields.left_out(left_out);
        })?;
        metadata.clear();
        Ok(())
    }

    /// Returns the records.
    pub(super) fn into_records(self) -> Records<'a, 'r> {
        self.records
    }
}

impl<'a> Labels<'a> {
    fn add(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        let len = match &value {
            Value::Text(text) => name.len() + text.len(),
            Value::Number(text) | Value::Other(text) => name.len() + text.len(),
        };
        if self.members.list.len() >= MAX_SENDER_FIELDS || self.bytes + len > MAX_FIELDS_BYTES {
            self.left_out += 1;
            return;
        }
        self.bytes += len;
        self.members.add(name, value);
    }
}

/// Returns whether a record keeps a field with this name.
fn is_kept(name: &str, rules: &ReadRules<'_>) -> bool {
    can_be_field(name) && rules.keeps(name)
}

/// Takes the level.
fn take_level<'a>(members: &mut Members<'a>, rules: &ReadRules<'_>) -> Option<Level<'a>> {
    if let Some(value) = members.take(LEVEL) {
        let words = value.into_text();
        return Some(Level { read: read_level(&words, rules.scale), words: cut(words) });
    }
    OTHER_LEVELS.iter().find_map(|name| {
        let Some(Value::Text(words)) = members.get(name) else { return None };
        let read = level_by_name(words)?;
        let words = members.take(name)?.into_text();
        Some(Level { read, words })
    })
}

/// Cuts the words of a level, because the limits of fields do not apply to them.
fn cut(words: Cow<'_, str>) -> Cow<'_, str> {
    if words.len() <= MAX_WORDS_BYTES {
        return words;
    }
    let end = (0..=MAX_WORDS_BYTES).rev().find(|end| words.is_char_boundary(*end)).unwrap_or_default();
    Cow::Owned(words.get(..end).unwrap_or_default().to_owned())
}
