//! A timer that is armed lazily: a deadline that moves away touches nothing. It is moved when it fires too early, or
//! must fire earlier than it would.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, Sleep, sleep_until};

/// A point on the coarse monotonic clock, milliseconds. Coarse: five times cheaper to read, right within 4 ms.
pub(crate) type Millis = u64;

/// The coarse monotonic clock.
pub(crate) fn now() -> Millis {
    // This clock exists on every Linux since 2.6.32; without it nothing would ever expire.
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)
        .map_or(0, |time| time.tv_sec() as u64 * 1000 + time.tv_nsec() as u64 / 1_000_000)
}

/// See the module. The timer itself is pinned where the future that waits lives.
pub(crate) struct LazyDeadline<'t> {
    armed: Millis,
    timer: Pin<&'t mut Sleep>,
}

impl<'t> LazyDeadline<'t> {
    /// `timer`: of [`timer`], for the same deadline.
    pub(crate) const fn new(deadline: Millis, timer: Pin<&'t mut Sleep>) -> Self {
        Self { armed: deadline, timer }
    }

    /// Ready when `deadline` has passed; asked again after that, not before another second is over.
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
            // Armed for a phase that is over.
            self.arm(deadline);
        }
    }

    fn arm(&mut self, deadline: Millis) {
        self.armed = deadline;
        self.timer.as_mut().reset(instant_of(deadline));
    }
}

/// The timer of an [`LazyDeadline`].
pub(crate) fn timer(deadline: Millis) -> Sleep {
    sleep_until(instant_of(deadline))
}

/// Deadlines are exact within the coarse clock's tick; the timer comes a tick later rather than too early.
fn instant_of(deadline: Millis) -> Instant {
    Instant::now() + Duration::from_millis(deadline.saturating_sub(now()).min(86_400_000) + 5)
}
