//! The fields of a line, written and parsed: as logfmt in the text format, as an object of strings
//! in the JSON format.
//!
//! A text line has ` \| ` between its message and its fields. A message never contains this
//! separator, because its own backslashes are doubled. A value stands bare, or in double quotes
//! with the escapes of a message and `\"`.

use std::borrow::Cow;

use super::LineFormat;
use super::entry::Entry;
use super::escape::{EscapeRules, JSON, VALUE, escape_json_into};
use super::logfmt::{is_name, stands_bare, write_value};

/// The separator between message and fields of a text line.
const SEPARATOR: &str = " \\| ";

/// The start of the fields of a JSON line.
pub(super) const JSON_FIELDS_START: &str = ",\"fields\":{";

/// Appends the fields of `entry` to a text line, with the separator.
#[inline(never)]
pub(super) fn write_text_fields(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let mut separator = SEPARATOR;
    if let Some(at) = entry.at {
        out.extend_from_slice(separator.as_bytes());
        out.extend_from_slice(b"at=");
        out.extend_from_slice(&at.rfc3339());
        separator = " ";
    }
    for field in entry.fields {
        out.extend_from_slice(separator.as_bytes());
        out.extend_from_slice(field.name().as_bytes());
        out.push(b'=');
        write_value(out, field.value());
        separator = " ";
    }
}

/// Appends the fields of `entry` to a JSON line or object, as the member `fields`.
#[inline(never)]
pub(super) fn write_json_fields(out: &mut Vec<u8>, entry: &Entry<'_>) {
    let mut separator = JSON_FIELDS_START;
    if let Some(at) = entry.at {
        out.extend_from_slice(separator.as_bytes());
        out.extend_from_slice(b"\"at\":\"");
        out.extend_from_slice(&at.rfc3339());
        out.push(b'"');
        separator = ",";
    }
    for field in entry.fields {
        out.extend_from_slice(separator.as_bytes());
        write_json_field(out, field.name(), field.value());
        separator = ",";
    }
    out.push(b'}');
}

fn write_json_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    escape_json_into(out, value);
    out.push(b'"');
}

/// The fields of a parsed record. Keeps their text in the line, which is parsed when a caller reads
/// a field. Two of them are equal when they hold the same fields in the same order.
///
/// `T` is `String`, or `Cow<str>` to borrow the text from the line.
#[derive(Debug, Clone, Default)]
pub struct LineFields<T = String> {
    /// The text without the separator, or without the braces of the JSON format. Every reader of it
    /// relies on its having been parsed once.
    text: T,
    format: LineFormat,
}

impl<T: AsRef<str>> LineFields<T> {
    /// Returns whether the record has no fields.
    pub fn is_empty(&self) -> bool {
        self.text.as_ref().is_empty()
    }

    /// Returns names and values in the order of the line.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        let (mut rest, format) = (self.text.as_ref(), self.format);
        std::iter::from_fn(move || {
            let (field, after) = RawField::parse(rest, format)?;
            rest = after.get(1..).unwrap_or_default();
            Some((field.name, field.value()))
        })
    }

    /// Returns the value of the field `name`.
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Appends the member `fields` of a JSON object, with a comma in front. Appends nothing without
    /// fields.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        if self.is_empty() {
            return;
        }
        let mut separator = JSON_FIELDS_START;
        if self.format == LineFormat::Json {
            out.extend_from_slice(separator.as_bytes());
            out.extend_from_slice(self.text.as_ref().as_bytes());
        } else {
            for (name, value) in self.iter() {
                out.extend_from_slice(separator.as_bytes());
                write_json_field(out, name, &value);
                separator = ",";
            }
        }
        out.push(b'}');
    }
}

impl<'a> LineFields<Cow<'a, str>> {
    /// Returns the fields with a copy of their text.
    pub(super) fn into_owned(self) -> LineFields {
        LineFields { text: self.text.into_owned(), format: self.format }
    }

    /// Parses the text behind the separator of a text line. `None` if it is not all fields.
    pub(super) fn of_text(text: &'a str) -> Option<Self> {
        let mut rest = text;
        loop {
            let (_, after) = RawField::parse(rest, LineFormat::Text)?;
            if after.is_empty() {
                return Some(Self { text: Cow::Borrowed(text), format: LineFormat::Text });
            }
            rest = after.strip_prefix(' ')?;
        }
    }

    /// Parses the text behind the opening brace of the fields of a JSON line. Returns the fields and
    /// the rest behind their closing brace. `None` if there is no field or another text.
    pub(super) fn of_json(text: &'a str) -> Option<(Self, &'a str)> {
        let mut rest = text;
        loop {
            let (_, after) = RawField::parse(rest, LineFormat::Json)?;
            if let Some(behind) = after.strip_prefix('}') {
                let text = Cow::Borrowed(text.get(..text.len() - after.len())?);
                return Some((Self { text, format: LineFormat::Json }, behind));
            }
            rest = after.strip_prefix(',')?;
        }
    }
}

impl<T: AsRef<str>> PartialEq for LineFields<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T: AsRef<str>> Eq for LineFields<T> {}

/// One field in a line, its value still escaped.
struct RawField<'a> {
    name: &'a str,
    /// The value without its quotes.
    raw: &'a str,
    /// The escapes of the value. `None` for a bare value.
    rules: Option<&'static EscapeRules>,
}

impl<'a> RawField<'a> {
    /// Parses the field at the start of `text`. Returns the field and the text behind it.
    ///
    /// Accepts only what is written, so that each record has one line: a valid name, and quotes
    /// only around a value that needs them.
    fn parse(text: &'a str, format: LineFormat) -> Option<(Self, &'a str)> {
        let (name, value, rules) = match format {
            LineFormat::Text => {
                let (name, value) = text.split_once('=')?;
                if !value.starts_with('"') {
                    let len = value.find(' ').unwrap_or(value.len());
                    let (raw, rest) = value.split_at(len);
                    let field = Self { name, raw, rules: None };
                    return (is_name(name) && stands_bare(raw)).then_some((field, rest));
                }
                (name, value.get(1..)?, &VALUE)
            }
            LineFormat::Json => {
                let (name, value) = text.strip_prefix('"')?.split_once("\":\"")?;
                (name, value, &JSON)
            }
        };
        let rest = rules.skip(value);
        let raw = value.get(..value.len() - rest.len())?;
        let is_written = format == LineFormat::Json || !stands_bare(raw);
        (is_name(name) && is_written)
            .then_some((Self { name, raw, rules: Some(rules) }, rest.strip_prefix('"')?))
    }

    fn value(&self) -> Cow<'a, str> {
        match self.rules {
            Some(rules) => rules.unescape(self.raw).0,
            None => Cow::Borrowed(self.raw),
        }
    }
}
