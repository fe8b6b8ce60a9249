//! Models how appends wait for durability (`src/store/commit.rs`). loom runs the models in every
//! order in which their threads can interleave. `make loom` runs the models.
#![cfg(loom)]
#![allow(dead_code)]

#[path = "../../src/store/commit.rs"]
mod commit;

/// Stands in for the module of the same name in `src/store`.
mod cursor {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Cursor {
        pub epoch: u32,
        pub position: u64,
    }
}

/// Stands in for the module of the same name in `src/store`.
mod error {
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum StoreError {
        Write(String),
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Waker};

    use loom::future::block_on;
    use loom::thread;

    use crate::commit::{AppendTicket, CommitGroup, CommitPosition};
    use crate::error::StoreError;

    const POSITION: CommitPosition = CommitPosition { epoch: 1, position: 100 };

    /// Returns the position after the append that ends at `offset` of the group.
    fn end(ticket: AppendTicket) -> u64 {
        block_on(ticket).unwrap().cursor.position
    }

    fn poll_once(ticket: &mut AppendTicket) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(Pin::new(ticket).poll(&mut cx), Poll::Ready(_))
    }

    #[test]
    fn every_ticket_of_a_group_completes() {
        loom::model(|| {
            let group = Arc::new(CommitGroup::default());
            let first = AppendTicket::new(Arc::clone(&group), 10, true);
            let second = AppendTicket::new(Arc::clone(&group), 20, false);
            let other = thread::spawn(move || end(second));
            let committer = thread::spawn(move || group.complete(Ok(POSITION)));
            assert_eq!(end(first), 110);
            assert_eq!(other.join().unwrap(), 120);
            committer.join().unwrap();
        });
    }

    #[test]
    fn every_ticket_of_a_failed_group_fails() {
        loom::model(|| {
            let group = Arc::new(CommitGroup::default());
            let ticket = AppendTicket::new(Arc::clone(&group), 10, true);
            let error = StoreError::Write("disk".into());
            let outcome = Err(error.clone());
            let committer = thread::spawn(move || group.complete(outcome));
            assert_eq!(block_on(ticket), Err(error));
            committer.join().unwrap();
        });
    }

    #[test]
    fn ticket_wakes_the_task_that_polled_last() {
        loom::model(|| {
            let group = Arc::new(CommitGroup::default());
            let mut ticket = AppendTicket::new(Arc::clone(&group), 10, true);
            let committer = thread::spawn(move || group.complete(Ok(POSITION)));
            // One task polls the ticket first, and another task then waits for it.
            if !poll_once(&mut ticket) {
                assert_eq!(end(ticket), 110);
            }
            committer.join().unwrap();
        });
    }

    #[test]
    fn callback_runs_once_or_is_cancelled() {
        loom::model(|| {
            let group = Arc::new(CommitGroup::default());
            let ticket = AppendTicket::new(Arc::clone(&group), 10, true);
            let runs = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&runs);
            let callback = ticket.on_durable(move |saved| {
                assert_eq!(saved.cursor.position, 110);
                counter.fetch_add(1, Ordering::Relaxed);
            });
            let disk = thread::spawn(move || {
                group.run_callback(POSITION);
                group
            });
            let is_cancelled = callback.cancel();
            let group = disk.join().unwrap();
            assert_eq!(runs.load(Ordering::Relaxed), usize::from(!is_cancelled));
            group.complete(Ok(POSITION));
            assert!(!callback.cancel());
            assert_eq!(end(ticket), 110);
            assert_eq!(runs.load(Ordering::Relaxed), usize::from(!is_cancelled));
        });
    }

    #[test]
    fn callback_registered_late_never_runs_after_completion() {
        loom::model(|| {
            let group = Arc::new(CommitGroup::default());
            let mut ticket = AppendTicket::new(Arc::clone(&group), 10, true);
            let runs = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&runs);
            let disk = thread::spawn(move || {
                group.run_callback(POSITION);
                group.complete(Ok(POSITION));
                group
            });
            let callback = ticket.on_durable(move |_| {
                counter.fetch_add(1, Ordering::Relaxed);
            });
            let is_cancelled = callback.cancel();
            let group = disk.join().unwrap();
            group.run_callback(POSITION);
            assert!(runs.load(Ordering::Relaxed) + usize::from(is_cancelled) <= 1);
            assert!(!callback.cancel());
            assert!(poll_once(&mut ticket), "a completed ticket is ready");
        });
    }
}
