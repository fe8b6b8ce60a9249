//! Defines the phases of an HTTP/1 connection or an HTTP/2 stream, and the time that each phase may
//! take.

use std::time::Duration;

use crate::config::HttpSettings;
use crate::net::deadline::Millis;

/// Names the phase of a connection or stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The connection was accepted, and no byte was received.
    New = 0,
    /// A part of a request's head was received.
    Head = 1,
    /// The head is complete, and the body is not.
    Body = 2,
    /// The request is complete, and the answer has not begun.
    Handling = 3,
    /// The answer has begun.
    Answering = 4,
    /// The last answer has ended, and no byte of the next request was received.
    Idle = 5,
    /// The answer is written. The server discards the rest of the request.
    Lingering = 6,
    /// A chunk of the answer waits for the client's flow control window (HTTP/2 only).
    Offering = 7,
    /// A follower has taken the connection over and writes the answer.
    Following = 8,
    /// The head is complete, and a handler stores the records of the body while it arrives.
    Uploading = 9,
    /// As `Uploading`, but the server does not read the body at the moment.
    Paused = 10,
}

impl Phase {
    /// All phases, in the order of their numbers.
    pub(crate) const ALL: [Self; 11] = [
        Self::New,
        Self::Head,
        Self::Body,
        Self::Handling,
        Self::Answering,
        Self::Idle,
        Self::Lingering,
        Self::Offering,
        Self::Following,
        Self::Uploading,
        Self::Paused,
    ];
}

/// Names the time limit that a connection or stream has exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    /// The client sent no byte of a request. The server closes without an answer.
    Silence,
    /// The client sent a part of a head. The server answers 408.
    Head,
    /// The client sent a part of a body. The server answers 408.
    Body,
    /// The handler had no answer in time. The server answers 503.
    Answer,
    /// The client does not read its answer. The server closes.
    Stalled,
}

/// Holds the maximum duration of each phase in milliseconds, and the maximum size of a head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// Time from the first byte of a request to its last.
    pub(crate) request: Millis,
    /// Time between two reads of a body.
    pub(crate) body_silence: Millis,
    /// Time until the answer begins, and time between two writes that the client accepts.
    pub(crate) response: Millis,
    /// Time between two requests.
    pub(crate) keep_alive: Millis,
    /// Seconds between two requests that answers announce. `None` when the time is too short.
    pub(crate) keep_alive_hint: Option<u64>,
    /// Maximum size of a head in bytes, request line included.
    pub(crate) max_head_bytes: usize,
}

impl Timeouts {
    /// Returns the timeouts that `http.toml` sets.
    pub(crate) fn new(http: &HttpSettings) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4);
        Self {
            request: millis(http.request_timeout),
            body_silence: millis(http.body_timeout),
            response: millis(http.response_timeout),
            keep_alive: millis(http.keep_alive_timeout),
            keep_alive_hint: keep_alive_hint(http.keep_alive_timeout),
            max_head_bytes: usize::try_from(http.max_header_size).unwrap_or(usize::MAX),
        }
    }
}

/// Returns the seconds that answers announce for `keep_alive_timeout`. They are two less, so that a
/// request of a client that waits to the end is on its way before the server closes.
fn keep_alive_hint(timeout: Duration) -> Option<u64> {
    const HINT_MARGIN_SECONDS: u64 = 2;
    timeout.as_secs().checked_sub(HINT_MARGIN_SECONDS).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_is_two_seconds_less_and_absent_below_one() {
        let hint = |seconds| keep_alive_hint(Duration::from_secs_f64(seconds));
        assert_eq!(hint(75.0), Some(73));
        assert_eq!(hint(3.0), Some(1));
        assert_eq!(hint(4.999), Some(2));
        for too_short in [0.001, 1.0, 2.0, 2.999] {
            assert_eq!(hint(too_short), None, "{too_short}");
        }
    }
}
