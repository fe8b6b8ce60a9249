//! Reads URL-encoded forms and queries (`application/x-www-form-urlencoded`, WHATWG URL standard).

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use percent_encoding::percent_decode;

/// Maximum number of fields of a query or form that are kept. The others are counted, because a record
/// has room for few of them.
pub(crate) const MAX_FIELDS: usize = 4096;

/// Parameters of a save. They are kept wherever they stand.
pub(crate) const PARAMETERS: [&str; 6] = ["api_key", "root_pass", "message", "msg", "level", "logs"];

/// The fields of a query or form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fields<'a> {
    /// Names and values in the order of the form.
    pub(crate) list: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Number of fields past [`MAX_FIELDS`].
    pub(crate) left_out: usize,
    /// Whether U+FFFD stands for bytes that are no text.
    pub(crate) has_replacements: bool,
}

impl<'a> Fields<'a> {
    /// Adds a field.
    pub(crate) fn push(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        if self.list.len() < MAX_FIELDS || self.is_first_of_parameter(&name) {
            self.list.push((name, value));
        } else {
            self.left_out += 1;
        }
    }

    /// Returns whether this is the first field past the limit with the name of this parameter.
    fn is_first_of_parameter(&self, name: &str) -> bool {
        PARAMETERS.contains(&name) && !self.list.iter().skip(MAX_FIELDS).any(|(field, _)| field == name)
    }
}

/// A form that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    /// The body is not the multipart form that its content type names (RFC 7578).
    #[error("The multipart body is malformed.")]
    MalformedMultipart,
}

/// The field in which a form names its charset (WHATWG HTML standard).
pub(crate) const CHARSET_FIELD: &str = "_charset_";

/// Reads the fields of a query, whose bytes are UTF-8.
pub(crate) fn fields(text: &[u8]) -> Fields<'_> {
    read(text, UTF_8)
}

/// Reads the fields of a URL-encoded body. A field `_charset_` comes before `encoding`.
pub(crate) fn fields_in<'a>(text: &'a [u8], encoding: &'static Encoding) -> Fields<'a> {
    let label = text.split(|byte| *byte == b'&').find_map(|field| field.strip_prefix(b"_charset_="));
    let named = label.and_then(Encoding::for_label_no_replacement);
    read(text, named.unwrap_or(encoding))
}

fn read<'a>(text: &'a [u8], encoding: &'static Encoding) -> Fields<'a> {
    let mut fields = Fields::default();
    for field in text.split(|byte| *byte == b'&').filter(|field| !field.is_empty()) {
        let (name, value) = match memchr::memchr(b'=', field) {
            Some(at) => (&field[..at], &field[at + 1..]),
            None => (field, &field[..0]),
        };
        let name = fields.decoded(name, encoding);
        if name != CHARSET_FIELD {
            let value = fields.decoded(value, encoding);
            fields.push(name, value);
        }
    }
    fields
}

impl<'a> Fields<'a> {
    /// Decodes a name or a value.
    fn decoded(&mut self, bytes: &'a [u8], encoding: &'static Encoding) -> Cow<'a, str> {
        match unescaped(bytes) {
            Cow::Borrowed(bytes) => self.text(bytes, encoding),
            Cow::Owned(bytes) if encoding == UTF_8 => match String::from_utf8(bytes) {
                Ok(text) => Cow::Owned(text),
                Err(error) => Cow::Owned(self.text(error.as_bytes(), encoding).into_owned()),
            },
            Cow::Owned(bytes) => Cow::Owned(self.text(&bytes, encoding).into_owned()),
        }
    }

    /// Decodes bytes, and notes whether some had to be replaced.
    pub(crate) fn text<'b>(&mut self, bytes: &'b [u8], encoding: &'static Encoding) -> Cow<'b, str> {
        if encoding == UTF_8 {
            let text = String::from_utf8_lossy(bytes);
            // Only a text with replacements is a copy.
            self.has_replacements |= matches!(text, Cow::Owned(_));
            return text;
        }
        let (text, has_replacements) = encoding.decode_without_bom_handling(bytes);
        self.has_replacements |= has_replacements;
        text
    }
}

/// Resolves `+` and percent signs.
fn unescaped(bytes: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'+', b'%', bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    let spaced: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let decoded = match Cow::from(percent_decode(&spaced)) {
        Cow::Borrowed(_) => None,
        Cow::Owned(decoded) => Some(decoded),
    };
    Cow::Owned(decoded.unwrap_or(spaced))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_past_the_limit_are_counted_and_parameters_are_kept() {
        let mut text = "a=1&".repeat(MAX_FIELDS);
        text.push_str("b=2&message=first&message=second&api_key=k&c=3");
        let fields = fields(text.as_bytes());
        let past: Vec<_> = fields.list.iter().skip(MAX_FIELDS).map(|(_, value)| value.as_ref()).collect();
        assert_eq!((past, fields.left_out), (vec!["first", "k"], 3));
    }

    fn pairs(text: &[u8], encoding: &'static Encoding) -> (Vec<(String, String)>, bool) {
        let Fields { list, has_replacements, .. } = fields_in(text, encoding);
        let owned = |(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned());
        (list.into_iter().map(owned).collect(), has_replacements)
    }

    #[test]
    fn bytes_are_decoded_in_the_charset_of_the_form() {
        let one = |value: &str| vec![("m".to_owned(), value.to_owned())];
        assert_eq!(pairs(b"m=%E9+x", encoding_rs::WINDOWS_1252), (one("é x"), false));
        assert_eq!(pairs(b"m=\xe9", encoding_rs::WINDOWS_1252), (one("é"), false));
        assert_eq!(pairs(b"m=%93%FA%96%7B", encoding_rs::SHIFT_JIS), (one("日本"), false));
        assert_eq!(pairs(b"m=%93%FA&_charset_=Shift_JIS", UTF_8), (one("日"), false));
        assert_eq!(pairs(b"_charset_=klingon&m=%C3%A9", UTF_8), (one("é"), false));
        assert_eq!(pairs(b"m=a%ffb", UTF_8), (one("a\u{fffd}b"), true));
        assert_eq!(pairs(b"m=a\xffb", UTF_8), (one("a\u{fffd}b"), true));
        assert_eq!(pairs(b"m=%EF%BF%BD", UTF_8), (one("\u{fffd}"), false));
        assert_eq!(pairs(b"m=%ff", encoding_rs::SHIFT_JIS), (one("\u{fffd}"), true));
    }

    proptest::proptest! {
        #[test]
        fn any_form_is_read_as_the_standard_says(text: Vec<u8>, escaped in "[a-c=&+%0-9A-F]{0,40}") {
            for text in [&text[..], escaped.as_bytes()] {
                if memchr::memmem::find(text, b"_charset_").is_none() {
                    let expected: Vec<_> = form_urlencoded::parse(text).collect();
                    proptest::prop_assert_eq!(fields_in(text, UTF_8).list, expected);
                }
            }
        }

        #[test]
        fn any_latin1_form_comes_back(value in "[\\u{20}-\\u{7e}\\u{a0}-\\u{ff}]{0,20}") {
            let bytes: Vec<u8> = value.chars().map(|c| c as u8).collect();
            let encoded: String = form_urlencoded::byte_serialize(&bytes).collect();
            let text = format!("m={encoded}");
            let expected = (vec![("m".to_owned(), value)], false);
            proptest::prop_assert_eq!(pairs(text.as_bytes(), encoding_rs::WINDOWS_1252), expected);
        }
    }
}
