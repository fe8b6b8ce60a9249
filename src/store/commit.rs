//! Waiting for durability: one [`Group`] for all the appends that share a write and a sync, one [`Ticket`] for each.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::cursor::Cursor;
use super::error::StoreError;

/// A completed append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// right after the last record
    pub cursor: Cursor,
}

/// Where a group of appends came to stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    /// which incarnation of the file
    pub(crate) epoch: u32,
    /// position of the group's first byte
    pub(crate) position: u64,
}

impl Placed {
    const fn saved(self, offset: u64) -> Saved {
        Saved { cursor: Cursor { epoch: self.epoch, position: self.position + offset } }
    }
}

/// All the appends that become durable together.
#[derive(Debug, Default)]
pub(crate) struct Group(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    outcome: Option<Result<Placed, StoreError>>,
    wakers: Vec<Waker>,
    early: Option<Early>,
}

/// What one append wants done as soon as it is durable.
struct Early {
    /// of the append's end
    offset: u64,
    tell: Box<dyn FnOnce(Saved) + Send>,
}

impl fmt::Debug for Early {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Early").field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl Group {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the one append that asked to be told early, on the thread of the caller.
    pub(crate) fn tell_early(&self, placed: Placed) {
        let early = self.lock().early.take();
        if let Some(Early { offset, tell }) = early {
            tell(placed.saved(offset));
        }
    }

    /// Tells everybody who waits. Called once, on the thread of the runtime: a wake-up from elsewhere costs a
    /// system call each.
    pub(crate) fn complete(&self, outcome: Result<Placed, StoreError>) {
        let wakers = {
            let mut waiting = self.lock();
            waiting.outcome = Some(outcome);
            waiting.early = None;
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The future of one append: completes when its records are durable, or with the reason why they are not stored.
#[derive(Debug)]
pub struct Ticket {
    group: Arc<Group>,
    /// end of the append's last line, counted from the start of the group
    offset: u64,
    /// the group was empty before
    first: bool,
    registered: bool,
}

impl Ticket {
    pub(crate) const fn new(group: Arc<Group>, offset: u64, first: bool) -> Self {
        Self { group, offset, first, registered: false }
    }

    /// Whether the append may be alone on its way to the disk.
    #[must_use]
    pub const fn may_be_alone(&self) -> bool {
        self.first
    }

    /// Has `tell` called on the thread of the disk as soon as the append is durable, if it is alone on its way there;
    /// it must not wait for anything. The ticket completes after that, as always.
    #[must_use]
    pub fn tell_early(&self, tell: impl FnOnce(Saved) + Send + 'static) -> Promise {
        let mut waiting = self.group.lock();
        if waiting.outcome.is_none() {
            waiting.early = Some(Early { offset: self.offset, tell: Box::new(tell) });
        }
        Promise(Arc::clone(&self.group))
    }
}

/// That an append is told early.
#[derive(Debug)]
pub struct Promise(Arc<Group>);

impl Promise {
    /// Nothing is told any more. False when it was, or is being told, or was never going to be: then the ticket
    /// completes at once.
    #[must_use]
    pub fn take_back(&self) -> bool {
        self.0.lock().early.take().is_some()
    }
}

impl Future for Ticket {
    type Output = Result<Saved, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waiting = self.group.lock();
        match &waiting.outcome {
            Some(Ok(placed)) => Poll::Ready(Ok(placed.saved(self.offset))),
            Some(Err(error)) => Poll::Ready(Err(error.clone())),
            None => {
                let known = self.registered && waiting.wakers.iter().any(|waker| waker.will_wake(cx.waker()));
                if !known {
                    waiting.wakers.push(cx.waker().clone());
                    drop(waiting);
                    self.registered = true;
                }
                Poll::Pending
            }
        }
    }
}
