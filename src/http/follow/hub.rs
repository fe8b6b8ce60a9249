//! Runs the thread that serves followers, and sends the ticks that wake them.
//!
//! Writers have priority. Followers read, encode and write to thousands of sockets on a separate
//! thread. The event loop that receives records therefore wakes that thread only once in each tick.
//! Records that are published while the followers are busy wait for the next tick. Under a higher
//! load the blocks are larger and the writes fewer. Without followers there is no thread and no
//! wake-up.

use std::future::Future;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::block::BlockCache;
use crate::store::{Cursor, ReadLog};

/// Gives followers access to the parts of an instance that they use.
pub(crate) trait FollowContext: Send + Sync {
    /// Returns the store of the log.
    fn store(&self) -> &dyn ReadLog;

    /// Returns the hub of the instance.
    fn hub(&self) -> &FollowerHub;

    /// Returns a value that changes whenever a follower may have lost its permission.
    fn permission_state(&self) -> PermissionState;

    /// Returns the token that is cancelled when the instance stops.
    fn stop(&self) -> CancellationToken;
}

/// Holds the state on which the permissions of followers depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PermissionState {
    /// Address of the configuration in force.
    pub(crate) policy: usize,
    /// True while the instance is in maintenance.
    pub(crate) maintenance: bool,
}

/// Holds the state that all followers of an instance share.
#[derive(Debug, Default)]
pub(crate) struct FollowerHub {
    /// The thread of the followers. The value is `None` when the thread could not be started.
    thread: OnceLock<Option<Handle>>,
    /// Sends the ticks to the followers.
    ticks: OnceLock<watch::Sender<Tick>>,
    /// Wakes the tick loop when a follower arrives.
    follower_arrived: Arc<Notify>,
    /// Number of followers.
    count: AtomicU64,
    /// The encoded records that followers share.
    pub(crate) blocks: BlockCache,
}

/// Holds the state that a tick announces to all followers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick {
    /// The end of the log when the tick began.
    pub(crate) end: Cursor,
    /// Counts the changes after which the permissions of all followers are checked again.
    pub(crate) auth_epoch: u64,
}

/// Minimum time between two ticks. Records that arrive within it are sent together.
const TICK_INTERVAL: Duration = Duration::from_millis(4);

/// Interval at which the loop checks whether the instance still exists while it has no followers.
const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Time without a new record after which the loop checks whether another program added lines. Their
/// followers get them within a second.
const OTHER_PROGRAMS_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Maximum time that the loop waits for such a check. A disk that hangs must not delay the checks of
/// permissions.
const MAX_CHECK_WAIT: Duration = Duration::from_millis(100);

/// Maximum number of bytes of the log that all followers together hold in chunks that they do not
/// share.
const MAX_CHUNK_BYTES_IN_USE: u64 = 32 * 1024 * 1024;

/// Minimum and maximum number of bytes of a chunk.
const CHUNK_BYTES: RangeInclusive<u64> = 4 * 1024..=64 * 1024;

/// Counts one follower until it is dropped.
pub(crate) struct FollowerPermit(Arc<dyn FollowContext>);

impl Drop for FollowerPermit {
    fn drop(&mut self) {
        self.0.hub().count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl FollowerHub {
    /// Returns the number of followers.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one more follower. Returns its permit and the receiver of its ticks.
    pub(crate) fn enter(context: &Arc<dyn FollowContext>) -> (FollowerPermit, watch::Receiver<Tick>) {
        let this = context.hub();
        this.count.fetch_add(1, Ordering::Relaxed);
        let permit = FollowerPermit(Arc::clone(context));
        let ticks =
            this.ticks.get_or_init(|| watch::Sender::new(Tick { end: context.store().end(), auth_epoch: 0 }));
        // This call also starts the thread of the followers.
        let _ = this.thread(context);
        this.follower_arrived.notify_one();
        (permit, ticks.subscribe())
    }

    /// Returns the size of chunks for the present number of followers, in bytes. It is a power of
    /// two.
    pub(crate) fn chunk_bytes(&self) -> u64 {
        let share = MAX_CHUNK_BYTES_IN_USE / self.count().max(1);
        (share.clamp(*CHUNK_BYTES.start(), *CHUNK_BYTES.end()) / 2 + 1).next_power_of_two()
    }

    /// Runs `work` on the thread of the followers, or on the calling thread when that thread does
    /// not exist.
    ///
    /// Dropping the returned future drops the work.
    pub(crate) async fn run(
        context: &Arc<dyn FollowContext>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        match context.hub().thread(context) {
            Some(thread) => {
                let mut task = AbortOnDrop(thread.spawn(work));
                // An error does not matter here, because a panic of the task ends the whole
                // process.
                drop((&mut task.0).await);
            }
            None => work.await,
        }
    }

    fn thread(&self, context: &Arc<dyn FollowContext>) -> Option<&Handle> {
        let thread = self.thread.get_or_init(|| {
            let runtime = Builder::new_current_thread().enable_time().max_blocking_threads(4).build();
            let runtime = runtime
                .inspect_err(|error| log::warn!("can't start the thread for followers: {error}"))
                .ok()?;
            let handle = runtime.handle().clone();
            let ticks = send_ticks(Arc::downgrade(context), Arc::clone(&self.follower_arrived));
            let spawned = thread::Builder::new().name("followers".into()).spawn(move || {
                runtime.block_on(ticks);
                runtime.shutdown_background();
            });
            spawned.inspect_err(|error| log::warn!("can't start the thread for followers: {error}")).ok()?;
            Some(handle)
        });
        thread.as_ref()
    }
}

/// Aborts a task when it is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends ticks to the followers until the instance is dropped.
async fn send_ticks(context: Weak<dyn FollowContext>, follower_arrived: Arc<Notify>) {
    let mut last: Option<PermissionState> = None;
    // A check whose disk did not answer in time.
    let mut check: Option<BoxFuture<'static, ()>> = None;
    loop {
        let Some(this) = context.upgrade() else { return };
        if this.hub().count() == 0 {
            drop(this);
            drop(timeout(IDLE_CHECK_INTERVAL, follower_arrived.notified()).await);
            continue;
        }
        let stored = this.store().changed();
        drop(this);
        let is_idle = timeout(OTHER_PROGRAMS_CHECK_INTERVAL, stored).await.is_err();
        let Some(this) = context.upgrade() else { return };
        if is_idle {
            let mut begun = check.take().unwrap_or_else(|| this.store().notice_changes());
            check = timeout(MAX_CHECK_WAIT, &mut begun).await.is_err().then_some(begun);
        }
        let permissions = this.permission_state();
        // The first round also counts as a change, because the permissions may have changed during its
        // wait, after the first follower was admitted.
        let changed = last.replace(permissions).is_none_or(|before| before != permissions);
        let end = this.store().end();
        if let Some(ticks) = this.hub().ticks.get() {
            ticks.send_if_modified(|tick| {
                let next = Tick { end, auth_epoch: tick.auth_epoch + u64::from(changed) };
                let is_new = next != *tick;
                *tick = next;
                is_new
            });
        }
        drop(this);
        // Yields to the followers that were woken, so that they run before the next tick.
        yield_now().await;
        sleep(TICK_INTERVAL).await;
    }
}
