//! The limits of a key, ready to be counted.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::quota::{self, LimitState, Quota};
use super::redis::limit_name::LimitName;
use super::windows::Count;
use crate::config::{KeyEntry, RateLimit};
use crate::guard::refusal::Refusal;

/// One limit of a key, ready to be counted.
pub(crate) struct Limit {
    pub(crate) id: LimitId,
    name: Arc<str>,
    pub(crate) amount: u64,
    pub(crate) window: Duration,
    /// its name where it is shared
    pub(crate) redis_name: LimitName,
}

/// The limits of one request.
#[derive(Clone, Copy)]
pub(crate) struct Limits<'k> {
    /// for each client
    pub(crate) of_path: &'k [Limit],
    pub(crate) of_key: &'k [Limit],
}

impl<'k> Limits<'k> {
    pub(crate) const fn new(of_path: &'k [Limit], of_key: &'k [Limit]) -> Self {
        Self { of_path, of_key }
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
pub(crate) struct LimitId([u8; 16]);

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
            redis_name: LimitName::new(&entry.digest, path, limit),
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
