//! The thread on which followers are served, and the rounds in which they hear of what is new.
//!
//! Writers come first: what followers cost (reading, encoding, writing into thousands of sockets) is done on a thread of
//! its own, so that the event loop on which records arrive has nothing to do with it but one wake-up a round. While
//! followers are busy with one round, whatever is published waits for the next one: the more there is to do, the
//! larger the blocks and the fewer the writes. Where nobody follows, there is neither thread nor wake-up.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::block::Blocks;
use crate::store::{Cursor, LogStore};

/// What followers need of the instance.
pub(crate) trait FollowContext: Send + Sync {
    /// Returns the store of the log.
    fn store(&self) -> &dyn LogStore;

    /// Returns the hub of the instance.
    fn hub(&self) -> &FollowerHub;

    /// Returns a value that changes whenever a follower may have lost its permission.
    fn permission_state(&self) -> PermissionState;

    /// Returns the token that is cancelled when the instance stops.
    fn stop(&self) -> CancellationToken;
}

/// The state on which the permissions of followers depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PermissionState {
    /// Address of the configuration in force.
    pub(crate) policy: usize,
    /// Whether the instance is in maintenance.
    pub(crate) maintenance: bool,
}

/// What all followers of an instance share.
#[derive(Debug, Default)]
pub(crate) struct FollowerHub {
    thread: OnceLock<Option<Handle>>,
    round: OnceLock<watch::Sender<Tick>>,
    arrived: Arc<Notify>,
    count: AtomicU64,
    pub(crate) blocks: Blocks,
}

/// What followers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick {
    /// where the log ended when the round began
    pub(crate) end: Cursor,
    /// counts the changes after which those who follow are judged again
    pub(crate) auth_epoch: u64,
}

/// From one round to the next at least: what comes within it goes out together.
const TICK_INTERVAL: Duration = Duration::from_millis(4);

/// How often it is looked whether those who follow still may.
const PERMISSION_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of the log that all followers together may have in hand, each a piece of its own.
const MAX_CHUNK_BYTES_IN_USE: u64 = 32 * 1024 * 1024;

/// How large pieces may be.
const CHUNK_BYTES: std::ops::RangeInclusive<u64> = 4 * 1024..=64 * 1024;

/// One who follows.
pub(crate) struct FollowerPermit(Arc<dyn FollowContext>);

impl Drop for FollowerPermit {
    fn drop(&mut self) {
        self.0.hub().count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FollowerHub {
    /// How many follow now.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// One more follower, and what it listens to.
    pub(crate) fn enter(context: &Arc<dyn FollowContext>) -> (FollowerPermit, watch::Receiver<Tick>) {
        let this = context.hub();
        this.count.fetch_add(1, Ordering::Relaxed);
        let seat = FollowerPermit(Arc::clone(context));
        let round =
            this.round.get_or_init(|| watch::Sender::new(Tick { end: context.store().end(), auth_epoch: 0 }));
        // Also starts the thread.
        let _ = this.thread(context);
        this.arrived.notify_one();
        (seat, round.subscribe())
    }

    /// The size of pieces for as many followers as there are: a power of two.
    pub(crate) fn piece_size(&self) -> u64 {
        let share = MAX_CHUNK_BYTES_IN_USE / self.count().max(1);
        (share.clamp(*CHUNK_BYTES.start(), *CHUNK_BYTES.end()) / 2 + 1).next_power_of_two()
    }

    /// Does `work` on the followers' thread; on this one where there is none. Dropped, the work is dropped.
    pub(crate) async fn run(
        context: &Arc<dyn FollowContext>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        match context.hub().thread(context) {
            Some(thread) => {
                let mut task = AbortOnDrop(thread.spawn(work));
                // It panics only where everything else ends with it.
                drop((&mut task.0).await);
            }
            None => work.await,
        }
    }

    fn thread(&self, context: &Arc<dyn FollowContext>) -> Option<&Handle> {
        let thread = self.thread.get_or_init(|| {
            let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(4).build();
            let runtime = runtime.inspect_err(|error| log::warn!("no thread for followers: {error}")).ok()?;
            let handle = runtime.handle().clone();
            let rounds = rounds(Arc::downgrade(context), Arc::clone(&self.arrived));
            let spawned = std::thread::Builder::new().name("followers".into()).spawn(move || {
                runtime.block_on(rounds);
                runtime.shutdown_background();
            });
            spawned.inspect_err(|error| log::warn!("no thread for followers: {error}")).ok()?;
            Some(handle)
        });
        thread.as_ref()
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells followers what is new, until the instance is gone.
async fn rounds(context: Weak<dyn FollowContext>, arrived: Arc<Notify>) {
    let mut last: Option<PermissionState> = None;
    loop {
        let Some(this) = context.upgrade() else { return };
        if this.hub().count() == 0 {
            drop(this);
            // Seldom enough that it does not show, often enough that the thread ends with the instance.
            drop(timeout(Duration::from_secs(60), arrived.notified()).await);
            continue;
        }
        let stored = this.store().changed();
        drop(this);
        drop(timeout(PERMISSION_CHECK_INTERVAL, stored).await);
        let Some(this) = context.upgrade() else { return };
        let permissions = this.permission_state();
        let changed = last.replace(permissions).is_some_and(|before| before != permissions);
        let end = this.store().end();
        if let Some(round) = this.hub().round.get() {
            round.send_if_modified(|round| {
                let next = Tick { end, auth_epoch: round.auth_epoch + u64::from(changed) };
                let news = next != *round;
                *round = next;
                news
            });
        }
        drop(this);
        // Behind everybody who was woken: each had its turn before the next round begins.
        tokio::task::yield_now().await;
        sleep(TICK_INTERVAL).await;
    }
}
