//! Classifies bodies by their content type.

use encoding_rs::Encoding;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use crate::ingest::text::{UnknownCharset, charset_of, encoding_of};

/// The types that are read, for people.
pub(crate) const READABLE_TYPES: &str = "application/json (and every type that ends with +json), \
    application/x-ndjson, application/jsonlines, application/json-seq, application/stream+json, \
    application/x-www-form-urlencoded, multipart/form-data, text/plain, application/octet-stream, and \
    bodies without a type";

/// The kind of a body, as its content type names it. The type is a hint: a body that is JSON is read
/// as JSON under every type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// One JSON text.
    Json,
    /// JSON texts, one a line or behind each other.
    JsonLines,
    Form,
    Multipart,
    /// Any text.
    Text,
    /// A body without a content type.
    Unnamed,
    /// A content type that holds no text.
    Unreadable,
}

impl BodyKind {
    /// Returns the kind that `Content-Type` names.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self::named(content_type(headers))
    }

    /// Returns the kind of a media type. Its parameters (`; charset=…`) are ignored.
    pub(crate) fn named(text: &str) -> Self {
        // By far the most frequent type comes first.
        if text == "application/json" {
            return Self::Json;
        }
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "" => Self::Unnamed,
            "application/json" | "text/json" | "application/x-json" | "text/x-json" => Self::Json,
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonlines"
            | "application/x-jsonlines"
            | "application/jsonl"
            | "application/x-jsonl"
            | "application/json-lines"
            | "application/json-seq"
            | "application/stream+json" => Self::JsonLines,
            "application/x-www-form-urlencoded" => Self::Form,
            "multipart/form-data" => Self::Multipart,
            "text/plain" | "application/octet-stream" => Self::Text,
            other if other.ends_with("+json") => Self::Json,
            other if other.ends_with("+json-seq") => Self::JsonLines,
            _ => Self::Unreadable,
        }
    }

    /// Returns whether the type says that the body is JSON.
    pub(crate) const fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::JsonLines)
    }
}

/// Returns the content type, or an empty text.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Returns the encoding that the content type names.
///
/// # Errors
/// Fails for an unknown charset.
pub(crate) fn named_encoding(media_type: &str) -> Result<Option<&'static Encoding>, UnknownCharset> {
    charset_of(media_type).map(encoding_of).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_classified() {
        for (kind, types) in [
            (
                BodyKind::Json,
                &[
                    "application/json",
                    "APPLICATION/JSON; charset=utf-8",
                    "text/json",
                    "application/problem+json",
                    "application/vnd.api+json;x=y",
                    "image/x+json",
                ][..],
            ),
            (
                BodyKind::JsonLines,
                &[
                    "application/x-ndjson",
                    "application/jsonlines",
                    "application/json-seq",
                    "application/stream+json",
                    "Application/Stream+JSON ; charset=utf-8",
                ],
            ),
            (BodyKind::Form, &["application/x-www-form-urlencoded; charset=utf-8"]),
            (BodyKind::Multipart, &["multipart/form-data; boundary=B"]),
            (BodyKind::Text, &["text/plain", "text/plain;charset=UTF-8", "application/octet-stream"]),
            (BodyKind::Unnamed, &["", " ", ";charset=utf-8"]),
            (BodyKind::Unreadable, &["application/xml", "image/png", "text/html", "json", "multipart/mixed"]),
        ] {
            for text in types {
                assert_eq!(BodyKind::named(text), kind, "{text}");
            }
        }
    }

    #[test]
    fn charset_is_read_and_an_unknown_one_refused() {
        assert_eq!(named_encoding("text/plain"), Ok(None));
        assert_eq!(named_encoding("text/plain; charset=latin1"), Ok(Some(encoding_rs::WINDOWS_1252)));
        assert_eq!(named_encoding("text/plain; charset=klingon"), Err(UnknownCharset));
        assert_eq!(named_encoding("text/plain; charset=iso-2022-cn"), Err(UnknownCharset));
    }
}
