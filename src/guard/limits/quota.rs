//! Reports the remaining quota of a key in the headers `RateLimit` and `RateLimit-Policy`
//! (draft-ietf-httpapi-ratelimit-headers), which are structured fields (RFC 9651).

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

/// The state of all limits of one request, the tightest first. Empty when no limit applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quota {
    limits: Vec<LimitState>,
}

/// The state of one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitState {
    /// The quoted name (an `sf-string`), unique among the limits of a key.
    pub name: Arc<str>,
    /// Maximum number of requests in a window.
    pub amount: u64,
    /// The length of the window.
    pub window: Duration,
    /// Number of requests that are still accepted until `reset`.
    pub remaining: u64,
    /// Time until the window closes.
    pub reset: Duration,
}

/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const MAX_SF_INTEGER: u64 = 999_999_999_999_999;

impl Quota {
    pub(crate) fn new(mut limits: Vec<LimitState>) -> Self {
        limits.sort_by_key(|limit| (limit.remaining, Reverse(limit.reset)));
        Self { limits }
    }

    /// Returns whether no limit applies. The answer then has no `RateLimit` headers.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    /// Returns the limits, the tightest first. That is the one with the fewest requests left, and
    /// among equals the one with the longest wait.
    #[must_use]
    pub fn limits(&self) -> &[LimitState] {
        &self.limits
    }

    /// Returns the value of `RateLimit`: `"NAME";r=REMAINING;t=SECONDS`, seconds rounded up.
    #[must_use]
    pub fn rate_limit(&self) -> Option<HeaderValue> {
        self.header(Self::write_rate_limit)
    }

    /// Returns the value of `RateLimit-Policy`: `"NAME";q=AMOUNT;w=SECONDS`.
    #[must_use]
    pub fn rate_limit_policy(&self) -> Option<HeaderValue> {
        self.header(Self::write_rate_limit_policy)
    }

    /// Appends the value of `RateLimit` to `out`.
    pub fn write_rate_limit(&self, out: &mut Vec<u8>) {
        self.write(out, |limit| [(b'r', limit.remaining), (b't', ceil_seconds(limit.reset))]);
    }

    /// Appends the value of `RateLimit-Policy` to `out`.
    pub fn write_rate_limit_policy(&self, out: &mut Vec<u8>) {
        self.write(out, |limit| [(b'q', limit.amount), (b'w', ceil_seconds(limit.window))]);
    }

    fn header(&self, write: impl Fn(&Self, &mut Vec<u8>)) -> Option<HeaderValue> {
        if self.is_empty() {
            return None;
        }
        let mut text = Vec::with_capacity(self.limits.len() * 40);
        write(self, &mut text);
        HeaderValue::try_from(text).ok()
    }

    fn write(&self, out: &mut Vec<u8>, parameters: impl Fn(&LimitState) -> [(u8, u64); 2]) {
        for (index, limit) in self.limits.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(limit.name.as_bytes());
            for (name, value) in parameters(limit) {
                out.extend_from_slice(&[b';', name, b'=']);
                out.extend_from_slice(itoa::Buffer::new().format(value.min(MAX_SF_INTEGER)).as_bytes());
            }
        }
    }
}

/// Returns whole seconds, rounded up, so that a client that waits them is not too early.
pub(crate) const fn ceil_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(if duration.subsec_nanos() > 0 { 1 } else { 0 })
}

/// Returns `text` as an `sf-string`. That type is ASCII only, so other bytes and `%` are
/// percent-encoded.
pub(crate) fn sf_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b'%' | ..=0x1f | 0x7f.. => {
                let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half & 15)]);
                quoted.extend(['%', digit(byte >> 4), digit(byte)]);
            }
            plain => quoted.push(char::from(plain)),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(name: &str, amount: u64, window: u64, remaining: u64, reset_ms: u64) -> LimitState {
        let (window, reset) = (Duration::from_secs(window), Duration::from_millis(reset_ms));
        LimitState { name: sf_string(name).into(), amount, window, remaining, reset }
    }

    #[test]
    fn headers_start_with_the_tightest_limit() {
        let quota = Quota::new(vec![
            limit("web-1000/3600", 1000, 3600, 5, 1_000),
            limit("web-60/60", 60, 60, 0, 1_001),
            limit("web-9/99", 9, 99, 0, 90_000),
        ]);
        assert_eq!(
            quota.rate_limit().unwrap(),
            r#""web-9/99";r=0;t=90, "web-60/60";r=0;t=2, "web-1000/3600";r=5;t=1"#
        );
        assert_eq!(
            quota.rate_limit_policy().unwrap(),
            r#""web-9/99";q=9;w=99, "web-60/60";q=60;w=60, "web-1000/3600";q=1000;w=3600"#
        );
        assert_eq!(quota.limits().len(), 3);
    }

    #[test]
    fn no_limits_make_no_headers() {
        assert!(Quota::default().is_empty());
        assert_eq!((Quota::default().rate_limit(), Quota::default().rate_limit_policy()), (None, None));
    }

    #[test]
    fn numbers_are_capped_at_the_largest_sf_integer() {
        let quota = Quota::new(vec![limit("a", u64::MAX, 1, u64::MAX, 0)]);
        assert_eq!(quota.rate_limit().unwrap(), r#""a";r=999999999999999;t=0"#);
    }

    #[test]
    fn names_are_escaped_and_percent_encoded() {
        assert_eq!(sf_string(r#"a "b" \ c%"#), r#""a \"b\" \\ c%25""#);
        assert_eq!(sf_string("ü\n\u{7f}"), r#""%C3%BC%0A%7F""#);
    }

    proptest! {
        #[test]
        fn any_name_makes_a_header(name in any::<String>()) {
            prop_assert!(Quota::new(vec![limit(&name, 1, 1, 1, 1)]).rate_limit().is_some());
        }
    }
}
