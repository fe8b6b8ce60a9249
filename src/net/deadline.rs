//! Provides deadlines on a coarse clock with a lazily armed timer. A deadline that moves into the
//! future does not touch the timer. The timer is armed again only when it fires too early, or when
//! the deadline moves closer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use pin_project_lite::pin_project;
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

pin_project! {
    /// A deadline with a lazily armed timer.
    pub(crate) struct LazyDeadline {
        // The time for which the timer is armed.
        armed: Millis,
        #[pin]
        timer: Sleep,
    }
}

impl LazyDeadline {
    /// Returns a timer that the first poll arms for `deadline`.
    pub(crate) fn new(deadline: Millis) -> Self {
        Self { armed: deadline, timer: sleep_until(instant_of(deadline)) }
    }

    /// Returns `Ready` when `deadline` has passed. A caller that polls again for the same deadline
    /// gets `Pending` until another second has passed.
    pub(crate) fn poll_expired(mut self: Pin<&mut Self>, deadline: Millis, cx: &mut Context<'_>) -> Poll<()> {
        if deadline < self.armed {
            self.as_mut().arm(deadline);
        }
        loop {
            ready!(self.as_mut().project().timer.poll(cx));
            let time = now();
            if time >= deadline {
                self.arm(time + 1000);
                return Poll::Ready(());
            }
            // The timer was armed for the deadline of an earlier phase.
            self.as_mut().arm(deadline);
        }
    }

    fn arm(self: Pin<&mut Self>, deadline: Millis) {
        let this = self.project();
        *this.armed = deadline;
        this.timer.reset(instant_of(deadline));
    }
}

/// Converts `deadline` to tokio's clock. Adds more than one tick of the coarse clock, so that the
/// timer does not fire too early, and limits the wait to one day.
fn instant_of(deadline: Millis) -> Instant {
    Instant::now() + Duration::from_millis(deadline.saturating_sub(now()).min(86_400_000) + 5)
}
