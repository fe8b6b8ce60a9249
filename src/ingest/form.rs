//! Reads URL-encoded forms and queries (`application/x-www-form-urlencoded`, WHATWG URL standard).

use std::borrow::Cow;

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
    /// The value of a part is not UTF-8, and is too long to repair.
    #[error("A part of the multipart body is not UTF-8.")]
    NotUtf8,
}

/// Reads the fields of a query or of a URL-encoded body.
pub(crate) fn fields(text: &[u8]) -> Fields<'_> {
    let mut fields = Fields::default();
    if !text.is_empty() {
        for (name, value) in form_urlencoded::parse(text) {
            fields.push(name, value);
        }
    }
    fields
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
}
