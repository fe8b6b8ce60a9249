//! Counts requests for the rate limits, in memory. A limit admits at most N requests in one window,
//! which opens at its first hit.
//!
//! A request counts in all of its limits, or in none when one of them refuses it. A refused request
//! neither counts nor prolongs a window. A window survives a reload if the key, the path, the
//! amount and the length of the window are unchanged.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::cost::Cost;
use super::limit::{LimitId, Limits};
use super::quota::Quota;
use super::windows::{Count, WindowKey, Windows};
use crate::guard::client_addr::CountedClient;
use crate::guard::refusal::Refusal;

/// The windows of all limits.
pub(crate) struct Rates {
    windows: Mutex<Tables>,
}

/// Two tables, so that many clients cannot evict the windows of the keys.
struct Tables {
    of_keys: Windows<LimitId>,
    of_clients: Windows<(LimitId, CountedClient)>,
}

impl WindowKey for LimitId {}

impl WindowKey for (LimitId, CountedClient) {
    fn of_site(&self) -> Option<Self> {
        self.1.site().map(|site| (self.0, site))
    }
}

/// Maximum number of open windows in each table. A window takes about 150 bytes.
const MAX_WINDOWS_PER_TABLE: usize = 100_000;

impl Rates {
    pub(crate) fn new() -> Self {
        Self::with_capacity(MAX_WINDOWS_PER_TABLE)
    }

    fn with_capacity(capacity: usize) -> Self {
        Self {
            windows: Mutex::new(Tables {
                of_keys: Windows::new(capacity),
                of_clients: Windows::new(capacity),
            }),
        }
    }

    /// Counts one request in all of its limits, or in none when one of them has less left than the
    /// cost.
    ///
    /// # Errors
    /// [`Refusal::TooManyRequests`].
    pub(crate) fn spend(
        &self,
        limits: Limits<'_>,
        client: CountedClient,
        cost: Cost,
        now: Instant,
    ) -> Result<Quota, Refusal> {
        if limits.is_empty() {
            return Ok(Quota::default());
        }
        let mut tables = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let Tables { of_keys, of_clients } = &mut *tables;
        let path_counts =
            limits.of_path.iter().map(|limit| of_clients.count(&(limit.id, client), limit.window, now));
        let own_counts = limits.of_key.iter().map(|limit| of_keys.count(&limit.id, limit.window, now));
        let quota = limits.check(cost, path_counts.chain(own_counts))?;
        for limit in limits.of_path {
            of_clients.add((limit.id, client), limit.window, cost.hits(), now);
        }
        for limit in limits.of_key {
            of_keys.add(limit.id, limit.window, cost.hits(), now);
        }
        Ok(quota)
    }

    /// Returns how long one of the limits is used up, or `None` when a request would be admitted. Counts
    /// nothing.
    pub(crate) fn used_up_for(
        &self,
        limits: Limits<'_>,
        client: CountedClient,
        now: Instant,
    ) -> Option<Duration> {
        if limits.is_empty() {
            return None;
        }
        let mut tables = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let Tables { of_keys, of_clients } = &mut *tables;
        let path_counts =
            limits.of_path.iter().map(|limit| of_clients.count(&(limit.id, client), limit.window, now));
        let own_counts = limits.of_key.iter().map(|limit| of_keys.count(&limit.id, limit.window, now));
        match limits.check(Cost::REQUEST, path_counts.chain(own_counts)) {
            Err(Refusal::TooManyRequests { retry_after, .. }) => Some(retry_after),
            _ => None,
        }
    }

    /// Takes over the counts of Redis, so that counting continues from them when Redis becomes
    /// unavailable.
    pub(crate) fn adopt(
        &self,
        limits: Limits<'_>,
        client: CountedClient,
        counts: impl IntoIterator<Item = Count>,
        now: Instant,
    ) {
        let mut tables = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = counts.into_iter();
        for (limit, count) in limits.of_path.iter().zip(&mut counts) {
            tables.of_clients.adopt((limit.id, client), limit.window, count, now);
        }
        for (limit, count) in limits.of_key.iter().zip(&mut counts) {
            tables.of_keys.adopt(limit.id, limit.window, count, now);
        }
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
