//! Collects the records of a body whose objects mean more to its dialect than their members.
//!
//! Such a body is read as every body of any number of records: a long message is cut, and the memory of
//! the entries counts.

use std::borrow::Cow;
use std::ops::Range;

use http::StatusCode;

use super::content::BodyText;
use super::memory::BodyMemory;
use super::records::Records;
use crate::ingest::batch::Batch;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry::reader::EntryReader;
use crate::ingest::error::IngestError;
use crate::ingest::json::lenient::with_quoted_words;
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{Malformed, Scanner};
use crate::ingest::text::Replaced;

/// Why the records of a body were not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The text is not what the dialect expects. The number counts the records before that place.
    Malformed(usize),
    /// The body is refused.
    Refused(IngestError),
}

impl Unread {
    /// Returns the error of a body that is refused as a whole. `record` is the dialect's word for a record.
    pub(crate) fn into_error(self, record: &str) -> IngestError {
        match self {
            Self::Malformed(number) => IngestError::Dialect {
                status: StatusCode::BAD_REQUEST,
                code: None,
                why: format!("The {record} {number} is not valid JSON.").into(),
            },
            Self::Refused(error) => error,
        }
    }
}

impl From<Malformed> for Unread {
    fn from(_: Malformed) -> Self {
        Self::Malformed(0)
    }
}

impl From<IngestError> for Unread {
    fn from(error: IngestError) -> Self {
        Self::Refused(error)
    }
}

/// The records of a text while they are read.
pub(crate) struct TextRecords<'a, 'r> {
    text: BodyText<'a>,
    records: Records<'a, 'r>,
}

impl<'a, 'r> TextRecords<'a, 'r> {
    /// Begins with the first record of a body.
    pub(crate) fn new(text: BodyText<'a>, rules: &ReadRules<'r>, memory: &'r dyn BodyMemory) -> Self {
        Self { text, records: Records::new(rules, memory) }
    }

    /// Returns the collector of the members of the next record.
    pub(crate) const fn reader(&mut self) -> &mut EntryReader<'a> {
        &mut self.records.reader
    }

    /// Returns the text of the body.
    pub(crate) const fn text(&self) -> &'a str {
        self.text.text
    }

    /// Ends the record that stands in this part of the text. One with nothing to store is left out.
    ///
    /// # Errors
    /// Fails for too many records, and when the memory is used up.
    pub(crate) fn finish(&mut self, span: Range<usize>) -> Result<(), IngestError> {
        if !self.text.replaced.is_empty() && self.text.replaced.touches(self.text.text, span) {
            self.reader().mark_repaired();
        }
        self.records.finish().map(drop)
    }

    /// Adds a record whose message is this text.
    ///
    /// # Errors
    /// Those of [`Self::finish`].
    pub(crate) fn push_text(&mut self, text: Cow<'a, str>, span: Range<usize>) -> Result<(), IngestError> {
        self.reader().set_message(text);
        self.finish(span)
    }

    /// Adds the lines of the text, each as one record. `add` adds what else each record has.
    ///
    /// # Errors
    /// Those of [`Self::finish`].
    pub(crate) fn push_lines(&mut self, add: impl Fn(&mut EntryReader<'a>)) -> Result<(), IngestError> {
        let mut at = 0;
        for line in self.text.text.split('\n') {
            let span = at..at + line.len();
            at = span.end + 1;
            let line = line.strip_suffix('\r').unwrap_or(line);
            if !line.trim_ascii().is_empty() {
                add(self.reader());
                self.push_text(Cow::Borrowed(line), span)?;
            }
        }
        Ok(())
    }

    /// Returns the records.
    pub(crate) fn into_batch(self) -> Batch<'a> {
        self.records.into_batch()
    }
}

/// Reads the records of a JSON text. `NaN` and `Infinity` count as strings.
///
/// # Errors
/// Those of `read`, and when the memory is used up.
pub(crate) fn read_json<'a>(
    text: BodyText<'a>,
    rules: &ReadRules<'_>,
    memory: &dyn BodyMemory,
    read: for<'t, 'm> fn(&mut TextRecords<'t, 'm>) -> Result<(), Unread>,
) -> Result<Batch<'a>, Unread> {
    let mut records = TextRecords::new(text, rules, memory);
    let malformed = match read(&mut records) {
        Ok(()) => return Ok(records.into_batch()),
        Err(malformed @ Unread::Malformed(_)) => malformed,
        Err(refused) => return Err(refused),
    };
    let Some(quoted) = with_quoted_words(text.text) else { return Err(malformed) };
    memory.take(quoted.len()).map_err(IngestError::from)?;
    let everywhere = Replaced::anywhere();
    let replaced = if text.replaced.is_empty() { text.replaced } else { &everywhere };
    let mut records = TextRecords::new(BodyText { text: &quoted, replaced }, rules, memory);
    read(&mut records)?;
    Ok(records.into_batch().into_owned())
}

/// Adds the members of an object, as a native record has them. Its JSON text becomes the message of one
/// that holds none.
///
/// # Errors
/// Fails for a text that is no object.
pub(crate) fn add_native<'a>(reader: &mut EntryReader<'a>, object: &'a str) -> Result<(), Malformed> {
    Scanner::new(object).object(|scanner, name| {
        reader.add(name, scanner.value()?);
        Ok(())
    })?;
    if !reader.has_message() {
        reader.set_message(Cow::Borrowed(object));
    }
    Ok(())
}

/// Adds the members of an object as members that give way to those of the entry.
///
/// # Errors
/// Fails for a text that is no object.
pub(crate) fn add_outer_members<'a>(
    reader: &mut EntryReader<'a>,
    object: &'a str,
    prefix: &'static str,
) -> Result<(), Malformed> {
    Scanner::new(object).object(|scanner, name| {
        if let Some(value) = scanner.value()? {
            reader.add_outer(name, value, prefix);
        }
        Ok(())
    })
}

/// Returns the JSON text of an object with members.
pub(crate) fn object_text<'a>(value: &Value<'a>) -> Option<&'a str> {
    match value {
        Value::Other(text) if value.is_full_object() => Some(text),
        _ => None,
    }
}
