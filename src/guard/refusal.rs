//! Defines every reason to refuse a request, with its status and its text for the client.

use std::time::Duration;

use http::StatusCode;

use super::client_addr::ClientAddr;
use super::limits::quota::{self, Quota};

/// The reason why a request is refused. `Display` is the `detail` of the answer, word for word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 401: no key, an empty one, or one of more than 1024 characters.
    #[error("Missing API-KEY.")]
    MissingKey,
    /// 401: a key that is not in `api_key.json`.
    #[error("Unknown API-KEY.")]
    UnknownKey,
    /// 403: the key's `status` is false.
    #[error("Your API-KEY is not online.")]
    KeyOffline,
    /// 403: no `allowed_path` of the key admits the path.
    #[error("Your API-KEY can't access to this path.")]
    PathNotAllowed,
    /// 403: the key's `ip` does not contain the client.
    #[error("Your API-KEY can't use from this ip address. ({0})")]
    AddressNotAllowed(ClientAddr),
    /// 403: one of the key's `required.headers` is missing or different.
    #[error("Missing required header.")]
    MissingRequiredHeader,
    /// 403: one of the key's `required.args` is missing or different.
    #[error("Missing required argument.")]
    MissingRequiredArgument,
    /// 403: the root password is wrong or missing, or none is configured.
    #[error("Invalid root password.")]
    InvalidRootPassword,
    /// 403: no `Referer`, although `referer.force` requires one.
    #[error("Missing referer.")]
    MissingReferer,
    /// 403: the origin of the `Referer` is not in `allowed_referer`.
    #[error("Invalid referer.")]
    InvalidReferer,
    /// 403: one of `force_headers` is missing or different.
    #[error("Missing required header, your request was blocked.")]
    MissingForcedHeader,
    /// 403: the client's address is blocked.
    #[error("Your access was blocked by ip filter.")]
    Blocked,
    /// 429: a limit of the key is used up, or the client sent too many wrong root passwords.
    #[error("Too many requests.")]
    TooManyRequests {
        /// Time until one more request can be accepted, or the length of the window when the limit
        /// is 0.
        retry_after: Duration,
        /// The limits of the key; empty for wrong root passwords.
        quota: Quota,
    },
    /// 503: the root passwords of other clients are verified first, and too many wait already.
    #[error("Too many root passwords are being verified.")]
    TooManyVerifications,
    /// 503: maintenance is on, and `maintenance_mode_whitelist` does not contain the client.
    #[error("MocaSystem is currently undergoing maintenance.")]
    Maintenance,
}

/// `Retry-After` of maintenance, whose end is unknown. A minute is long enough to spare the server
/// and short enough for clients not to give up.
const MAINTENANCE_RETRY_AFTER: Duration = Duration::from_secs(60);

/// `Retry-After` of a full queue of verifications, each of which takes a fraction of a second.
const VERIFICATION_RETRY_AFTER: Duration = Duration::from_secs(2);

impl Refusal {
    /// Returns the status of the answer. A 401 needs `WWW-Authenticate` (RFC 9110, section 15.5.2).
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::MissingKey | Self::UnknownKey => StatusCode::UNAUTHORIZED,
            Self::KeyOffline
            | Self::PathNotAllowed
            | Self::AddressNotAllowed(_)
            | Self::MissingRequiredHeader
            | Self::MissingRequiredArgument
            | Self::InvalidRootPassword
            | Self::MissingReferer
            | Self::InvalidReferer
            | Self::MissingForcedHeader
            | Self::Blocked => StatusCode::FORBIDDEN,
            Self::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TooManyVerifications | Self::Maintenance => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the value of `Retry-After`: whole seconds, rounded up, at least 1. `None` when the
    /// answer has no such header.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } => {
                Some(Duration::from_secs(quota::ceil_seconds(*retry_after).max(1)))
            }
            Self::TooManyVerifications => Some(VERIFICATION_RETRY_AFTER),
            Self::Maintenance => Some(MAINTENANCE_RETRY_AFTER),
            _ => None,
        }
    }

    /// Returns the state of the key's limits, for the headers of a 429.
    #[must_use]
    pub const fn quota(&self) -> Option<&Quota> {
        match self {
            Self::TooManyRequests { quota, .. } => Some(quota),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(Refusal, u16, &'static str)> {
        let client = ClientAddr::Ip("::ffff:203.0.113.7".parse().unwrap());
        let retry_after = Duration::from_millis(1_200);
        vec![
            (Refusal::MissingKey, 401, "Missing API-KEY."),
            (Refusal::UnknownKey, 401, "Unknown API-KEY."),
            (Refusal::KeyOffline, 403, "Your API-KEY is not online."),
            (Refusal::PathNotAllowed, 403, "Your API-KEY can't access to this path."),
            (
                Refusal::AddressNotAllowed(client),
                403,
                "Your API-KEY can't use from this ip address. (203.0.113.7)",
            ),
            (Refusal::MissingRequiredHeader, 403, "Missing required header."),
            (Refusal::MissingRequiredArgument, 403, "Missing required argument."),
            (Refusal::InvalidRootPassword, 403, "Invalid root password."),
            (Refusal::MissingReferer, 403, "Missing referer."),
            (Refusal::InvalidReferer, 403, "Invalid referer."),
            (Refusal::MissingForcedHeader, 403, "Missing required header, your request was blocked."),
            (Refusal::Blocked, 403, "Your access was blocked by ip filter."),
            (Refusal::TooManyRequests { retry_after, quota: Quota::default() }, 429, "Too many requests."),
            (Refusal::TooManyVerifications, 503, "Too many root passwords are being verified."),
            (Refusal::Maintenance, 503, "MocaSystem is currently undergoing maintenance."),
        ]
    }

    #[test]
    fn each_refusal_has_its_status_and_text() {
        for (refusal, status, detail) in all() {
            assert_eq!(refusal.status().as_u16(), status, "{detail}");
            assert_eq!(refusal.to_string(), detail);
            assert_eq!(refusal.retry_after().is_some(), status == 429 || status == 503, "{detail}");
            assert_eq!(refusal.quota().is_some(), status == 429, "{detail}");
        }
    }

    #[test]
    fn retry_after_is_rounded_up_to_at_least_one_second() {
        let retry_after_of = |millis| {
            let retry_after = Duration::from_millis(millis);
            Refusal::TooManyRequests { retry_after, quota: Quota::default() }.retry_after()
        };
        assert_eq!(retry_after_of(0), Some(Duration::from_secs(1)));
        assert_eq!(retry_after_of(1_200), Some(Duration::from_secs(2)));
        assert_eq!(retry_after_of(3_000), Some(Duration::from_secs(3)));
    }
}
