//! Waiting for durability: one [`Group`] for all the appends that share a write and a sync, one [`Ticket`] for each.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Cursor, Saved, StoreError};

/// Where a group of appends came to stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    /// which incarnation of the file
    pub(super) epoch: u32,
    /// position of the group's first byte
    pub(super) position: u64,
}

/// All the appends that become durable together.
#[derive(Debug, Default)]
pub(super) struct Group(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    outcome: Option<Result<Placed, StoreError>>,
    wakers: Vec<Waker>,
}

impl Group {
    /// Tells everybody who waits. Called once, on the thread of the runtime: a wake-up from elsewhere costs a
    /// system call each.
    pub(super) fn complete(&self, outcome: Result<Placed, StoreError>) {
        let wakers = {
            let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.outcome = Some(outcome);
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
    registered: bool,
}

impl Ticket {
    pub(super) const fn new(group: Arc<Group>, offset: u64) -> Self {
        Self { group, offset, registered: false }
    }
}

impl Future for Ticket {
    type Output = Result<Saved, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut waiting = self.group.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &waiting.outcome {
            Some(Ok(placed)) => {
                let cursor = Cursor { epoch: placed.epoch, position: placed.position + self.offset };
                Poll::Ready(Ok(Saved { cursor }))
            }
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
