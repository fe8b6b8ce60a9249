//! Lets connections whose work takes long run one after the other, so that the event loop looks at
//! its sockets between two of them.
//!
//! The event loop runs all tasks that are ready before it looks at its sockets again. When many
//! clients send at full speed, or begin handshakes, a request of another client waits for a turn of
//! each of them. With the turnstile it waits for one turn.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tokio::task::yield_now;

/// Duration of a long turn. A record takes a tenth of it, and a short answer a quarter.
const LONG_TURN: Duration = Duration::from_micros(100);

/// Score of a connection above which it passes through the turnstile. One long turn is not enough,
/// since the kernel may have stopped the thread during a short one.
const MAX_FREE_SCORE: u8 = 4;

/// Points for a long turn. A short one takes one point.
const LONG_TURN_POINTS: u8 = 4;

const MAX_SCORE: u8 = 8;

/// Score of a new connection, whose first turns are long: a handshake, or the allocation of all that
/// it needs.
const FIRST_SCORE: u8 = MAX_FREE_SCORE + 2;

/// Connections that wait for a long turn, in the order of their arrival.
#[derive(Default)]
pub(crate) struct Turnstile(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    places: VecDeque<Arc<Place>>,
    /// Set while a task lets the connections in.
    is_open: bool,
}

/// The place of a connection that waits for its turn.
struct Place {
    is_called: AtomicBool,
    task: Waker,
}

impl Turnstile {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns `serving`, which is a new connection, with its long turns regulated.
    pub(crate) fn regulate<F: Future<Output = ()>>(self: &Arc<Self>, serving: F) -> Regulated<F> {
        Regulated { serving, turnstile: Arc::clone(self), score: FIRST_SCORE, place: None }
    }

    /// Adds a connection to the end of the queue.
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

    /// Lets one connection in each time that the event loop has looked at its sockets, until none
    /// waits.
    async fn let_in(self: Arc<Self>) {
        while let Some(place) = self.next() {
            // A connection that has ended needs no turn.
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
    /// Serves a connection whose long turns pass through the turnstile.
    pub(crate) struct Regulated<F> {
        #[pin]
        serving: F,
        turnstile: Arc<Turnstile>,
        // Rises with long turns, and falls with short ones.
        score: u8,
        // Set while the connection waits for its turn.
        place: Option<Arc<Place>>,
    }
}

impl<F: Future<Output = ()>> Future for Regulated<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if *this.score > MAX_FREE_SCORE {
            let place = this.place.get_or_insert_with(|| this.turnstile.enter(cx.waker()));
            if !place.is_called.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            *this.place = None;
        }
        let began = Instant::now();
        let outcome = this.serving.poll(cx);
        *this.score = if began.elapsed() >= LONG_TURN {
            (*this.score + LONG_TURN_POINTS).min(MAX_SCORE)
        } else {
            this.score.saturating_sub(1)
        };
        ready!(outcome);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

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

    /// Runs connections beside a task that notes each look of the event loop at its sockets.
    async fn run(connections: usize, duration: Duration) -> Vec<char> {
        let (turnstile, events) = (Arc::new(Turnstile::default()), Events::default());
        let running: Vec<_> = (0..connections)
            .map(|_| tokio::spawn(turnstile.regulate(turns(20, duration, 'T', Arc::clone(&events)))))
            .collect();
        let noted = Arc::clone(&events);
        let looks = tokio::spawn(async move {
            loop {
                noted.lock().unwrap().push('|');
                yield_now().await;
            }
        });
        for connection in running {
            connection.await.unwrap();
        }
        looks.abort();
        assert!(turnstile.lock().places.is_empty());
        let events = events.lock().unwrap().clone();
        assert_eq!(events.iter().filter(|event| **event == 'T').count(), 20 * connections);
        events
    }

    fn longest_run(events: &[char]) -> usize {
        events.split(|event| *event == '|').map(<[char]>::len).max().unwrap()
    }

    #[tokio::test]
    async fn one_long_turn_runs_between_two_looks_at_the_sockets() {
        let events = run(5, 2 * LONG_TURN).await;
        assert_eq!(longest_run(&events), 1, "{events:?}");
    }

    #[tokio::test]
    async fn a_connection_that_has_ended_takes_no_turn() {
        let (turnstile, events) = (Arc::new(Turnstile::default()), Events::default());
        let mut ended: Vec<_> = (0..3)
            .map(|_| Box::pin(turnstile.regulate(turns(1, Duration::ZERO, 'E', Arc::clone(&events)))))
            .collect();
        for connection in &mut ended {
            assert!(poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await.is_pending());
        }
        drop(ended);
        turnstile.regulate(turns(1, Duration::ZERO, 'T', Arc::clone(&events))).await;
        assert_eq!(*events.lock().unwrap(), ['T']);
    }
}
