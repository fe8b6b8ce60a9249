//! The limits of keys: never more than N accepted in one window, counted from its first hit.
//!
//! A request spends all of its limits or none: what one limit refuses costs the others nothing, and a refused hit
//! neither spends nor prolongs anything. The windows outlive a reload as long as the limit's text means the same.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::quota::{self, LimitState, Quota};
use super::redis::script::Naming;
use super::windows::{Count, Windows};
use crate::config::{KeyEntry, RateLimit};
use crate::guard::client_addr::ClientAddr;
use crate::guard::key::{Key, PathRule};
use crate::guard::refusal::Refusal;

/// One limit of a key, ready to be counted.
pub(crate) struct Limit {
    id: LimitId,
    name: Arc<str>,
    pub(crate) amount: u64,
    pub(crate) window: Duration,
    /// its name where it is shared
    pub(crate) naming: Naming,
}

/// The limits of one request.
#[derive(Clone, Copy)]
pub(crate) struct Limits<'k> {
    /// for each client
    of_path: &'k [Limit],
    of_key: &'k [Limit],
}

impl<'k> Limits<'k> {
    pub(crate) fn of(key: &'k Key, rule: PathRule) -> Self {
        let of_path = key.path_limits.get(rule.0).map(Vec::as_slice).unwrap_or_default();
        Self { of_path, of_key: &key.own_limits }
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.of_path.is_empty() && self.of_key.is_empty()
    }

    /// Those of the path first.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'k Limit> {
        self.of_path.iter().chain(self.of_key)
    }

    /// What the answer is when the limits stood so, in their order, before the request.
    pub(crate) fn judge(self, before: impl IntoIterator<Item = Count>) -> Result<Quota, Refusal> {
        let mut states = Vec::with_capacity(self.of_path.len() + self.of_key.len());
        let mut wait: Option<Duration> = None;
        for (limit, count) in self.iter().zip(before) {
            let remaining = limit.amount.saturating_sub(count.hits);
            if remaining == 0 {
                wait = wait.max(Some(count.closes_in));
            }
            states.push(LimitState {
                name: Arc::clone(&limit.name),
                amount: limit.amount,
                window: limit.window,
                remaining,
                reset: count.closes_in,
            });
        }
        if let Some(retry_after) = wait {
            return Err(Refusal::TooManyRequests { retry_after, quota: Quota::new(states) });
        }
        for state in &mut states {
            state.remaining -= 1;
        }
        Ok(Quota::new(states))
    }
}

/// Half of a SHA-256 over key, path and limit: the same after every reload, and small.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct LimitId([u8; 16]);

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

/// The limits that `rate` and each `allowed_path` make. Equal limits of one list count once.
pub(crate) fn limits_of(entry: &KeyEntry) -> (Vec<Limit>, Vec<Vec<Limit>>) {
    let of_paths: usize = entry.allowed_path.iter().map(|path| path.rate.as_slice().len()).sum();
    // A single limit has the key's own name; only where there are more must they be told apart.
    let alone = entry.rate.as_slice().len() + of_paths == 1;
    let own = limits(entry, None, entry.rate.as_slice(), alone);
    let by_path = entry.allowed_path.iter();
    let by_path = by_path.map(|path| limits(entry, Some(&path.path), path.rate.as_slice(), alone)).collect();
    (own, by_path)
}

fn limits(entry: &KeyEntry, path: Option<&str>, limits: &[RateLimit], alone: bool) -> Vec<Limit> {
    let mut ready: Vec<Limit> = Vec::with_capacity(limits.len());
    for limit in limits {
        let id = LimitId::new(entry, path, limit);
        if ready.iter().any(|other| other.id == id) {
            continue;
        }
        let window = limit.window();
        let mut name = entry.name.clone();
        if !alone {
            // Writing to a String cannot fail.
            let (amount, seconds) = (limit.amount, window.as_secs());
            let _infallible = match path {
                Some(path) => write!(name, "-{path}-{amount}/{seconds}"),
                None => write!(name, "-{amount}/{seconds}"),
            };
        }
        ready.push(Limit {
            id,
            name: quota::sf_string(&name).into(),
            amount: limit.amount,
            window,
            naming: Naming::new(&entry.digest, path, limit),
        });
    }
    ready
}

impl LimitId {
    fn new(entry: &KeyEntry, path: Option<&str>, limit: &RateLimit) -> Self {
        let mut hash = Sha256::new();
        hash.update(entry.digest.as_bytes());
        hash.update(limit.amount.to_be_bytes());
        hash.update(limit.window().as_secs().to_be_bytes());
        // Everything so far has a fixed length, and a path starts with `/`: no two limits hash the same bytes.
        hash.update(path.unwrap_or_default().as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(half)
    }
}

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
        key: &Key,
        rule: PathRule,
        client: ClientAddr,
        now: Instant,
    ) -> Result<Quota, Refusal> {
        let limits = Limits::of(key, rule);
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
