//! Counts refused requests by reason, and filtered records. The set of reasons is fixed, so that a
//! client cannot add a time series.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use crate::guard::Refusal;
use crate::ingest::batch::Changes;
use crate::ingest::error::IngestError;
use crate::ingest::json::batch::BatchError;

macro_rules! reasons {
    ($($reason:ident => $name:literal,)*) => {
        /// Says why a request was not served, as metrics name it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Reason {
            $($reason,)*
        }

        impl Reason {
            /// All reasons.
            pub(crate) const ALL: &[Self] = &[$(Self::$reason,)*];

            /// Returns the name of the reason in snake case.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)*
                }
            }
        }
    };
}

reasons! {
    MissingKey => "missing_key",
    UnknownKey => "unknown_key",
    KeyOffline => "key_offline",
    PathNotAllowed => "path_not_allowed",
    AddressNotAllowed => "address_not_allowed",
    MissingRequiredHeader => "missing_required_header",
    MissingRequiredArgument => "missing_required_argument",
    InvalidRootPassword => "invalid_root_password",
    MissingReferer => "missing_referer",
    InvalidReferer => "invalid_referer",
    MissingForcedHeader => "missing_forced_header",
    Blocked => "blocked",
    // The limits of the key are reached.
    TooManyRequests => "too_many_requests",
    // One address sent too many wrong root passwords.
    TooManyPasswords => "too_many_passwords",
    Maintenance => "maintenance",
    // A 400 without a reason of its own.
    BadRequest => "bad_request",
    // Bytes that are no request, or a head that HTTP forbids.
    MalformedHttp => "malformed_http",
    // A body that is announced as JSON.
    MalformedJson => "malformed_json",
    // A query or form that cannot be read.
    MalformedForm => "malformed_form",
    MalformedEncryption => "malformed_encryption",
    MalformedCompression => "malformed_compression",
    // The connection ended within the body.
    IncompleteBody => "incomplete_body",
    InvalidParameter => "invalid_parameter",
    MessageMissing => "message_missing",
    MessageTooLong => "message_too_long",
    // A message, or a whole request, that cannot be stored for another reason.
    InvalidMessage => "invalid_message",
    InvalidBatch => "invalid_batch",
    BatchTooLong => "batch_too_long",
    InvalidHandshake => "invalid_handshake",
    // The admin socket refused the user.
    NotPermitted => "not_permitted",
    NotFound => "not_found",
    MethodNotAllowed => "method_not_allowed",
    RequestTimeout => "request_timeout",
    // The cursor points to lines that were cleared or deleted by retention.
    Gone => "gone",
    BodyTooLarge => "body_too_large",
    TargetTooLong => "target_too_long",
    UnsupportedMediaType => "unsupported_media_type",
    UnsupportedCompression => "unsupported_compression",
    RangeNotSatisfiable => "range_not_satisfiable",
    HeadersTooLarge => "headers_too_large",
    NotImplemented => "not_implemented",
    WriteFailed => "write_failed",
    ReadFailed => "read_failed",
    // The disk has less free space than `min_free`.
    LowSpace => "low_space",
    Shutdown => "stopping",
    // The queue was full for too long, or the disk did not answer in time.
    AnswerTimeout => "answer_timeout",
    TooManyConnections => "too_many_connections",
    TooManyStreams => "too_many_streams",
    // The memory for bodies, or another shared resource, is used up.
    Overloaded => "overloaded",
    Other => "other",
}

impl Reason {
    /// Returns the reason for an answer with this status when no more precise reason is known.
    pub(crate) const fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::BadRequest,
            401 => Self::MissingKey,
            403 => Self::NotPermitted,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::RequestTimeout,
            410 => Self::Gone,
            413 => Self::BodyTooLarge,
            414 => Self::TargetTooLong,
            415 => Self::UnsupportedMediaType,
            416 => Self::RangeNotSatisfiable,
            422 => Self::InvalidMessage,
            426 => Self::InvalidHandshake,
            429 => Self::TooManyRequests,
            431 => Self::HeadersTooLarge,
            501 => Self::NotImplemented,
            503 => Self::Overloaded,
            _ => Self::Other,
        }
    }
}

impl Reason {
    /// Returns the reason for a request that holds no entries.
    pub(crate) fn of_ingest_error(error: &IngestError) -> Self {
        match error {
            IngestError::Form(_) => Self::MalformedForm,
            IngestError::NotAnObject { .. } => Self::MalformedJson,
            IngestError::Parameter { .. } => Self::InvalidParameter,
            IngestError::Message { why } => Self::of_message(why).unwrap_or(Self::InvalidMessage),
            IngestError::Batch(BatchError::Missing) => Self::MessageMissing,
            IngestError::Batch(BatchError::TooMany(_)) => Self::BatchTooLong,
            IngestError::Batch(BatchError::Entry { why, .. }) => {
                Self::of_message(why).unwrap_or(Self::InvalidBatch)
            }
            IngestError::Batch(BatchError::NotAList) => Self::InvalidBatch,
            IngestError::SeveralRecords => Self::InvalidMessage,
            IngestError::TooManyRecords => Self::BatchTooLong,
            IngestError::UnreadableType
            | IngestError::UnknownCharset(_)
            | IngestError::Memory(_)
            | IngestError::Dialect { .. } => Self::of_status(error.status()),
        }
    }

    /// Returns the reason for a message that cannot be stored, from the words for its sender.
    fn of_message(why: &str) -> Option<Self> {
        if why.contains("missing") {
            Some(Self::MessageMissing)
        } else {
            why.contains("characters").then_some(Self::MessageTooLong)
        }
    }
}

impl From<&Refusal> for Reason {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::MissingKey => Self::MissingKey,
            Refusal::UnknownKey => Self::UnknownKey,
            Refusal::KeyOffline => Self::KeyOffline,
            Refusal::PathNotAllowed => Self::PathNotAllowed,
            Refusal::AddressNotAllowed(_) => Self::AddressNotAllowed,
            Refusal::MissingRequiredHeader => Self::MissingRequiredHeader,
            Refusal::MissingRequiredArgument => Self::MissingRequiredArgument,
            Refusal::InvalidRootPassword => Self::InvalidRootPassword,
            Refusal::MissingReferer => Self::MissingReferer,
            Refusal::InvalidReferer => Self::InvalidReferer,
            Refusal::MissingForcedHeader => Self::MissingForcedHeader,
            Refusal::Blocked => Self::Blocked,
            Refusal::TooManyRequests { quota, .. } if quota.is_empty() => Self::TooManyPasswords,
            Refusal::TooManyRequests { .. } => Self::TooManyRequests,
            Refusal::TooManyVerifications => Self::Overloaded,
            Refusal::Maintenance => Self::Maintenance,
        }
    }
}

/// Counts the requests that were not served, by reason.
#[derive(Debug)]
pub(crate) struct RefusalCounters {
    by_reason: [AtomicU64; Reason::ALL.len()],
}

impl Default for RefusalCounters {
    fn default() -> Self {
        Self { by_reason: array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl RefusalCounters {
    /// Counts one request that was not served.
    #[cfg(test)]
    pub(crate) fn refused(&self, reason: Reason) {
        self.refused_times(reason, 1);
    }

    /// Counts several requests that were not served.
    pub(crate) fn refused_times(&self, reason: Reason, times: u64) {
        self.by_reason[reason as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// Returns the number of requests that were not served for this reason.
    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.by_reason[reason as usize].load(Ordering::Relaxed)
    }
}

/// Counts the datagrams of sockets that are not HTTP.
#[derive(Debug, Default)]
pub(crate) struct DatagramCounters {
    /// Datagrams that were read.
    pub(crate) received: AtomicU64,
    /// Datagrams that were read and not stored.
    pub(crate) dropped: AtomicU64,
    /// Datagrams that the kernel dropped, because the buffer of the socket was full.
    pub(crate) lost: AtomicU64,
}

/// Counts records that were accepted but not stored, and what was changed in records to store them.
#[derive(Debug, Default)]
pub(crate) struct RecordCounters {
    filtered: AtomicU64,
    unknown_levels: AtomicU64,
    cut_messages: AtomicU64,
    dropped_fields: AtomicU64,
    replaced_texts: AtomicU64,
}

impl RecordCounters {
    /// Counts records that were not stored because their level is below the level of the log.
    pub(crate) fn add_filtered(&self, records: u64) {
        self.filtered.fetch_add(records, Ordering::Relaxed);
    }

    /// Counts what was changed in the records of a request.
    pub(crate) fn add_changes(&self, changes: Changes) {
        if changes == Changes::default() {
            return;
        }
        let Changes { unknown_levels, cut_messages, dropped_fields, replaced_texts } = changes;
        self.unknown_levels.fetch_add(unknown_levels, Ordering::Relaxed);
        self.cut_messages.fetch_add(cut_messages, Ordering::Relaxed);
        self.dropped_fields.fetch_add(dropped_fields, Ordering::Relaxed);
        self.replaced_texts.fetch_add(replaced_texts, Ordering::Relaxed);
    }

    /// Returns the number of filtered records.
    pub(crate) fn filtered(&self) -> u64 {
        self.filtered.load(Ordering::Relaxed)
    }

    /// Returns what was changed in all records.
    pub(crate) fn changes(&self) -> Changes {
        Changes {
            unknown_levels: self.unknown_levels.load(Ordering::Relaxed),
            cut_messages: self.cut_messages.load(Ordering::Relaxed),
            dropped_fields: self.dropped_fields.load(Ordering::Relaxed),
            replaced_texts: self.replaced_texts.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::guard::Quota;
    use crate::ingest::entry::reader::EntryError;

    #[test]
    fn every_reason_has_a_unique_name_and_a_counter() {
        let refusals = RefusalCounters::default();
        let mut names = HashSet::new();
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert!(names.insert(reason.name()));
            assert!(reason.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            refusals.refused(*reason);
        }
        assert!(Reason::ALL.iter().all(|reason| refusals.count(*reason) == 1));
    }

    #[test]
    fn wrong_passwords_have_a_reason_apart_from_key_limits() {
        let refusal = Refusal::TooManyRequests { retry_after: Duration::ZERO, quota: Quota::default() };
        assert_eq!(Reason::from(&refusal), Reason::TooManyPasswords);
        assert_eq!(Reason::from(&Refusal::Blocked), Reason::Blocked);
    }

    #[test]
    fn entries_that_cannot_be_stored_have_their_reasons() {
        let reason = |error: EntryError| {
            let why = error.to_string();
            let in_batch = BatchError::Entry { index: 1, why: why.clone().into() };
            let reasons =
                [IngestError::message(why), in_batch.into()].map(|error| Reason::of_ingest_error(&error));
            assert_eq!(reasons[0], reasons[1]);
            reasons[0]
        };
        assert_eq!(reason(EntryError::Missing), Reason::MessageMissing);
        assert_eq!(reason(EntryError::TooLong { chars: 9, max: 8 }), Reason::MessageTooLong);
        let missing = IngestError::from(BatchError::Missing);
        assert_eq!(Reason::of_ingest_error(&missing), Reason::MessageMissing);
    }

    #[test]
    fn every_reason_is_documented() {
        let page = include_str!("../../../docs/monitoring.md");
        let (_, list) = page.split_once("## Reasons of refusals").unwrap();
        let (list, _) = list.split_once("\n## ").unwrap();
        for reason in Reason::ALL {
            assert!(list.contains(&format!("`{}`", reason.name())), "{}", reason.name());
        }
    }
}
