//! Why a request holds no entries.

use std::borrow::Cow;

use http::StatusCode;

use super::body::content::MAX_RECORDS;
use super::body::media_type::READABLE_TYPES;
use super::body::memory::OutOfMemory;
use super::form::FormError;
use super::json::batch::BatchError;
use super::text::UnknownCharset;

/// A request that cannot be decoded or stored. The texts name what the client has to change, and never
/// contain a value that the client sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IngestError {
    /// The query or the form cannot be read.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The body is announced as JSON and is no JSON object.
    #[error("The body must be a JSON object.")]
    NotAnObject {
        /// What is wrong, and where.
        why: String,
    },
    /// The value of a parameter is invalid.
    #[error("{name} parameter format error.")]
    Parameter {
        /// The name of the parameter.
        name: Cow<'static, str>,
        /// What was expected.
        why: Cow<'static, str>,
    },
    /// There is no message, or one that cannot be stored.
    #[error("message parameter format error. {why}")]
    Message {
        /// What is missing, or what was expected.
        why: Cow<'static, str>,
    },
    /// The body holds several records, and the route takes one.
    #[error(
        "message parameter format error. The body holds an array or several JSON texts, and save-log \
        stores one record. Send it to save-logs."
    )]
    SeveralRecords,
    /// The body holds more records than one request may.
    #[error("The body holds more than {MAX_RECORDS} records.")]
    TooManyRecords,
    /// The content type, or the charset, is one that cannot be read.
    #[error("The body was not read, because of its content type. These are read: {READABLE_TYPES}.")]
    UnreadableType,
    /// The charset of the body or of a part is unknown.
    #[error(transparent)]
    UnknownCharset(#[from] UnknownCharset),
    /// The memory of all bodies is used up.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// A dialect refuses the body, in its own words.
    #[error("{why}")]
    Dialect {
        /// The status of the answer.
        status: StatusCode,
        /// The number of the error on the scale of the dialect, if it has one.
        code: Option<u16>,
        /// What is wrong.
        why: Cow<'static, str>,
    },
    /// There is no batch, or one with an entry that cannot be stored.
    #[error("logs parameter format error. {0}")]
    Batch(#[from] BatchError),
}

impl IngestError {
    /// Creates the error for a parameter with an invalid value.
    pub(crate) fn parameter(name: &str, why: impl Into<Cow<'static, str>>) -> Self {
        Self::Parameter { name: Cow::Owned(name.to_owned()), why: why.into() }
    }

    /// Creates the error for a message that cannot be stored.
    pub(crate) fn message(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Message { why: why.into() }
    }

    /// Creates the error for a body that is no JSON.
    pub(crate) fn not_an_object(error: &serde_json::Error) -> Self {
        // serde would quote a value of the wrong type, and that value may be a secret.
        let why = match error.classify() {
            serde_json::error::Category::Data => {
                format!("not a JSON object at line {} column {}", error.line(), error.column())
            }
            _ => error.to_string(),
        };
        Self::NotAnObject { why }
    }

    /// Returns the status of the answer. Senders repeat a malformed request (400) without end, and go on
    /// after one that is well formed but cannot be stored (422).
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Dialect { status, .. } => *status,
            Self::Form(_) | Self::NotAnObject { .. } | Self::Parameter { .. } => StatusCode::BAD_REQUEST,
            Self::Message { .. } | Self::SeveralRecords | Self::Batch(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::UnreadableType | Self::UnknownCharset(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooManyRecords | Self::Memory(OutOfMemory::Ever(_)) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Memory(OutOfMemory::Now) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the number of the error on the scale of its dialect.
    pub(crate) const fn code(&self) -> Option<u16> {
        match self {
            Self::Dialect { code, .. } => *code,
            _ => None,
        }
    }

    /// Returns the explanation for a person, if it does not stand in the text of the error.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::NotAnObject { why } => Some(why),
            Self::Parameter { why, .. } => Some(why),
            _ => None,
        }
    }
}
