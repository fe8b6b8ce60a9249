//! What a body holds that is no parameter.

use crate::ingest::json::scanner::Scanner;
use crate::ingest::text::Replaced;

/// Maximum number of records of one body that is no batch in `logs`.
pub(crate) const MAX_RECORDS: usize = 131_072;

/// A text of a body, and where bytes of it were replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyText<'a> {
    pub(crate) text: &'a str,
    pub(crate) replaced: &'a Replaced,
}

/// What a body holds beside parameters.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Content<'a> {
    /// Nothing.
    #[default]
    None,
    /// One message.
    Message(BodyText<'a>),
    /// Any number of records.
    Records {
        text: BodyText<'a>,
        /// How the records stand in the text.
        shape: Shape,
    },
    /// An array, or several JSON texts, where one record is expected.
    Several,
    /// Something that cannot be read.
    Unreadable,
}

/// How records stand in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Whether the content type says that the body is JSON.
    pub(crate) is_declared: bool,
    /// Whether it says that the body is one JSON text, which must be well formed.
    pub(crate) is_one_text: bool,
}

impl Content<'_> {
    /// Returns whether the body is JSON as a whole. An encrypted body that is JSON can only come from
    /// a sender that knows the secret.
    pub(crate) fn is_json_throughout(&self) -> bool {
        match self {
            Content::Records { text, .. } => is_several(text.text),
            Content::Several => true,
            Content::None | Content::Message(_) | Content::Unreadable => false,
        }
    }
}

/// Returns the text behind its white space, and behind the record separators of
/// `application/json-seq` (RFC 7464).
pub(super) fn skip_space(text: &[u8]) -> &[u8] {
    let mut rest = text.trim_ascii_start();
    while let Some(after) = rest.strip_prefix(b"\x1e") {
        rest = after.trim_ascii_start();
    }
    rest
}

/// Returns the part of a text that [`skip_space`] leaves.
pub(super) fn behind_space(text: &str) -> &str {
    text.get(text.len() - skip_space(text.as_bytes()).len()..).unwrap_or_default()
}

/// Returns whether the text is an array, or a sequence of JSON objects.
pub(super) fn is_several(text: &str) -> bool {
    let mut rest = behind_space(text);
    let is_array = rest.starts_with('[');
    loop {
        let mut scanner = Scanner::new(rest);
        if !rest.starts_with(['{', '[']) || scanner.raw().is_err() {
            return false;
        }
        rest = behind_space(rest.get(scanner.position()..).unwrap_or_default());
        if rest.is_empty() {
            return true;
        }
        if is_array {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_records_are_an_array_or_a_sequence_of_objects() {
        for text in ["[]", " [1,{}] ", "{}{}", "{\"a\":1}\n{\"b\":2}\n", "\u{1e}{}\n\u{1e}{}\n", "{}\r\n{}"] {
            assert!(is_several(text), "{text:?}");
        }
        for text in ["", " ", "[", "[1", "[] x", "[] []", "{} x", "{},{}", "{} 1", "1", "x {}"] {
            assert!(!is_several(text), "{text:?}");
        }
    }
}
