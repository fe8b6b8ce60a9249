//! Lets the turns of crowding work run one after the other, so that the event loop looks at its
//! sockets between two of them. Crowding work is a TLS handshake, a pipelined request, and a stream
//! beside many others of its connection.
//!
//! The event loop runs all tasks that are ready before it looks at its sockets again. When many
//! clients begin handshakes at the same time, a request of another client waits for all of them. With
//! the turnstile it waits for one. Requests that come one by one do not pass through it, because that
//! would cost each of them a tenth of its time.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;
use tokio::task::yield_now;

/// The work that waits for a turn, in the order of its arrival.
#[derive(Default)]
pub(crate) struct Turnstile(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    places: VecDeque<Arc<Place>>,
    /// Set while a task lets the work in.
    is_open: bool,
}

/// The place of work that waits for its turn.
pub(crate) struct Place {
    is_called: AtomicBool,
    task: Waker,
}

impl Turnstile {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `handshake`, each of whose turns passes through the turnstile.
    pub(crate) fn regulate<F: Future>(self: &Arc<Self>, handshake: F) -> Regulated<F> {
        Regulated { handshake, turnstile: Arc::clone(self), place: None }
    }

    /// Waits for a turn.
    pub(crate) async fn pass(self: &Arc<Self>) {
        let mut place = None;
        poll_fn(|cx| self.poll_pass(&mut place, cx)).await;
    }

    /// Returns `Ready` when it is the turn of the caller, whose `place` this is. The place is `None`
    /// before and after.
    pub(crate) fn poll_pass(self: &Arc<Self>, place: &mut Option<Arc<Place>>, cx: &Context<'_>) -> Poll<()> {
        if !place.get_or_insert_with(|| self.enter(cx.waker())).is_called.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        *place = None;
        Poll::Ready(())
    }

    /// Adds a task to the end of the queue.
    fn enter(self: &Arc<Self>, task: &Waker) -> Arc<Place> {
        let place = Arc::new(Place { is_called: AtomicBool::new(false), task: task.clone() });
        let mut waiting = self.lock();
        waiting.places.push_back(Arc::clone(&place));
        if !waiting.is_open {
            waiting.is_open = true;
            tokio::spawn(Arc::clone(self).let_in());
        }
        place
    }

    /// Lets one task in each time that the event loop has looked at its sockets, until none waits.
    async fn let_in(self: Arc<Self>) {
        while let Some(place) = self.next() {
            // A task that has ended needs no turn.
            if Arc::strong_count(&place) > 1 {
                place.is_called.store(true, Ordering::Release);
                place.task.wake_by_ref();
                drop(place);
                yield_now().await;
            }
        }
    }

    fn next(&self) -> Option<Arc<Place>> {
        let mut waiting = self.lock();
        let next = waiting.places.pop_front();
        waiting.is_open = next.is_some();
        next
    }
}

pin_project! {
    /// A handshake whose turns pass through the turnstile.
    pub(crate) struct Regulated<F> {
        #[pin]
        handshake: F,
        turnstile: Arc<Turnstile>,
        // Set while the handshake waits for its turn.
        place: Option<Arc<Place>>,
    }
}

impl<F: Future> Future for Regulated<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        ready!(this.turnstile.poll_pass(this.place, cx));
        this.handshake.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    type Events = Arc<Mutex<Vec<char>>>;

    /// Takes turns of this duration, and is ready for the next one at once.
    async fn turns(count: usize, duration: Duration, name: char, events: Events) {
        let mut rest = count;
        poll_fn(|cx| {
            let began = Instant::now();
            while began.elapsed() < duration {}
            events.lock().unwrap().push(name);
            rest -= 1;
            cx.waker().wake_by_ref();
            if rest == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Runs handshakes beside a task that notes each look of the event loop at its sockets.
    async fn run(handshakes: usize, duration: Duration) -> Vec<char> {
        let (turnstile, events) = (Arc::new(Turnstile::default()), Events::default());
        let running: Vec<_> = (0..handshakes)
            .map(|_| tokio::spawn(turnstile.regulate(turns(20, duration, 'T', Arc::clone(&events)))))
            .collect();
        let noted = Arc::clone(&events);
        let looks = tokio::spawn(async move {
            loop {
                noted.lock().unwrap().push('|');
                yield_now().await;
            }
        });
        for handshake in running {
            handshake.await.unwrap();
        }
        looks.abort();
        assert!(turnstile.lock().places.is_empty());
        let events = events.lock().unwrap().clone();
        assert_eq!(events.iter().filter(|event| **event == 'T').count(), 20 * handshakes);
        events
    }

    fn longest_run(events: &[char]) -> usize {
        events.split(|event| *event == '|').map(<[char]>::len).max().unwrap()
    }

    #[tokio::test]
    async fn one_turn_runs_between_two_looks_at_the_sockets() {
        let events = run(5, Duration::from_micros(200)).await;
        assert_eq!(longest_run(&events), 1, "{events:?}");
    }

    #[tokio::test]
    async fn a_handshake_that_has_ended_takes_no_turn() {
        let (turnstile, events) = (Arc::new(Turnstile::default()), Events::default());
        let mut ended: Vec<_> = (0..3)
            .map(|_| Box::pin(turnstile.regulate(turns(1, Duration::ZERO, 'E', Arc::clone(&events)))))
            .collect();
        for handshake in &mut ended {
            assert!(poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await.is_pending());
        }
        drop(ended);
        turnstile.regulate(turns(1, Duration::ZERO, 'T', Arc::clone(&events))).await;
        assert_eq!(*events.lock().unwrap(), ['T']);
    }
}
