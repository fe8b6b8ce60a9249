//! Reads bodies that hold any number of records: an array, JSON objects one a line or behind each
//! other, or lines of text.
//!
//! Nothing in such a body is refused, because a sender would repeat the body without end. An element that
//! is no object is its text, a line that is no JSON is stored as text, and a long message is cut.

use std::borrow::Cow;
use std::ops::Range;

use super::content::{BodyText, MAX_RECORDS, Shape, skip_space};
use super::memory::BodyMemory;
use crate::ingest::batch::Batch;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry::reader::{EntryError, EntryReader};
use crate::ingest::error::IngestError;
use crate::ingest::json::lenient::with_quoted_words;
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{Malformed, Scanner};
use crate::ingest::text::Replaced;

/// Messages that are at least this long are cut, in characters. A log may allow longer ones.
const MIN_CUT_CHARS: usize = 262_144;

/// Memory that is taken at a time, in bytes. Bodies whose entries need less are not counted.
const MEMORY_STEP: usize = 256 * 1024;

/// Returns how records in such bodies are read.
pub(crate) fn stream_rules<'r>(rules: &ReadRules<'r>) -> ReadRules<'r> {
    let max_message_chars = rules.max_message_chars.max(MIN_CUT_CHARS);
    ReadRules { max_message_chars, cuts_messages: true, ..*rules }
}

/// Reads the records of a body.
///
/// # Errors
/// Fails for more than [`MAX_RECORDS`] records, for a body that is announced as one JSON text and is
/// malformed, and when the memory is used up.
pub(crate) fn read_records<'a>(
    text: BodyText<'a>,
    shape: Shape,
    rules: &ReadRules<'_>,
    memory: &dyn BodyMemory,
) -> Result<Batch<'a>, IngestError> {
    let rules = stream_rules(rules);
    let begin = |text| Reading::new(text, shape.is_declared, rules, memory);
    let first = skip_space(text.text.as_bytes()).first().copied();
    if first == Some(b'[') {
        if let Some(batch) = begin(text).array()? {
            return Ok(batch);
        }
        if let Some(quoted) = with_quoted_words(text.text) {
            memory.take(quoted.len())?;
            let everywhere = Replaced::anywhere();
            let replaced = if text.replaced.is_empty() { text.replaced } else { &everywhere };
            let quoted = Reading::new(BodyText { text: &quoted, replaced }, shape.is_declared, rules, memory);
            if let Some(batch) = quoted.array()? {
                return Ok(batch.into_owned());
            }
        }
        if shape.is_one_text {
            return Err(match serde_json::from_str::<serde::de::IgnoredAny>(text.text) {
                Err(error) => IngestError::not_an_object(&error),
                Ok(_) => IngestError::NotAnObject { why: "expected an object or an array".to_owned() },
            });
        }
    }
    let is_json = first == Some(b'{') || shape.is_declared;
    if is_json { begin(text).sequence() } else { begin(text).lines() }
}

/// The records of one body while they are read.
struct Reading<'a, 'r> {
    text: BodyText<'a>,
    is_declared: bool,
    rules: ReadRules<'r>,
    memory: &'r dyn BodyMemory,
    reader: EntryReader<'a>,
    batch: Batch<'a>,
    /// Memory that the entries and their lines need, and that was taken, in bytes.
    needed: usize,
    taken: usize,
}

impl<'a, 'r> Reading<'a, 'r> {
    fn new(text: BodyText<'a>, is_declared: bool, rules: ReadRules<'r>, memory: &'r dyn BodyMemory) -> Self {
        let (reader, batch) = (EntryReader::default(), Batch::default());
        Self { text, is_declared, rules, memory, reader, batch, needed: 0, taken: MEMORY_STEP }
    }

    /// Reads the elements of an array. Returns `None` for a text that is none.
    fn array(mut self) -> Result<Option<Batch<'a>>, IngestError> {
        let mut scanner = Scanner::new(self.text.text);
        let mut refused = None;
        let read = scanner.list(|scanner| {
            let is_object = scanner.peek() == Some(b'{');
            let begin = scanner.position();
            let read = if is_object {
                self.object(scanner)?;
                self.end_object(begin..scanner.position())
            } else {
                let value = scanner.value()?;
                let span = begin..scanner.position();
                self.push_text(self.text_of(value, span.clone()), span)
            };
            read.map_err(|error| {
                refused = Some(error);
                Malformed
            })
        });
        match (read.and_then(|()| scanner.end()), refused) {
            (_, Some(error)) => Err(error),
            (Ok(()), None) => Ok(Some(self.batch)),
            (Err(Malformed), None) => Ok(None),
        }
    }

    /// Reads JSON objects one a line or behind each other. Other lines are text.
    fn sequence(mut self) -> Result<Batch<'a>, IngestError> {
        let text = self.text.text;
        let (mut at, mut end_of_line) = (0, 0);
        // Once one object was broken, the others must end on their lines. Otherwise each of many
        // broken objects would be searched to the end of the body.
        let mut may_span_lines = true;
        while let Some(begin) = self.next_value(at) {
            // Many values may stand on one line, whose end is searched once.
            let mut line_at = |begin| {
                if end_of_line <= begin {
                    end_of_line = line_end(text, begin);
                }
                begin..end_of_line
            };
            if text.get(begin..).is_some_and(|rest| rest.starts_with('{')) {
                let end = if may_span_lines { text.len() } else { line_at(begin).end };
                let mut scanner = Scanner::new(text.get(begin..end).unwrap_or_default());
                if self.object(&mut scanner).is_ok() {
                    at = begin + scanner.position();
                    self.end_object(begin..at)?;
                    // Some senders separate objects by commas.
                    at += usize::from(text.get(at..).is_some_and(|rest| rest.starts_with(',')));
                    continue;
                }
                self.reader = EntryReader::default();
                may_span_lines = false;
            }
            let line = line_at(begin);
            at = line.end;
            self.line(line)?;
        }
        Ok(self.batch)
    }

    /// Reads lines of text. A line that is a JSON object is read as one.
    fn lines(mut self) -> Result<Batch<'a>, IngestError> {
        let text = self.text.text;
        let mut at = 0;
        while at < text.len() {
            let line = at..line_end(text, at);
            at = line.end + 1;
            let content = text.get(line.clone()).unwrap_or_default();
            if content.trim_ascii_start().starts_with('{') {
                let mut scanner = Scanner::new(content);
                if self.object(&mut scanner).and_then(|()| scanner.end()).is_ok() {
                    self.end_object(line)?;
                    continue;
                }
                self.reader = EntryReader::default();
            }
            self.line(line)?;
        }
        Ok(self.batch)
    }

    /// Reads a line that is no JSON object.
    fn line(&mut self, line: Range<usize>) -> Result<(), IngestError> {
        let text = self.text.text.get(line.clone()).unwrap_or_default();
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.trim_ascii().is_empty() || self.quoted_object(text, &line)? {
            return Ok(());
        }
        if !self.is_declared {
            return self.push_text(Cow::Borrowed(text), line);
        }
        let mut scanner = Scanner::new(text);
        match scanner.value().and_then(|value| scanner.end().map(|()| value)) {
            Ok(Some(Value::Text(text))) => self.push_text(text, line),
            Ok(_) => self.push_text(Cow::Borrowed(text.trim_ascii()), line),
            Err(Malformed) => {
                self.reader.mark_unparsed();
                self.push_text(Cow::Borrowed(text), line)
            }
        }
    }

    /// Reads a line that is a JSON object but for its `NaN` and `Infinity`. Returns false for others.
    fn quoted_object(&mut self, text: &str, line: &Range<usize>) -> Result<bool, IngestError> {
        if !text.trim_ascii_start().starts_with('{') {
            return Ok(false);
        }
        let Some(quoted) = with_quoted_words(text) else { return Ok(false) };
        let replaced = if self.touches(line) { Replaced::anywhere() } else { Replaced::NONE };
        let text = BodyText { text: &quoted, replaced: &replaced };
        let mut reading = Reading::new(text, self.is_declared, self.rules, self.memory);
        let mut scanner = Scanner::new(&quoted);
        if reading.object(&mut scanner).and_then(|()| scanner.end()).is_err() {
            return Ok(false);
        }
        reading.end_object(0..quoted.len())?;
        self.check_count()?;
        self.batch.append(reading.batch.into_owned());
        self.count_memory()?;
        Ok(true)
    }

    /// Reads the members of an object.
    fn object(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Malformed> {
        let reader = &mut self.reader;
        scanner.object(|scanner, name| {
            reader.add(name, scanner.value()?);
            Ok(())
        })
    }

    /// Ends the record of an object. An object with nothing to store is stored as its text.
    fn end_object(&mut self, span: Range<usize>) -> Result<(), IngestError> {
        self.mark(&span);
        self.check_count()?;
        match self.reader.finish(&self.rules, None, &mut self.batch) {
            Ok(()) => self.count_memory(),
            Err(EntryError::Missing | EntryError::TooLong { .. }) => {
                let text = self.text.text.get(span.clone()).unwrap_or_default();
                self.push_text(Cow::Borrowed(text.trim_ascii()), span)
            }
        }
    }

    /// Adds a record whose message is this text.
    fn push_text(&mut self, text: Cow<'a, str>, span: Range<usize>) -> Result<(), IngestError> {
        self.mark(&span);
        self.check_count()?;
        self.reader.add(Cow::Borrowed("message"), Some(Value::Text(text)));
        match self.reader.finish(&self.rules, None, &mut self.batch) {
            Ok(()) => self.count_memory(),
            // A message that is there and may be cut is always stored.
            Err(EntryError::Missing | EntryError::TooLong { .. }) => Ok(()),
        }
    }

    fn text_of(&self, value: Option<Value<'a>>, span: Range<usize>) -> Cow<'a, str> {
        match value {
            Some(Value::Text(text)) => text,
            _ => Cow::Borrowed(self.text.text.get(span).unwrap_or_default()),
        }
    }

    fn touches(&self, span: &Range<usize>) -> bool {
        !self.text.replaced.is_empty() && self.text.replaced.touches(self.text.text, span.clone())
    }

    fn mark(&mut self, span: &Range<usize>) {
        if self.touches(span) {
            self.reader.mark_repaired();
        }
    }

    const fn check_count(&self) -> Result<(), IngestError> {
        if self.batch.len() < MAX_RECORDS { Ok(()) } else { Err(IngestError::TooManyRecords) }
    }

    /// Takes the memory that the last entry and its line need.
    fn count_memory(&mut self) -> Result<(), IngestError> {
        self.needed += self.batch.memory_of_last();
        if self.needed > self.taken {
            let more = (self.needed - self.taken).max(MEMORY_STEP);
            self.memory.take(more)?;
            self.taken += more;
        }
        Ok(())
    }

    /// Returns where the next value begins.
    fn next_value(&self, at: usize) -> Option<usize> {
        let rest = self.text.text.as_bytes().get(at..)?;
        let value = skip_space(rest);
        (!value.is_empty()).then_some(at + rest.len() - value.len())
    }
}

/// Returns the end of the line at `at`, without its line feed.
fn line_end(text: &str, at: usize) -> usize {
    let rest = text.as_bytes().get(at..).unwrap_or_default();
    memchr::memchr(b'\n', rest).map_or(text.len(), |offset| at + offset)
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
