//! A timer that is armed lazily: a deadline that moves away touches nothing. It is moved when it fires too early, or
//! must fire earlier than it would.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::http::connection::state::{Millis, now};

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
