//! Limits how many messages of one kind are logged, so that no client can fill the journal.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Interval in which a limited number of messages is logged.
const INTERVAL: Duration = Duration::from_secs(60);

/// Maximum number of messages that are logged in one interval.
const MAX_LOGGED: u64 = 10;

/// Limits the rate of one kind of message to 10 a minute.
#[derive(Debug, Default)]
pub(crate) struct LogLimit(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    /// The begin of the current interval.
    began: Option<Instant>,
    /// Number of messages in the current interval.
    count: u64,
}

impl LogLimit {
    /// Counts a message at `now`. Returns the number of messages that were not logged before it, or
    /// `None` when this one may not be logged either.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unlogged = 0;
        if window.began.is_none_or(|began| now >= began + INTERVAL) {
            unlogged = window.count.saturating_sub(MAX_LOGGED);
            *window = Window { began: Some(now), count: 0 };
        }
        window.count += 1;
        (window.count <= MAX_LOGGED).then_some(unlogged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_messages_are_admitted_and_the_others_are_counted() {
        let limit = LogLimit::default();
        let time = Instant::now();
        let admitted = (0..100).filter(|_| limit.admit(time) == Some(0)).count() as u64;
        assert_eq!(admitted, MAX_LOGGED);
        assert_eq!(limit.admit(time + INTERVAL / 2), None);
        assert_eq!(limit.admit(time + INTERVAL), Some(101 - MAX_LOGGED));
        assert_eq!(limit.admit(time + INTERVAL), Some(0));
        assert_eq!(limit.admit(time + 3 * INTERVAL), Some(0), "every message was admitted");
    }
}
