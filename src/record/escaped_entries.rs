//! Escapes the texts of many entries at once, apart from the parts of a line that are known only when
//! the line is appended: its time and its sequence number.

use super::LineFormat;
use super::entry::Entry;
use super::escape::{escape_into, escape_json_into};
use super::line_fields::{write_json_fields, write_text_fields};

/// The escaped texts of entries, in the form of one format.
#[derive(Debug)]
pub struct EscapedEntries {
    format: LineFormat,
    bytes: Vec<u8>,
    /// The ends of the message and of the fields of each entry.
    ends: Vec<(usize, usize)>,
}

impl EscapedEntries {
    /// Escapes the texts of `entries`.
    #[must_use]
    pub fn of(format: LineFormat, entries: &[Entry<'_>]) -> Self {
        let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry.text_len() + 2).sum());
        let mut ends = Vec::with_capacity(entries.len());
        for entry in entries {
            match format {
                LineFormat::Text => escape_into(&mut bytes, entry.message),
                LineFormat::Json => escape_json_into(&mut bytes, entry.message),
            }
            let message = bytes.len();
            match format {
                LineFormat::Text if entry.has_fields() => write_text_fields(&mut bytes, entry),
                LineFormat::Json if entry.has_fields() => write_json_fields(&mut bytes, entry),
                LineFormat::Text | LineFormat::Json => {}
            }
            ends.push((message, bytes.len()));
        }
        Self { format, bytes, ends }
    }

    /// Returns the format of the lines that the texts are for.
    #[must_use]
    pub const fn format(&self) -> LineFormat {
        self.format
    }

    /// Returns the bytes of all texts.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the message and the fields of each entry.
    pub(super) fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut begin = 0;
        self.ends.iter().map(move |(message, fields)| {
            let parts = (&self.bytes[begin..*message], &self.bytes[*message..*fields]);
            begin = *fields;
            parts
        })
    }
}
