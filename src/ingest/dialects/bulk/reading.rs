//! Reads the lines of a bulk request: an action, and behind it its document.
//!
//! A broken line and an action other than `create` and `index` are refused in their items. All other
//! documents are stored.

use std::borrow::Cow;
use std::ops::Range;

use super::action::{Action, Operation};
use super::items::{Item, ItemError, Items};
use crate::ingest::batch::Batch;
use crate::ingest::body::content::BodyText;
use crate::ingest::body::memory::BodyMemory;
use crate::ingest::body::records::Records;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::error::IngestError;
use crate::ingest::json::lenient::with_quoted_words;
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{Malformed, Scanner};

/// The field of the index of a document.
const INDEX: &str = "index";
/// The name of that field when the document has a member of that name.
const OTHER_INDEX: &str = "bulk.index";

const NO_ACTION: ItemError = ItemError {
    kind: "illegal_argument_exception",
    reason: "Malformed action/metadata line, expected one of [create, index] with an object",
};
const OTHER_ACTION: ItemError = ItemError {
    kind: "illegal_argument_exception",
    reason: "a log only grows: expected one of [create, index]",
};
const NO_DOCUMENT: ItemError =
    ItemError { kind: "action_request_validation_exception", reason: "the document is missing" };
const BROKEN_DOCUMENT: ItemError = ItemError {
    kind: "document_parsing_exception",
    reason: "failed to parse: the document is no JSON object",
};

/// A bulk request that was read.
pub(super) struct Bulk<'a> {
    pub(super) batch: Batch<'a>,
    /// Whether at least one line was an action.
    pub(super) has_actions: bool,
}

/// Reads a bulk request. `index` is that of the path.
///
/// # Errors
/// Fails for too many records, and when the memory is used up.
pub(super) fn read<'a>(
    text: BodyText<'a>,
    index: Option<&Cow<'a, str>>,
    rules: &ReadRules<'_>,
    memory: &dyn BodyMemory,
    items: &mut Items,
) -> Result<Bulk<'a>, IngestError> {
    let records = Records::new(rules, memory);
    let mut reading = Reading { text, at: 0, records, items, rules: *rules, memory, has_actions: false };
    // Most senders repeat one action line, or send lines that differ in the id only.
    let (mut last_line, mut last_action) = ("", None);
    while let Some(line) = reading.next_line() {
        let line = reading.part(&line);
        if line != last_line || last_action.is_none() {
            (last_line, last_action) = (line, Action::of(line));
            if let Some(action) = &mut last_action
                && action.index.is_none()
            {
                action.index = index.cloned();
            }
        }
        reading.act(last_action.as_ref())?;
    }
    Ok(Bulk { has_actions: reading.has_actions, batch: reading.records.into_batch() })
}

struct Reading<'a, 'r, 'i> {
    text: BodyText<'a>,
    /// The position of the next line.
    at: usize,
    records: Records<'a, 'r>,
    items: &'i mut Items,
    rules: ReadRules<'r>,
    memory: &'r dyn BodyMemory,
    has_actions: bool,
}

impl<'a> Reading<'a, '_, '_> {
    /// Does what an action line asks for. `None` stands for a line that is no action.
    fn act(&mut self, action: Option<&Action<'a>>) -> Result<(), IngestError> {
        let Some(action) = action else {
            self.skip_document();
            return self.answer(Operation::Index, None, Some(NO_ACTION));
        };
        match action.operation {
            Some(operation @ (Operation::Create | Operation::Index)) => {
                self.has_actions = true;
                let error = match self.next_line() {
                    None => Some(NO_DOCUMENT),
                    Some(line) => self.document(line, action)?,
                };
                self.answer(operation, Some(action), error)
            }
            Some(operation) => {
                self.has_actions = true;
                if operation == Operation::Update {
                    self.next_line();
                }
                self.answer(operation, Some(action), Some(OTHER_ACTION))
            }
            None => {
                self.skip_document();
                self.answer(Operation::Index, Some(action), Some(NO_ACTION))
            }
        }
    }

    /// Skips the next line, unless it is an action.
    fn skip_document(&mut self) {
        let at = self.at;
        if let Some(line) = self.next_line()
            && Action::is_one(self.part(&line))
        {
            self.at = at;
        }
    }

    /// Adds the item of an action.
    fn answer(
        &mut self,
        operation: Operation,
        action: Option<&Action<'_>>,
        error: Option<ItemError>,
    ) -> Result<(), IngestError> {
        let index = action.and_then(|action| action.index.as_deref());
        let id = action.and_then(|action| action.id.as_deref());
        let len = self.items.push(&Item { operation, index, id, error });
        self.records.count(len)
    }

    /// Reads a document. Returns why it cannot be stored.
    fn document(
        &mut self,
        line: Range<usize>,
        action: &Action<'a>,
    ) -> Result<Option<ItemError>, IngestError> {
        let text = self.part(&line);
        let is_repaired = !self.text.replaced.is_empty() && self.text.replaced.touches(self.text.text, line);
        let Ok(index_name) = read_object(&mut self.records, text) else {
            self.records.discard();
            return self.quoted_document(text, is_repaired, action);
        };
        let document = Document { text, is_repaired, index_name };
        end_document(&mut self.records, &document, action)?;
        Ok(None)
    }

    /// Reads a document that is JSON but for its `NaN` and `Infinity`.
    fn quoted_document(
        &mut self,
        text: &str,
        is_repaired: bool,
        action: &Action<'a>,
    ) -> Result<Option<ItemError>, IngestError> {
        let quoted = text.starts_with('{').then(|| with_quoted_words(text)).flatten();
        let Some(quoted) = quoted else { return Ok(Some(BROKEN_DOCUMENT)) };
        let mut records = Records::new(&self.rules, self.memory);
        let Ok(index_name) = read_object(&mut records, &quoted) else { return Ok(Some(BROKEN_DOCUMENT)) };
        let document = Document { text: &quoted, is_repaired, index_name };
        end_document(&mut records, &document, action)?;
        self.records.append(records.into_batch().into_owned())?;
        Ok(None)
    }

    /// Returns the next line that is not blank, without white space around it.
    fn next_line(&mut self) -> Option<Range<usize>> {
        let text = self.text.text;
        loop {
            let rest = text.get(self.at..).filter(|rest| !rest.is_empty())?;
            let len = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
            let line = rest.get(..len).unwrap_or_default();
            let begin = self.at + (line.len() - line.trim_ascii_start().len());
            self.at += len + 1;
            let line = line.trim_ascii();
            if !line.is_empty() {
                return Some(begin..begin + line.len());
            }
        }
    }

    fn part(&self, line: &Range<usize>) -> &'a str {
        self.text.text.get(line.clone()).unwrap_or_default()
    }
}

/// A document whose members were read.
struct Document<'a> {
    text: &'a str,
    /// Whether bytes of it were no UTF-8.
    is_repaired: bool,
    /// The name of the field of its index.
    index_name: &'static str,
}

/// Reads the members of a document. Returns the name of the field of its index.
fn read_object<'a>(records: &mut Records<'a, '_>, text: &'a str) -> Result<&'static str, Malformed> {
    let mut scanner = Scanner::new(text);
    let mut index_name = INDEX;
    scanner.object(|scanner, name| {
        if name == INDEX {
            index_name = OTHER_INDEX;
        }
        records.reader.add(name, scanner.value()?);
        Ok(())
    })?;
    scanner.end().map(|()| index_name)
}

/// Ends the record of a document. One with nothing to store is stored as its text.
fn end_document<'a>(
    records: &mut Records<'a, '_>,
    document: &Document<'a>,
    action: &Action<'a>,
) -> Result<(), IngestError> {
    if let Some(index) = &action.index {
        records.reader.add(Cow::Borrowed(document.index_name), Some(Value::Text(index.clone())));
    }
    if document.is_repaired {
        records.reader.mark_repaired();
    }
    if !records.finish()? {
        records.reader.add(Cow::Borrowed("message"), Some(Value::Text(Cow::Borrowed(document.text))));
        records.finish()?;
    }
    Ok(())
}
