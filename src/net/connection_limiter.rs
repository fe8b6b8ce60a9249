//! Limits the number of open connections, in all and from one network.
//!
//! When all places are taken, the connection that has been silent longest makes room for a new one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use slab::Slab;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::client_network::ClientNetwork;
use super::deadline::{Millis, now};
use super::open_connection::{Evictable, OpenConnection, Silence};

/// Interval at which a full limiter reads the configured limit again, since a reload may raise it,
/// and looks for silent connections again.
const FULL_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Number of silent connections that one search among all connections finds. The search takes
/// about a millisecond for 20,000 connections, and a flood of connections needs one for each.
const MAX_EVICTION_CANDIDATES: usize = 64;

/// Minimum time between two searches of which the first found no silent connection.
const SEARCH_INTERVAL: Millis = 50;

/// Minimum time between two warnings that all places are taken.
const WARNING_INTERVAL: Millis = 60_000;

/// Maximum number of connections that are open beyond the limit because they get a refusal.
pub(crate) const MAX_REFUSALS_BEYOND_LIMIT: u32 = 32;

/// Limits how many connections are open at once.
pub(crate) struct ConnectionLimiter {
    counts: Mutex<Connections>,
    /// Notified when a connection closes.
    closed: Notify,
    /// Maximum number of connections that the limit of open files (`RLIMIT_NOFILE`) allows.
    max_by_descriptors: u32,
}

/// The open connections.
#[derive(Default)]
struct Connections {
    /// Number of all open connections, also those that are refused.
    open: u32,
    /// Open connections of each network. Empty while there is no limit for each network.
    by_network: HashMap<ClientNetwork, u32>,
    /// The open connections that are served.
    served: Slab<Arc<OpenConnection>>,
    /// Silent connections, those that have been silent longest at the end. They may have ended or
    /// received a request since they were found.
    candidates: Vec<Candidate>,
    /// The time before which there is no further search for candidates.
    next_search: Millis,
    /// The time before which there is no further warning.
    next_warning: Millis,
}

/// A connection that was silent when it was found.
struct Candidate {
    /// The place of the connection in `served`.
    place: usize,
    connection: Arc<OpenConnection>,
    silent_since: Millis,
}

/// The place of one open connection. Dropping it makes room for another one.
pub(crate) struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    /// Set when connections are counted by network.
    network: Option<ClientNetwork>,
    /// The place of a connection that is served, and the connection.
    served: Option<(usize, Arc<OpenConnection>)>,
}

impl ConnectionLimiter {
    /// Returns a limiter that leaves `reserved_descriptors` open files to the rest of the process.
    pub(crate) fn new(reserved_descriptors: u64) -> Self {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        let descriptors = limit.saturating_sub(reserved_descriptors).max(1);
        let max_by_descriptors = u32::try_from(descriptors).unwrap_or(u32::MAX);
        Self { counts: Mutex::default(), closed: Notify::new(), max_by_descriptors }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are fewer than `max` connections. Until then the connection that has been
    /// silent longest is closed.
    pub(crate) async fn room(&self, max: impl Fn() -> u32) {
        loop {
            let closed = self.closed.notified();
            {
                let mut connections = self.lock();
                if connections.open < max().min(self.max_by_descriptors) {
                    return;
                }
                connections.evict_one();
            }
            drop(timeout(FULL_CHECK_INTERVAL, closed).await);
        }
    }

    /// Reports whether `network` has `max_per_network` connections already.
    pub(crate) fn is_full_for(
        &self,
        max_per_network: Option<NonZeroU32>,
        network: Option<ClientNetwork>,
    ) -> bool {
        let (Some(max), Some(network)) = (max_per_network, network) else { return false };
        self.lock().by_network.get(&network).is_some_and(|count| *count >= max.get())
    }

    /// Counts a connection that is refused. It does not count for its network. Returns `None` when
    /// there are too many beyond `max`, so that it can only be closed.
    pub(crate) fn enter_refused(self: &Arc<Self>, max: u32) -> Option<ConnectionPermit> {
        let mut connections = self.lock();
        if connections.open >= max.min(self.max_by_descriptors).saturating_add(MAX_REFUSALS_BEYOND_LIMIT) {
            return None;
        }
        connections.open += 1;
        Some(ConnectionPermit { limiter: Arc::clone(self), network: None, served: None })
    }

    /// Counts a connection that is served. Returns `None` when `network` has `max_per_network`
    /// connections already.
    pub(crate) fn enter(
        self: &Arc<Self>,
        max_per_network: Option<NonZeroU32>,
        network: Option<ClientNetwork>,
        silence: Arc<dyn Silence>,
    ) -> Option<ConnectionPermit> {
        let mut connections = self.lock();
        let counted = match (max_per_network, network) {
            (Some(max), Some(network)) => {
                let count = connections.by_network.entry(network).or_default();
                if *count >= max.get() {
                    return None;
                }
                *count += 1;
                Some(network)
            }
            _ => None,
        };
        connections.open += 1;
        let connection = Arc::new(OpenConnection::new(silence));
        let place = connections.served.insert(Arc::clone(&connection));
        Some(ConnectionPermit {
            limiter: Arc::clone(self),
            network: counted,
            served: Some((place, connection)),
        })
    }
}

impl Connections {
    /// Closes the connection that has been silent longest, if any is silent.
    fn evict_one(&mut self) {
        let now = now();
        if now >= self.next_warning {
            self.next_warning = now + WARNING_INTERVAL;
            crate::event!(
                warn, CONNECTIONS_FULL;
                "{} connections are open (max_connections): silent ones are closed for new ones", self.open
            );
        }
        if let Some(connection) = self.longest_silent() {
            connection.evict();
        }
    }

    fn longest_silent(&mut self) -> Option<Arc<OpenConnection>> {
        if let Some(connection) = self.next_candidate() {
            return Some(connection);
        }
        let now = now();
        if now < self.next_search {
            return None;
        }
        self.search();
        if self.candidates.is_empty() {
            self.next_search = now + SEARCH_INTERVAL;
        }
        self.next_candidate()
    }

    /// Takes the candidate that has been silent longest and is silent still. A connection that
    /// became silent after the search was silent for a shorter time than every candidate.
    fn next_candidate(&mut self) -> Option<Arc<OpenConnection>> {
        while let Some(Candidate { place, connection, silent_since }) = self.candidates.pop() {
            let is_open = self.served.get(place).is_some_and(|served| Arc::ptr_eq(served, &connection));
            if is_open && connection.silent_since() == Some(silent_since) {
                return Some(connection);
            }
        }
        None
    }

    /// Finds the connections that have been silent longest.
    fn search(&mut self) {
        let mut silent: Vec<(Millis, usize)> = self
            .served
            .iter()
            .filter_map(|(place, connection)| Some((connection.silent_since()?, place)))
            .collect();
        if silent.len() > MAX_EVICTION_CANDIDATES {
            silent.select_nth_unstable(MAX_EVICTION_CANDIDATES);
            silent.truncate(MAX_EVICTION_CANDIDATES);
        }
        silent.sort_unstable_by_key(|&silent| Reverse(silent));
        self.candidates = silent
            .into_iter()
            .filter_map(|(silent_since, place)| {
                let connection = Arc::clone(self.served.get(place)?);
                Some(Candidate { place, connection, silent_since })
            })
            .collect();
    }
}

impl ConnectionPermit {
    /// Returns `serving` with an early end when the connection is evicted. The permit and `held` are
    /// dropped after the connection.
    pub(crate) fn evictable<F: Future<Output = ()>, H>(self, serving: F, held: H) -> Evictable<F, (H, Self)> {
        let connection = self.served.as_ref().map(|(_, connection)| Arc::clone(connection));
        Evictable::new(connection, serving, (held, self))
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut connections = self.limiter.lock();
        connections.open -= 1;
        if let Some((place, _)) = self.served {
            connections.served.try_remove(place);
        }
        if let Some(network) = self.network
            && let Some(count) = connections.by_network.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                connections.by_network.remove(&network);
            }
        }
        drop(connections);
        self.limiter.closed.notify_waiters();
    }
}

#[cfg(test)]
#[path = "connection_limiter_tests.rs"]
mod tests;
