//! Prepares the limits of a key at each reload, and decides about a request from its counts.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::cost::Cost;
use super::quota::{self, LimitState, Quota};
use super::redis::limit_name::LimitName;
use super::windows::Count;
use crate::config::{KeyEntry, RateLimit};
use crate::guard::refusal::Refusal;

/// One limit of a key.
pub(crate) struct Limit {
    pub(crate) id: LimitId,
    /// The name in the `RateLimit` headers, as an `sf-string`.
    name: Arc<str>,
    /// Maximum number of requests in a window.
    pub(crate) amount: u64,
    pub(crate) window: Duration,
    /// The name of its counters in Redis.
    pub(crate) redis_name: LimitName,
}

/// The limits of one request.
#[derive(Clone, Copy)]
pub(crate) struct Limits<'k> {
    /// Counted for each client.
    pub(crate) of_path: &'k [Limit],
    /// Counted for all clients together.
    pub(crate) of_key: &'k [Limit],
}

impl<'k> Limits<'k> {
    pub(crate) const fn new(of_path: &'k [Limit], of_key: &'k [Limit]) -> Self {
        Self { of_path, of_key }
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.of_path.is_empty() && self.of_key.is_empty()
    }

    /// Returns the limits of the path, then those of the key.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'k Limit> {
        self.of_path.iter().chain(self.of_key)
    }

    /// Decides about a request of this cost from the counts before it, given in the order of
    /// [`Self::iter`].
    ///
    /// # Errors
    /// [`Refusal::TooManyRequests`] when a limit has less left than the cost. It names the longest
    /// wait of those limits.
    pub(crate) fn check(self, cost: Cost, before: impl IntoIterator<Item = Count>) -> Result<Quota, Refusal> {
        let mut states = Vec::with_capacity(self.of_path.len() + self.of_key.len());
        let mut wait: Option<Duration> = None;
        for (limit, count) in self.iter().zip(before) {
            let remaining = limit.amount.saturating_sub(count.hits);
            if remaining < cost.hits() {
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
            state.remaining -= cost.hits();
        }
        Ok(Quota::new(states))
    }
}

/// Identifies a limit across reloads: half of a SHA-256 over key, path and limit.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LimitId([u8; 16]);

/// Returns the limits of `rate` and those of each `allowed_path`. Equal limits of one list become
/// one limit.
pub(crate) fn prepare_limits(entry: &KeyEntry) -> (Vec<Limit>, Vec<Vec<Limit>>) {
    let of_paths: usize = entry.allowed_path.iter().map(|path| path.rate.as_slice().len()).sum();
    // A single limit has the name of the key. Several limits need different names.
    let is_single = entry.rate.as_slice().len() + of_paths == 1;
    let own = prepare(entry, None, entry.rate.as_slice(), is_single);
    let by_path = entry.allowed_path.iter();
    let by_path =
        by_path.map(|path| prepare(entry, Some(&path.path), path.rate.as_slice(), is_single)).collect();
    (own, by_path)
}

fn prepare(entry: &KeyEntry, path: Option<&str>, limits: &[RateLimit], is_single: bool) -> Vec<Limit> {
    let mut prepared: Vec<Limit> = Vec::with_capacity(limits.len());
    for limit in limits {
        let id = LimitId::new(entry, path, limit);
        if prepared.iter().any(|other| other.id == id) {
            continue;
        }
        let window = limit.window();
        let mut name = entry.name.clone();
        if !is_single {
            // Writing to a String cannot fail.
            let (amount, seconds) = (limit.amount, window.as_secs());
            let _infallible = match path {
                Some(path) => write!(name, "-{path}-{amount}/{seconds}"),
                None => write!(name, "-{amount}/{seconds}"),
            };
        }
        prepared.push(Limit {
            id,
            name: quota::sf_string(&name).into(),
            amount: limit.amount,
            window,
            redis_name: LimitName::new(&entry.digest, path, limit),
        });
    }
    prepared
}

impl LimitId {
    fn new(entry: &KeyEntry, path: Option<&str>, limit: &RateLimit) -> Self {
        let mut hash = Sha256::new();
        hash.update(entry.digest.as_bytes());
        hash.update(limit.amount.to_be_bytes());
        hash.update(limit.window().as_secs().to_be_bytes());
        // All bytes so far have a fixed length, and a path starts with `/`, so different limits
        // hash different bytes.
        hash.update(path.unwrap_or_default().as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        Self(half)
    }
}
