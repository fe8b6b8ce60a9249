//! The limits of keys: never more than N accepted in one window, counted from its first hit.
//!
//! A request spends all of its limits or none: what one limit refuses costs the others nothing, and a refused hit
//! neither spends nor prolongs anything. The windows outlive a reload as long as the limit's text means the same.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::limit::{LimitId, Limits};
use super::quota::Quota;
use super::windows::{Count, Windows};
use crate::guard::client_addr::ClientAddr;
use crate::guard::refusal::Refusal;

/// The windows of all keys.
pub(crate) struct Rates {
    windows: Mutex<Tables>,
}

/// Two tables, so that any number of addresses can never push out the windows of the keys themselves.
struct Tables {
    of_keys: Windows<LimitId>,
    of_clients: Windows<(LimitId, ClientAddr)>,
}

/// Open windows in each table: some 150 bytes each.
const CAP: usize = 100_000;

impl Rates {
    pub(crate) fn new() -> Self {
        Self::with_cap(CAP)
    }

    fn with_cap(cap: usize) -> Self {
        Self { windows: Mutex::new(Tables { of_keys: Windows::new(cap), of_clients: Windows::new(cap) }) }
    }

    /// See [`crate::guard::Guard::spend`].
    pub(crate) fn spend(
        &self,
        limits: Limits<'_>,
        client: ClientAddr,
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
        let quota = limits.judge(path_counts.chain(own_counts))?;
        for limit in limits.of_path {
            of_clients.hit((limit.id, client), limit.window, now);
        }
        for limit in limits.of_key {
            of_keys.hit(limit.id, limit.window, now);
        }
        Ok(quota)
    }

    /// Takes over where the limits stand elsewhere, so that they go on here when nobody there tells any more.
    pub(crate) fn learn(
        &self,
        limits: Limits<'_>,
        client: ClientAddr,
        counts: impl IntoIterator<Item = Count>,
        now: Instant,
    ) {
        let mut tables = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = counts.into_iter();
        for (limit, count) in limits.of_path.iter().zip(&mut counts) {
            tables.of_clients.learn((limit.id, client), limit.window, count, now);
        }
        for (limit, count) in limits.of_key.iter().zip(&mut counts) {
            tables.of_keys.learn(limit.id, limit.window, count, now);
        }
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
