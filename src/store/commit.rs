//! Lets appends wait for durability. All appends that share a write and a sync have one
//! [`CommitGroup`], and each append has one [`AppendTicket`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use super::cursor::Cursor;
use super::error::StoreError;

// `make loom` runs the tests of `tests/loom` on this file with loom's mutex.
#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
use std::sync::{Mutex, MutexGuard};

/// A completed append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saved {
    /// The position right after the last record.
    pub cursor: Cursor,
}

/// The position at which a group was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommitPosition {
    /// The epoch of the group's cursors.
    pub(crate) epoch: u32,
    /// The position at which the group begins.
    pub(crate) position: u64,
}

impl CommitPosition {
    const fn saved(self, offset: u64) -> Saved {
        Saved { cursor: Cursor { epoch: self.epoch, position: self.position + offset } }
    }
}

/// All appends that become durable together.
#[derive(Debug, Default)]
pub(crate) struct CommitGroup(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    outcome: Option<Result<CommitPosition, StoreError>>,
    wakers: Vec<Waker>,
    callback: Option<Callback>,
}

/// Runs when its append is durable.
struct Callback {
    /// The end of the append, counted from the position of the group.
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

    /// Runs the durability callback of this group, if one is registered, on the calling thread.
    pub(crate) fn run_callback(&self, position: CommitPosition) {
        let callback = self.lock().callback.take();
        if let Some(Callback { offset, run }) = callback {
            run(position.saved(offset));
        }
    }

    /// Completes every ticket of this group. The committer calls it once, on the thread of the
    /// runtime, because waking a task from another thread costs a system call.
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

/// Waits for one append. The future completes when the records are durable, or with the reason why
/// they may not be.
#[derive(Debug)]
pub struct AppendTicket {
    group: Arc<CommitGroup>,
    /// The end of the append, counted from the position of the group.
    offset: u64,
    gains_by_callback: bool,
    is_registered: bool,
}

impl AppendTicket {
    /// Returns the ticket of an append of `group`, with the answer of [`Self::gains_by_callback`].
    pub(crate) const fn new(group: Arc<CommitGroup>, offset: u64, gains_by_callback: bool) -> Self {
        Self { group, offset, gains_by_callback, is_registered: false }
    }

    /// Returns the ticket of an append whose outcome is known.
    pub(crate) fn completed(outcome: Result<CommitPosition, StoreError>, offset: u64) -> Self {
        let group = Arc::new(CommitGroup::default());
        group.complete(outcome);
        Self::new(group, offset, false)
    }

    /// Returns whether a durability callback may run noticeably earlier than the ticket completes.
    /// This is so if the engine waits for durability on a thread of its own and the append may be
    /// alone in its group.
    #[must_use]
    pub const fn gains_by_callback(&self) -> bool {
        self.gains_by_callback
    }

    /// Registers `callback`, which the engine calls as soon as the append is durable, on the thread
    /// that waited for it, provided that the append is the only record of its group. The callback
    /// must not block. The ticket completes after it, as without a callback.
    #[must_use]
    pub fn on_durable(&self, callback: impl FnOnce(Saved) + Send + 'static) -> DurableCallback {
        let mut waiting = self.group.lock();
        if waiting.outcome.is_none() {
            waiting.callback = Some(Callback { offset: self.offset, run: Box::new(callback) });
        }
        DurableCallback(Arc::clone(&self.group))
    }
}

/// A registered durability callback.
#[derive(Debug)]
pub struct DurableCallback(Arc<CommitGroup>);

impl DurableCallback {
    /// Removes the callback. Returns false when it has run, is running, or never runs. The ticket
    /// then completes soon.
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
            Some(Ok(position)) => Poll::Ready(Ok(position.saved(self.offset))),
            Some(Err(error)) => Poll::Ready(Err(error.clone())),
            None => {
                let is_known =
                    self.is_registered && waiting.wakers.iter().any(|waker| waker.will_wake(cx.waker()));
                if !is_known {
                    waiting.wakers.push(cx.waker().clone());
                    drop(waiting);
                    self.is_registered = true;
                }
                Poll::Pending
            }
        }
    }
}
