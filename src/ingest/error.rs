//! Why a request holds no entries.

use std::borrow::Cow;

use super::form::FormError;
use super::json::batch::BatchError;

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

    /// Returns whether the request is well formed, but holds nothing that can be stored. Senders repeat
    /// a malformed request for ever, and go on after one that is well formed.
    pub(crate) const fn is_well_formed(&self) -> bool {
        matches!(self, Self::Message { .. } | Self::Batch(_))
    }

    /// Returns the explanation for a person, if it does not stand in the text of the error.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Form(_) | Self::Batch(_) | Self::Message { .. } => None,
            Self::NotAnObject { why } => Some(why),
            Self::Parameter { why, .. } => Some(why),
        }
    }
}
