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
    /// The epoch of the file.
    pub(crate) epoch: u32,
    /// The position of the group's first byte.
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
    /// The end of the append, counted from the start of the group.
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

/// Waits for one append. The future completes when the records are durable, or with the error for
/// which none of them is stored.
#[derive(Debug)]
pub struct AppendTicket {
    group: Arc<CommitGroup>,
    /// The end of the append's last line, counted from the start of the group.
    offset: u64,
    /// The append is the first one of its group.
    is_first: bool,
    is_registered: bool,
}

impl AppendTicket {
    pub(crate) const fn new(group: Arc<CommitGroup>, offset: u64, is_first: bool) -> Self {
        Self { group, offset, is_first, is_registered: false }
    }

    /// Returns whether the append may be the only one of its group.
    #[must_use]
    pub const fn may_be_alone(&self) -> bool {
        self.is_first
    }

    /// Registers `callback`, which the disk thread calls as soon as the append is durable, provided
    /// that the append is the only record of its group. The callback must not block. The ticket
    /// completes after it, as without a callback.
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
