//! Provides deadlines on a coarse clock with a lazily armed timer. A deadline that moves into the
//! future does not touch the timer. The timer is armed again only when it fires too early, or when
//! the deadline moves closer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, Sleep, sleep_until};

/// A time on the coarse monotonic clock, or a duration, in milliseconds. The coarse clock is exact
/// within 4 ms, and five times cheaper to read than the fine one.
pub(crate) type Millis = u64;

/// Returns the time of the coarse monotonic clock (`CLOCK_MONOTONIC_COARSE`, clock_gettime(2)).
pub(crate) fn now() -> Millis {
    // Linux has this clock since 2.6.32. On a kernel without it no deadline expires.
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)
        .map_or(0, |time| time.tv_sec() as u64 * 1000 + time.tv_nsec() as u64 / 1_000_000)
}

/// A deadline with a lazily armed timer. The future that waits owns the pinned timer.
pub(crate) struct LazyDeadline<'t> {
    /// The time for which the timer is armed.
    armed: Millis,
    timer: Pin<&'t mut Sleep>,
}

impl<'t> LazyDeadline<'t> {
    /// Wraps a timer that [`timer`] returned for the same deadline.
    pub(crate) const fn new(deadline: Millis, timer: Pin<&'t mut Sleep>) -> Self {
        Self { armed: deadline, timer }
    }

    /// Returns `Ready` when `deadline` has passed. A caller that polls again for the same deadline
    /// gets `Pending` until another second has passed.
    pub(crate) fn poll_expired(&mut self, deadline: Millis, cx: &mut Context<'_>) -> Poll<()> {
        if deadline < self.armed {
            self.arm(deadline);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let time = now();
            if time >= deadline {
                self.arm(time + 1000);
                return Poll::Ready(());
            }
            // The timer was armed for the deadline of an earlier phase.
            self.arm(deadline);
        }
    }

    fn arm(&mut self, deadline: Millis) {
        self.armed = deadline;
        self.timer.as_mut().reset(instant_of(deadline));
    }
}

/// Returns the timer for a [`LazyDeadline`].
pub(crate) fn timer(deadline: Millis) -> Sleep {
    sleep_until(instant_of(deadline))
}

/// Converts `deadline` to tokio's clock. Adds more than one tick of the coarse clock, so that the
/// timer does not fire too early, and limits the wait to one day.
fn instant_of(deadline: Millis) -> Instant {
    Instant::now() + Duration::from_millis(deadline.saturating_sub(now()).min(86_400_000) + 5)
}
