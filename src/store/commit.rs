//! Waiting for durability: one [`Group`] for all the appends that share a write and a sync, one [`AppendTicket`] for each.

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
pub(crate) struct CommitPosition {
    /// which incarnation of the file
    pub(crate) epoch: u32,
    /// position of the group's first byte
    pub(crate) position: u64,
}

impl CommitPosition {
    const fn saved(self, offset: u64) -> Saved {
        Saved { cursor: Cursor { epoch: self.epoch, position: self.position + offset } }
    }
}

/// All the appends that become durable together.
#[derive(Debug, Default)]
pub(crate) struct CommitGroup(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    outcome: Option<Result<CommitPosition, StoreError>>,
    wakers: Vec<Waker>,
    callback: Option<Callback>,
}

/// What one append wants done as soon as it is durable.
struct Callback {
    /// of the append's end
    offset: u64,
    run: Box<dyn FnOnce(Saved) + Send>,
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl CommitGroup {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the one append that asked to be told early, on the thread of the caller.
    pub(crate) fn run_callback(&self, position: CommitPosition) {
        let callback = self.lock().callback.take();
        if let Some(Callback { offset, run: callback }) = callback {
            callback(position.saved(offset));
        }
    }

    /// Tells everybody who waits. Called once, on the thread of the runtime: a wake-up from elsewhere costs a
    /// system call each.
    pub(crate) fn complete(&self, outcome: Result<CommitPosition, StoreError>) {
        let wakers = {
            let mut waiting = self.lock();
            waiting.outcome = Some(outcome);
            waiting.callback = None;
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The future of one append: completes when its records are durable, or with the reason why they are not stored.
#[derive(Debug)]
pub struct AppendTicket {
    group: Arc<CommitGroup>,
    /// end of the append's last line, counted from the start of the group
    offset: u64,
    /// the group was empty before
    first: bool,
    registered: bool,
}

impl AppendTicket {
    pub(crate) const fn new(group: Arc<CommitGroup>, offset: u64, first: bool) -> Self {
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
    pub fn on_durable(&self, callback: impl FnOnce(Saved) + Send + 'static) -> DurableCallback {
        let mut waiting = self.group.lock();
        if waiting.outcome.is_none() {
            waiting.callback = Some(Callback { offset: self.offset, run: Box::new(callback) });
        }
        DurableCallback(Arc::clone(&self.group))
    }
}

/// That an append is told early.
#[derive(Debug)]
pub struct DurableCallback(Arc<CommitGroup>);

impl DurableCallback {
    /// Nothing is told any more. False when it was, or is being told, or was never going to be: then the ticket
    /// completes at once.
    #[must_use]
    pub fn cancel(&self) -> bool {
        self.0.lock().callback.take().is_some()
    }
}

impl Future for AppendTicket {
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
