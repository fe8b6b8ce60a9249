//! Drives one connection: its work, its deadline, and the steps of a stop.
//!
//! Each loop that serves a connection implements [`ConnectionWork`] and runs in [`drive`], so that
//! the order of wake-ups, the lazily armed timer and the grace period of a stop exist once. The fast
//! path polls the [`ConnectionDriver`] itself, and only while it waits.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio_util::sync::WaitForCancellationFuture;

use super::deadline::{LazyDeadline, Millis, now};
use super::shutdown::{DRAIN_GRACE, Shutdown};

/// The work of one connection, or of one stream of a connection.
pub(crate) trait ConnectionWork {
    /// The result of the work.
    type Output;

    /// The time limits of the work.
    type Limit;

    /// Continues the work until it has to wait.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<Self::Output>;

    /// Returns the time until which the work may wait, and the limit that it has exceeded then.
    fn deadline(&self) -> (Millis, Self::Limit);

    /// Handles a deadline that has passed while the work waited. Returns the result when the work
    /// ends.
    fn on_expired(&mut self, limit: Self::Limit) -> ControlFlow<Self::Output>;

    /// Notes that the service stops. The connection may wait until the end of the grace period for a
    /// request that is on its way.
    fn on_drain(&mut self, _grace_end: Millis) {}

    /// Notes that the stop is near its end, so that no answer may wait any longer. Returns the
    /// result when the work ends.
    fn on_hurry(&mut self) -> ControlFlow<Self::Output> {
        ControlFlow::Continue(())
    }
}

/// Runs `work` to its end. On each wake-up it learns of a stop first, then it continues, and then
/// its deadline is checked.
pub(crate) async fn drive<W: ConnectionWork>(shutdown: &Shutdown, work: &mut W) -> W::Output {
    let mut driver = pin!(ConnectionDriver::new(shutdown, work.deadline().0));
    poll_fn(|cx| {
        while let Poll::Ready(step) = driver.as_mut().poll_stop(cx) {
            match step {
                StopStep::Drain => work.on_drain(now() + DRAIN_GRACE),
                StopStep::Hurry => {
                    if let ControlFlow::Break(output) = work.on_hurry() {
                        return Poll::Ready(output);
                    }
                }
            }
        }
        loop {
            if let Poll::Ready(output) = work.poll_work(cx) {
                return Poll::Ready(output);
            }
            let (deadline, limit) = work.deadline();
            ready!(driver.as_mut().poll_expired(deadline, cx));
            if let ControlFlow::Break(output) = work.on_expired(limit) {
                return Poll::Ready(output);
            }
        }
    })
    .await
}

/// A step of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopStep {
    /// The connection accepts no further request.
    Drain,
    /// The connection refuses a request that is still unanswered.
    Hurry,
}

pin_project! {
    /// Watches the deadline of a connection and the steps of a stop. It needs no allocation, and
    /// waits for one step at a time.
    pub(crate) struct ConnectionDriver<'s> {
        shutdown: &'s Shutdown,
        // The last step that was reported.
        reported: Option<StopStep>,
        #[pin]
        next_step: WaitForCancellationFuture<'s>,
        #[pin]
        deadline: LazyDeadline,
    }
}

impl<'s> ConnectionDriver<'s> {
    /// Returns a driver whose timer is armed for `deadline` first.
    pub(crate) fn new(shutdown: &'s Shutdown, deadline: Millis) -> Self {
        Self {
            shutdown,
            reported: None,
            next_step: shutdown.drain.cancelled(),
            deadline: LazyDeadline::new(deadline),
        }
    }

    /// Returns each step of a stop once, in order.
    pub(crate) fn poll_stop(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<StopStep> {
        let mut this = self.project();
        if *this.reported == Some(StopStep::Hurry) {
            return Poll::Pending;
        }
        ready!(this.next_step.as_mut().poll(cx));
        let step = match *this.reported {
            None => {
                this.next_step.set(this.shutdown.hurry.cancelled());
                StopStep::Drain
            }
            Some(_) => StopStep::Hurry,
        };
        *this.reported = Some(step);
        Poll::Ready(step)
    }

    /// Reports whether the drain was reported.
    pub(crate) const fn is_draining(&self) -> bool {
        self.reported.is_some()
    }

    /// Returns `Ready` from the time on at which unanswered requests are refused.
    pub(crate) fn poll_hurry(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while self.as_mut().poll_stop(cx).is_ready() {}
        if self.reported == Some(StopStep::Hurry) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Returns `Ready` when `deadline` has passed, see [`LazyDeadline::poll_expired`].
    pub(crate) fn poll_expired(self: Pin<&mut Self>, deadline: Millis, cx: &mut Context<'_>) -> Poll<()> {
        self.project().deadline.poll_expired(deadline, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio_util::sync::CancellationToken;

    use super::*;

    /// Work that ends at its deadline or at the hurry, and notes what it learned.
    struct Recorder {
        deadline: Millis,
        events: Vec<&'static str>,
        polls: usize,
    }

    impl ConnectionWork for Recorder {
        type Output = &'static str;
        type Limit = ();

        fn poll_work(&mut self, _: &mut Context<'_>) -> Poll<&'static str> {
            self.polls += 1;
            Poll::Pending
        }

        fn deadline(&self) -> (Millis, ()) {
            (self.deadline, ())
        }

        fn on_expired(&mut self, (): ()) -> ControlFlow<&'static str> {
            self.events.push("expired");
            ControlFlow::Break("expired")
        }

        fn on_drain(&mut self, grace_end: Millis) {
            assert!(grace_end > now(), "the grace period has not begun");
            self.events.push("drain");
        }

        fn on_hurry(&mut self) -> ControlFlow<&'static str> {
            self.events.push("hurry");
            ControlFlow::Break("hurry")
        }
    }

    fn shutdown() -> Shutdown {
        Shutdown { drain: CancellationToken::new(), hurry: CancellationToken::new() }
    }

    fn recorder(time: Millis) -> Recorder {
        Recorder { deadline: now() + time, events: Vec::new(), polls: 0 }
    }

    #[tokio::test]
    async fn work_ends_at_its_deadline() {
        let mut work = recorder(20);
        assert_eq!(drive(&shutdown(), &mut work).await, "expired");
        assert!(now() >= work.deadline);
        assert_eq!(work.events, ["expired"]);
    }

    #[tokio::test]
    async fn work_learns_of_each_step_once_and_in_order() {
        let shutdown = shutdown();
        let mut work = recorder(60_000);
        {
            let mut driving = pin!(drive(&shutdown, &mut work));
            let mut cx = Context::from_waker(Waker::noop());
            assert!(driving.as_mut().poll(&mut cx).is_pending());
            shutdown.drain.cancel();
            assert!(driving.as_mut().poll(&mut cx).is_pending());
            assert!(driving.as_mut().poll(&mut cx).is_pending());
            shutdown.hurry.cancel();
            assert_eq!(driving.as_mut().poll(&mut cx), Poll::Ready("hurry"));
        }
        assert_eq!((work.events, work.polls), (vec!["drain", "hurry"], 3));
    }

    #[tokio::test]
    async fn steps_of_a_finished_stop_come_at_once() {
        let shutdown = shutdown();
        shutdown.drain.cancel();
        shutdown.hurry.cancel();
        let mut work = recorder(60_000);
        assert_eq!(drive(&shutdown, &mut work).await, "hurry");
        assert_eq!((work.events, work.polls), (vec!["drain", "hurry"], 0));
    }

    #[tokio::test]
    async fn hurry_stays_ready() {
        let shutdown = shutdown();
        let mut driver = pin!(ConnectionDriver::new(&shutdown, now() + 60_000));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(driver.as_mut().poll_hurry(&mut cx).is_pending());
        shutdown.drain.cancel();
        assert!(driver.as_mut().poll_hurry(&mut cx).is_pending());
        shutdown.hurry.cancel();
        assert!(driver.as_mut().poll_hurry(&mut cx).is_ready());
        assert!(driver.as_mut().poll_hurry(&mut cx).is_ready());
        assert!(driver.as_mut().poll_stop(&mut cx).is_pending());
    }

    #[tokio::test]
    async fn step_wakes_a_connection_that_waits() {
        let shutdown = shutdown();
        let stopping = shutdown.clone();
        let mut work = recorder(60_000);
        let stop = async {
            stopping.drain.cancel();
            tokio::task::yield_now().await;
            stopping.hurry.cancel();
        };
        let (output, ()) = tokio::join!(drive(&shutdown, &mut work), stop);
        assert_eq!(output, "hurry");
    }
}
