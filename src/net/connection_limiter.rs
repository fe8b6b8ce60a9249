//! Limits the number of open connections, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Interval at which a full limiter reads the configured limit again, since a reload may raise it.
const LIMIT_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Limits how many connections are open at once.
#[derive(Debug)]
pub(crate) struct ConnectionLimiter {
    counts: Mutex<ConnectionCounts>,
    /// Notified when a connection closes.
    closed: Notify,
    /// Maximum number of connections that the limit of open files (`RLIMIT_NOFILE`) allows.
    max_by_descriptors: u32,
}

/// The numbers of open connections.
#[derive(Debug, Default)]
struct ConnectionCounts {
    /// All open connections, also those that are refused.
    open: u32,
    /// Open connections of each address. Empty while there is no limit for each address.
    by_address: HashMap<IpAddr, u32>,
}

/// One open connection. Dropping it makes room for another one.
pub(crate) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    /// Set when connections are counted by address.
    address: Option<IpAddr>,
}

impl ConnectionLimiter {
    /// Returns a limiter that leaves `reserved_descriptors` open files to the rest of the process.
    pub(crate) fn new(reserved_descriptors: u64) -> Self {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        let descriptors = limit.saturating_sub(reserved_descriptors).max(1);
        let max_by_descriptors = u32::try_from(descriptors).unwrap_or(u32::MAX);
        Self { counts: Mutex::default(), closed: Notify::new(), max_by_descriptors }
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are fewer than `max` connections. Until then new connections wait in the
    /// backlog.
    pub(crate) async fn room(&self, max: impl Fn() -> u32) {
        loop {
            let closed = self.closed.notified();
            if self.lock().open < max().min(self.max_by_descriptors) {
                return;
            }
            drop(timeout(LIMIT_CHECK_INTERVAL, closed).await);
        }
    }

    /// Counts a connection that is refused. It does not count for its address.
    pub(crate) fn enter_uncounted(self: &Arc<Self>) -> ConnectionPermit {
        self.lock().open += 1;
        ConnectionPermit { limiter: Arc::clone(self), address: None }
    }

    /// Counts a connection. Returns `None` when `address` has `max_per_address` connections
    /// already.
    pub(crate) fn enter(
        self: &Arc<Self>,
        max_per_address: Option<NonZeroU32>,
        address: Option<IpAddr>,
    ) -> Option<ConnectionPermit> {
        let mut counts = self.lock();
        let counted = match (max_per_address, address) {
            (Some(max), Some(address)) => {
                let count = counts.by_address.entry(address).or_default();
                if *count >= max.get() {
                    return None;
                }
                *count += 1;
                Some(address)
            }
            _ => None,
        };
        counts.open += 1;
        Some(ConnectionPermit { limiter: Arc::clone(self), address: counted })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.limiter.lock();
        counts.open -= 1;
        if let Some(address) = self.address
            && let Some(count) = counts.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&address);
            }
        }
        drop(counts);
        self.limiter.closed.notify_waiters();
    }
}
