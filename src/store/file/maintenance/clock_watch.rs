//! Decides whether retention by age may trust the system clock. One wrong reading of it, such as that
//! of a broken battery clock, would otherwise remove the whole history.
//!
//! The clock is compared with the time since the machine was booted, which includes the time in which
//! the machine was suspended. At a start it is compared with the last time in the saved state.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::record::now_micros;

/// Maximum step forward that is trusted, in microseconds.
const MAX_STEP_MICROS: i64 = 3600 * 1_000_000;

/// Time for which the clock must agree with itself before it is trusted again.
const SETTLE_MICROS: i64 = 3600 * 1_000_000;

/// Maximum step in either direction while the clock settles. Corrections by NTP are smaller.
const MAX_SETTLING_STEP_MICROS: i64 = 10 * 1_000_000;

/// The comparison of the system clock with itself.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch {
    /// The last time in the saved state, microseconds since the epoch.
    known: Option<i64>,
    /// The log has a history, so that the saved state should have a time.
    has_history: bool,
    /// System clock minus time since boot when the clock was last found right.
    offset: Option<i64>,
    /// The time since boot at which the clock is trusted again. `None`: it is trusted.
    settled_at: Option<i64>,
}

/// A step forward that is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jump {
    /// The clock moved forward while the process ran.
    Running(Duration),
    /// The clock is that much later than at the last time in the saved state.
    Start(Duration),
    /// The saved state has no time.
    Unknown,
}

impl ClockWatch {
    /// Returns a watch for a process that starts. `known` is the last time in the saved state.
    pub(crate) fn new(known: Option<i64>, has_history: bool) -> Self {
        Self { known, has_history, ..Self::default() }
    }

    /// Compares the clock now. Returns a jump when it is noticed.
    pub(crate) fn observe(&mut self) -> Option<Jump> {
        // The system has this clock since Linux 2.6.39.
        let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
        self.observe_at(now_micros(), i64::try_from(boot.as_micros()).unwrap_or(i64::MAX))
    }

    fn observe_at(&mut self, clock: i64, boot: i64) -> Option<Jump> {
        let offset = clock.saturating_sub(boot);
        let moved = self.offset.map(|before| offset.saturating_sub(before));
        let jump = match (moved, self.known) {
            (Some(moved), _) => (moved > MAX_STEP_MICROS).then_some(Jump::Running(micros(moved))),
            (None, Some(known)) => {
                let later = clock.saturating_sub(known);
                (later > MAX_STEP_MICROS).then_some(Jump::Start(micros(later)))
            }
            (None, None) => self.has_history.then_some(Jump::Unknown),
        };
        let moved = moved.unwrap_or(0);
        let is_unsettled = self.settled_at.is_some() && moved.abs() > MAX_SETTLING_STEP_MICROS;
        if jump.is_some() || is_unsettled {
            self.settled_at = Some(boot.saturating_add(SETTLE_MICROS));
        } else if self.settled_at.is_some_and(|at| at <= boot) {
            self.settled_at = None;
            log::info!("the system clock agreed with itself for an hour: `max_age` applies again");
        }
        // A slow drift forward adds up, so that many small steps are noticed as well.
        if self.offset.is_none() || jump.is_some() || is_unsettled || moved < 0 {
            self.offset = Some(offset);
        }
        jump
    }

    /// Returns whether retention by age may act.
    pub(crate) const fn is_trusted(&self) -> bool {
        self.settled_at.is_none()
    }
}

impl std::fmt::Display for Jump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Running(by) => write!(f, "the system clock moved forward by {} seconds", by.as_secs()),
            Self::Start(by) => write!(
                f,
                "the system clock is {} seconds later than the last time that the saved state knows",
                by.as_secs()
            ),
            Self::Unknown => f.write_str("the saved state does not know when the log was used last"),
        }
    }
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(micros.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3600 * SECOND;
    const DAY: i64 = 24 * HOUR;

    #[test]
    fn step_forward_is_not_trusted_until_the_clock_agreed_with_itself_for_an_hour() {
        let mut watch = ClockWatch::new(Some(100 * DAY), true);
        assert_eq!(watch.observe_at(100 * DAY + 60 * SECOND, DAY), None);
        // The machine was suspended for a day.
        assert_eq!(watch.observe_at(101 * DAY, 2 * DAY - 60 * SECOND), None);
        assert!(watch.is_trusted());
        let jump = watch.observe_at(466 * DAY, 2 * DAY);
        assert!(matches!(jump, Some(Jump::Running(by)) if by.as_secs() > 364 * 86_400), "{jump:?}");
        assert_eq!(watch.observe_at(466 * DAY + HOUR - 1, 2 * DAY + HOUR - 1), None);
        assert!(!watch.is_trusted());
        // It is right again. The hour begins anew.
        assert_eq!(watch.observe_at(101 * DAY + HOUR, 2 * DAY + HOUR), None);
        assert!(!watch.is_trusted());
        watch.observe_at(101 * DAY + 2 * HOUR, 2 * DAY + 2 * HOUR);
        assert!(watch.is_trusted());
    }

    #[test]
    fn start_is_compared_with_the_last_known_time() {
        for (known, has_history, expected) in [
            (Some(0), true, None),
            (Some(-HOUR), true, None),
            (Some(5 * DAY), true, None),
            (Some(-HOUR - 1), true, Some(Jump::Start(Duration::from_micros(HOUR as u64 + 1)))),
            (None, true, Some(Jump::Unknown)),
            (None, false, None),
        ] {
            let mut watch = ClockWatch::new(known, has_history);
            assert_eq!(watch.observe_at(0, DAY), expected, "{known:?} {has_history}");
            assert_eq!(watch.is_trusted(), expected.is_none());
        }
    }

    #[test]
    fn clock_that_was_set_back_is_watched_from_there() {
        let mut watch = ClockWatch::new(None, false);
        watch.observe_at(100 * DAY, DAY);
        assert_eq!(watch.observe_at(95 * DAY, DAY + SECOND), None);
        assert!(watch.observe_at(100 * DAY, DAY + 2 * SECOND).is_some());
    }

    proptest! {
        /// The clock is trusted only if it did not move forward by more than an hour within the
        /// last hour. Earlier readings do not matter.
        #[test]
        fn trusted_clock_has_not_jumped_for_an_hour(steps in prop::collection::vec((0_i64..2 * HOUR, -3 * DAY..3 * DAY, prop::bool::weighted(0.3)), 1..40)) {
            let mut watch = ClockWatch::new(None, false);
            let (mut boot, mut error) = (DAY, 0);
            let mut jumped_at = None;
            watch.observe_at(1000 * DAY + boot, boot);
            for (passed, step, steps) in steps {
                boot += passed;
                if steps {
                    error += step;
                    if step > HOUR {
                        jumped_at = Some(boot);
                    }
                }
                watch.observe_at(1000 * DAY + boot + error, boot);
                if jumped_at.is_some_and(|at| boot < at + HOUR) {
                    prop_assert!(!watch.is_trusted());
                }
            }
        }
    }
}
