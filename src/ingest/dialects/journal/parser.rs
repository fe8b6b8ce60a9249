//! Parses the Journal Export Format in pieces (<https://systemd.io/JOURNAL_EXPORT_FORMATS/>).
//!
//! An entry is a list of fields, and an empty line ends it. A field is `NAME=VALUE` on a line, or a
//! line with the name, the length of the value as 64 bits in little endian, the value, and a line end.
//!
//! No length in the body decides how much memory is taken. A long value is kept up to what a record can
//! hold, and the rest of it is only counted.

use super::entries::{Entries, FieldSpan, OpenEntry};
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::entry::reader::can_be_field;
use crate::record::{MAX_FIELDS_BYTES, SenderTime};

/// Maximum length of a value. journald accepts no longer one.
const MAX_VALUE_BYTES: u64 = 768 * 1024 * 1024;

/// Maximum number of bytes of a name that are kept. A record keeps 128 characters.
const MAX_NAME_BYTES: usize = 4 * 128;

/// Maximum number of fields of an entry that are kept. A record has half as many, and of fields with
/// the same name the last one counts.
const MAX_FIELDS: usize = 256;

/// Maximum number of bytes of a priority or of a time that are kept.
const MAX_SHORT_BYTES: usize = 64;

/// Why a body cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExportError {
    #[error("a field is longer than {MAX_VALUE_BYTES} bytes")]
    TooLong,
    #[error("a binary field does not end where its length says")]
    NoLineEnd,
    #[error("the body ends within a field")]
    CutField,
}

/// The field that a value belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Message,
    Priority,
    Realtime,
    /// A field of the record. Its name and its value begin at these offsets of the texts.
    Field {
        begin: usize,
        value: usize,
    },
    /// A value that no record keeps.
    Nothing,
}

/// What the next byte is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// A part of a name, or the empty line behind an entry.
    #[default]
    Name,
    /// A part of the value on a line.
    Line(Target),
    /// A part of the length of a value, of which this many bytes are known.
    Length([u8; 8], usize),
    /// A part of a value of which this many bytes are missing.
    Binary(Target, u64),
    /// The line end behind a value.
    BinaryEnd(Target),
}

/// Parses a body, and holds the entries that were not taken.
#[derive(Debug, Default)]
pub(super) struct ExportParser {
    state: State,
    name: Vec<u8>,
    entry: OpenEntry,
    /// The value of the current field, unless it is one of the record's fields.
    value: Vec<u8>,
    /// Number of characters of the message that were not kept.
    value_rest: usize,
    /// Bytes of the fields of the entry that are kept.
    field_bytes: usize,
    pub(super) entries: Entries,
}

impl ExportParser {
    /// Returns the memory of the entry that is read, in bytes.
    pub(super) const fn memory_bytes(&self) -> usize {
        self.entry.memory_bytes() + self.value.capacity()
    }

    /// Reads a piece.
    pub(super) fn read(&mut self, mut piece: &[u8], rules: &ReadRules<'_>) -> Result<(), ExportError> {
        while let Some(&byte) = piece.first() {
            let used = match self.state {
                State::Name => self.read_name(piece, rules),
                State::Line(target) => self.read_line(piece, target, rules),
                State::Length(bytes, known) => self.read_length(byte, bytes, known, rules)?,
                State::Binary(target, missing) => self.read_binary(piece, target, missing, rules),
                State::BinaryEnd(_) if byte != b'\n' => return Err(ExportError::NoLineEnd),
                State::BinaryEnd(target) => {
                    self.end_value(target);
                    1
                }
            };
            piece = piece.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends the body. An entry whose fields are whole counts, also without the empty line behind it.
    pub(super) fn end(&mut self) -> Result<(), ExportError> {
        match self.state {
            State::Name if self.name.is_empty() => {}
            State::Line(target) => self.end_value(target),
            _ => return Err(ExportError::CutField),
        }
        self.end_entry();
        Ok(())
    }

    fn read_name(&mut self, piece: &[u8], rules: &ReadRules<'_>) -> usize {
        let end = memchr::memchr2(b'=', b'\n', piece);
        let part = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
        let room = MAX_NAME_BYTES.saturating_sub(self.name.len());
        self.name.extend_from_slice(part.get(..room).unwrap_or(part));
        let Some(end) = end else { return piece.len() };
        if piece.get(end) == Some(&b'=') {
            self.state = State::Line(self.begin_value(rules));
        } else if self.name.is_empty() {
            self.end_entry();
        } else {
            self.state = State::Length([0; 8], 0);
        }
        end + 1
    }

    fn read_line(&mut self, piece: &[u8], target: Target, rules: &ReadRules<'_>) -> usize {
        let end = memchr::memchr(b'\n', piece);
        let part = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
        let target = self.add_part(part, target, rules);
        self.state = State::Line(target);
        let Some(end) = end else { return piece.len() };
        self.end_value(target);
        end + 1
    }

    fn read_length(
        &mut self,
        byte: u8,
        mut bytes: [u8; 8],
        known: usize,
        rules: &ReadRules<'_>,
    ) -> Result<usize, ExportError> {
        bytes[known & 7] = byte;
        if known < 7 {
            self.state = State::Length(bytes, known + 1);
            return Ok(1);
        }
        let length = u64::from_le_bytes(bytes);
        if length > MAX_VALUE_BYTES {
            return Err(ExportError::TooLong);
        }
        let target = self.begin_value(rules);
        self.state = if length == 0 { State::BinaryEnd(target) } else { State::Binary(target, length) };
        Ok(1)
    }

    fn read_binary(&mut self, piece: &[u8], target: Target, missing: u64, rules: &ReadRules<'_>) -> usize {
        let used = usize::try_from(missing).map_or(piece.len(), |missing| missing.min(piece.len()));
        let target = self.add_part(piece.get(..used).unwrap_or_default(), target, rules);
        let missing = missing - used as u64;
        self.state = if missing == 0 { State::BinaryEnd(target) } else { State::Binary(target, missing) };
        used
    }

    /// Ends the name, and begins the value of its field.
    fn begin_value(&mut self, rules: &ReadRules<'_>) -> Target {
        self.value.clear();
        self.value_rest = 0;
        let target = match self.name.as_slice() {
            b"MESSAGE" => Target::Message,
            b"PRIORITY" => Target::Priority,
            b"__REALTIME_TIMESTAMP" => Target::Realtime,
            // It identifies the entry, and says nothing of it.
            b"__CURSOR" => Target::Nothing,
            _ => self.begin_field(rules),
        };
        self.name.clear();
        target
    }

    fn begin_field(&mut self, rules: &ReadRules<'_>) -> Target {
        self.name.make_ascii_lowercase();
        let name = String::from_utf8_lossy(&self.name);
        if !can_be_field(&name) || !rules.keeps(&name) {
            return Target::Nothing;
        }
        let begin = self.entry.texts.len();
        let is_full = self.entry.fields.len() >= MAX_FIELDS;
        if is_full || self.field_bytes + self.name.len() > MAX_FIELDS_BYTES {
            self.entry.left_out += 1;
            return Target::Nothing;
        }
        self.entry.texts.extend_from_slice(&self.name);
        Target::Field { begin, value: self.entry.texts.len() }
    }

    /// Adds a part of a value. Returns where the next part belongs.
    fn add_part(&mut self, part: &[u8], target: Target, rules: &ReadRules<'_>) -> Target {
        match target {
            Target::Nothing => {}
            Target::Message => {
                // No character has more than four bytes.
                let room = (4 * rules.max_message_chars).saturating_sub(self.value.len());
                let (kept, rest) = part.split_at(room.min(part.len()));
                self.value.extend_from_slice(kept);
                self.value_rest += rest.iter().filter(|byte| *byte & 0xc0 != 0x80).count();
            }
            Target::Priority | Target::Realtime => {
                let room = MAX_SHORT_BYTES.saturating_sub(self.value.len());
                self.value.extend_from_slice(part.get(..room).unwrap_or(part));
            }
            Target::Field { begin, .. } => {
                let texts = &mut self.entry.texts;
                if self.field_bytes + (texts.len() - begin) + part.len() > MAX_FIELDS_BYTES {
                    // The line of a record would have no room for it.
                    texts.truncate(begin);
                    self.entry.left_out += 1;
                    return Target::Nothing;
                }
                texts.extend_from_slice(part);
            }
        }
        target
    }

    /// Ends the value of a field. Of messages, priorities and times, the last one counts.
    fn end_value(&mut self, target: Target) {
        self.state = State::Name;
        match target {
            Target::Nothing => {}
            Target::Message => {
                self.entry.has_message = true;
                std::mem::swap(&mut self.entry.message, &mut self.value);
                self.entry.message_rest = self.value_rest;
            }
            Target::Priority => {
                self.entry.has_priority = true;
                std::mem::swap(&mut self.entry.priority, &mut self.value);
            }
            Target::Realtime => self.end_realtime(),
            Target::Field { begin, value } => self.end_field(begin, value),
        }
    }

    fn end_field(&mut self, begin: usize, value: usize) {
        let end = self.entry.texts.len();
        self.field_bytes += end - begin;
        self.entry.fields.push(FieldSpan { name: begin..value, value: value..end });
    }

    /// Reads the time of the entry. One that is no time stays a field.
    fn end_realtime(&mut self) {
        const NAME: &[u8] = b"__realtime_timestamp";
        let micros = std::str::from_utf8(&self.value).ok().and_then(|text| text.parse().ok());
        if let Some(at) = micros.and_then(SenderTime::from_micros) {
            self.entry.at = Some(at);
        } else if self.entry.fields.len() < MAX_FIELDS {
            let begin = self.entry.texts.len();
            self.entry.texts.extend_from_slice(NAME);
            self.entry.texts.extend_from_slice(&self.value);
            self.end_field(begin, begin + NAME.len());
        }
    }

    fn end_entry(&mut self) {
        if !self.entry.is_empty() {
            self.entries.push(&self.entry);
        }
        self.entry.clear();
        self.value.shrink_to(MAX_FIELDS_BYTES);
        self.field_bytes = 0;
    }
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
