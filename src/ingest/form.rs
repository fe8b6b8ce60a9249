//! Reads URL-encoded forms and queries (`application/x-www-form-urlencoded`, WHATWG URL standard).

use std::borrow::Cow;

/// Maximum number of fields of a query or form.
pub(crate) const MAX_FIELDS: usize = 256;

/// Names and values in the order of the form.
pub(crate) type Fields<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A form that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    /// The form has more than [`MAX_FIELDS`] fields.
    #[error("More than {MAX_FIELDS} parameters.")]
    TooManyFields,
    /// The body is not the multipart form that its content type names (RFC 7578).
    #[error("The multipart body is malformed.")]
    MalformedMultipart,
    /// The value of a part is not UTF-8, and is too long to repair.
    #[error("A part of the multipart body is not UTF-8.")]
    NotUtf8,
}

/// Reads the fields of a query or of a URL-encoded body.
///
/// # Errors
/// [`FormError::TooManyFields`] for more than [`MAX_FIELDS`] fields.
pub(crate) fn fields(text: &[u8]) -> Result<Fields<'_>, FormError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let fields: Fields<'_> = form_urlencoded::parse(text).take(MAX_FIELDS + 1).collect();
    if fields.len() > MAX_FIELDS {
        return Err(FormError::TooManyFields);
    }
    Ok(fields)
}
