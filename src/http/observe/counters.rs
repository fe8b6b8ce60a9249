//! Requests that were not served, counted by reason. The reasons are a fixed set: nothing that a client sends ever
//! becomes one.

use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use crate::guard::Refusal;

macro_rules! reasons {
    ($($reason:ident => $name:literal,)*) => {
        /// Why a request was not served, in an operator's words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Reason {
            $($reason,)*
        }

        impl Reason {
            pub(crate) const ALL: &[Self] = &[$(Self::$reason,)*];

            /// Lower case and `_` only.
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
    // the limits of a key
    TooManyRequests => "too_many_requests",
    // wrong root passwords from one address
    TooManyPasswords => "too_many_passwords",
    Maintenance => "maintenance",
    BadRequest => "bad_request",
    // on the admin socket
    NotPermitted => "not_permitted",
    NotFound => "not_found",
    MethodNotAllowed => "method_not_allowed",
    RequestTimeout => "request_timeout",
    // a cursor of lines that were cleared or retired
    Gone => "gone",
    BodyTooLarge => "body_too_large",
    TargetTooLong => "target_too_long",
    UnsupportedMediaType => "unsupported_media_type",
    RangeNotSatisfiable => "range_not_satisfiable",
    HeadersTooLarge => "headers_too_large",
    NotImplemented => "not_implemented",
    WriteFailed => "write_failed",
    ReadFailed => "read_failed",
    // `min_free`
    LowSpace => "low_space",
    Shutdown => "stopping",
    // the queue was full for too long, or the disk did not answer in time
    AnswerTimeout => "answer_timeout",
    TooManyConnections => "too_many_connections",
    // no memory for bodies, and whatever else there is too much of
    Overloaded => "overloaded",
    Other => "other",
}

impl Reason {
    /// That of an answer with this status, where nothing more is known.
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
            429 => Self::TooManyRequests,
            431 => Self::HeadersTooLarge,
            501 => Self::NotImplemented,
            503 => Self::Overloaded,
            _ => Self::Other,
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
            Refusal::Maintenance => Self::Maintenance,
        }
    }
}

/// The counters.
#[derive(Debug)]
pub(crate) struct RequestCounters {
    refused: [AtomicU64; Reason::ALL.len()],
    filtered: AtomicU64,
}

impl Default for RequestCounters {
    fn default() -> Self {
        Self { refused: std::array::from_fn(|_| AtomicU64::new(0)), filtered: AtomicU64::new(0) }
    }
}

impl RequestCounters {
    /// A request was not served.
    pub(crate) fn refused(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// So many records were accepted and not stored, since their level was too low.
    pub(crate) fn filtered(&self, records: u64) {
        self.filtered.fetch_add(records, Ordering::Relaxed);
    }

    /// How many requests were refused for this reason.
    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].load(Ordering::Relaxed)
    }

    /// How many records were filtered.
    pub(crate) fn all_filtered(&self) -> u64 {
        self.filtered.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::guard::Quota;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_a_counter() {
        let tally = RequestCounters::default();
        let mut names = HashSet::new();
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert!(names.insert(reason.name()));
            assert!(reason.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            tally.refused(*reason);
        }
        assert!(Reason::ALL.iter().all(|reason| tally.count(*reason) == 1));
    }

    #[test]
    fn wrong_passwords_are_no_limit_of_a_key() {
        let refusal = Refusal::TooManyRequests { retry_after: Duration::ZERO, quota: Quota::default() };
        assert_eq!(Reason::from(&refusal), Reason::TooManyPasswords);
        assert_eq!(Reason::from(&Refusal::Blocked), Reason::Blocked);
    }
}
