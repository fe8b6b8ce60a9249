//! What is remembered of clients, and each check by itself.

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwapOption;
use http::HeaderMap;

use super::blocking::address_filter::AddressFilter;
use super::blocking::{BlockedEntry, persist};
use super::client_addr::ClientAddr;
use super::explain::{self, Asked};
use super::key::{Key, PathRule};
use super::limits::quota::Quota;
use super::limits::rate::Rates;
use super::limits::redis::shared_limits::Shared;
use super::limits::windows::Count;
use super::maintenance::Maintenance;
use super::refusal::Refusal;
use super::root_password::RootGate;
use super::rules::Rules;
use super::state_file::state_file;
use super::{key_check, required_headers};
use crate::config::{KeyDigest, LogName, RedisUrl};

/// What the service remembers about its clients. One for each log, shared by all threads.
pub struct Guard {
    addresses: AddressFilter,
    rates: Rates,
    /// where limits are counted as long as it is there
    shared: ArcSwapOption<Shared>,
    root: RootGate,
    maintenance: Maintenance,
}

/// Why there is no guard.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// the state directory neither exists nor can be created
    #[error("the state directory {} cannot be created: {source}", path.display())]
    StateDir {
        /// the directory
        path: PathBuf,
        /// what the system said
        source: io::Error,
    },
}

impl Guard {
    /// Reads the blocked addresses and the state of maintenance from the state directory, which is created when it
    /// is not there. Blocks.
    ///
    /// # Errors
    /// Only when the directory cannot be created: a broken state file is moved aside with a warning.
    pub fn open(state_dir: &Path, log: &LogName) -> Result<Self, GuardError> {
        std::fs::create_dir_all(state_dir)
            .map_err(|source| GuardError::StateDir { path: state_dir.to_owned(), source })?;
        Ok(Self {
            addresses: AddressFilter::open(state_file(state_dir, log, "blocked.json")),
            rates: Rates::new(),
            shared: ArcSwapOption::empty(),
            root: RootGate::new(),
            maintenance: Maintenance::open(state_dir, log),
        })
    }

    /// Block lists (the file's and the guard's own) → `dos_detect` → maintenance.
    ///
    /// Every request counts towards `dos_detect`, also one that is refused later. Loopback and the admin socket
    /// neither count nor are they blocked automatically.
    ///
    /// # Errors
    /// [`Refusal::Blocked`], [`Refusal::Maintenance`].
    pub fn check_address(&self, rules: &Rules, client: &ClientAddr, now: Instant) -> Result<(), Refusal> {
        self.addresses.check(rules, client, now)?;
        self.maintenance.check(rules, client)
    }

    /// Whether [`Self::check_address`] would let `client` in; counts nothing.
    #[must_use]
    pub fn still_serves(&self, rules: &Rules, client: &ClientAddr) -> bool {
        !self.addresses.is_listed(rules, client) && self.maintenance.check(rules, client).is_ok()
    }

    /// `force_headers` → `referer`.
    ///
    /// # Errors
    /// [`Refusal::MissingForcedHeader`], [`Refusal::MissingReferer`], [`Refusal::InvalidReferer`].
    pub fn check_headers(&self, rules: &Rules, headers: &HeaderMap) -> Result<(), Refusal> {
        required_headers::check(&rules.system, headers)
    }

    /// The key that a request presents. An unknown one counts towards `block_ip_when_received_invalid_system_auth`:
    /// more of them within an hour block the address, never loopback.
    ///
    /// # Errors
    /// [`Refusal::MissingKey`] (none, an empty one, or more than 1024 characters), [`Refusal::UnknownKey`].
    pub fn find_key<'r>(
        &self,
        rules: &'r Rules,
        presented: Option<&str>,
        client: &ClientAddr,
        now: Instant,
    ) -> Result<&'r Arc<Key>, Refusal> {
        let presented = key_check::presentable(presented).ok_or(Refusal::MissingKey)?;
        rules.key(&KeyDigest::of(presented)).ok_or_else(|| {
            self.addresses.unknown_key(rules, client, now);
            Refusal::UnknownKey
        })
    }

    /// As [`Self::find_key`], for a look at what would be: an unknown one is not counted.
    #[must_use]
    pub fn known_key<'r>(&self, rules: &'r Rules, presented: &str) -> Option<&'r Arc<Key>> {
        rules.key(&KeyDigest::of(key_check::presentable(Some(presented))?))
    }

    /// `status` → `ip` → `allowed_path` → `required.headers`.
    ///
    /// `paths` is the request's path in both of its URL forms, decoded and normalised (no empty, `.` or `..`
    /// segments; a trailing slash does not matter). The first `allowed_path` that is one of them, or a parent of one,
    /// admits the request.
    ///
    /// # Errors
    /// [`Refusal::KeyOffline`], [`Refusal::AddressNotAllowed`], [`Refusal::PathNotAllowed`],
    /// [`Refusal::MissingRequiredHeader`].
    pub fn check_key(
        &self,
        key: &Key,
        client: &ClientAddr,
        paths: &[&str],
        headers: &HeaderMap,
    ) -> Result<PathRule, Refusal> {
        key_check::check(key, client, paths, headers)
    }

    /// `required.args`. `value_of` gives the value of a parameter as text, `None` when it is absent.
    ///
    /// # Errors
    /// [`Refusal::MissingRequiredArgument`].
    pub fn check_args<'a>(
        &self,
        key: &Key,
        value_of: &dyn Fn(&str) -> Option<Cow<'a, str>>,
    ) -> Result<(), Refusal> {
        key_check::check_args(key, value_of)
    }

    /// Spends one request of the limits of the path (by key, path and client) and of the key, or none of them.
    ///
    /// Windows are fixed, from the first hit: never more than N are accepted in one. A refused hit neither spends nor
    /// prolongs anything. A key without limits takes no lock and no memory.
    ///
    /// # Errors
    /// [`Refusal::TooManyRequests`].
    pub fn spend(
        &self,
        key: &Key,
        rule: PathRule,
        client: &ClientAddr,
        now: Instant,
    ) -> Result<Quota, Refusal> {
        self.rates.spend(key.limits(rule), *client, now)
    }

    /// Where limits are counted from now on: in this Redis, or in memory. Returns at once; the same URL again changes
    /// nothing. With a Redis this needs a tokio runtime, which does its work in the background.
    pub fn share_limits(&self, redis: Option<&RedisUrl>) {
        if self.shared.load().as_ref().map(|shared| shared.url()) != redis {
            self.shared.store(redis.map(|url| Arc::new(Shared::new(url.clone()))));
        }
    }

    /// Whether [`Guard::spend_shared`] has to be asked instead of [`Guard::spend`]: this request has limits, and a
    /// Redis that counts them is there.
    #[must_use]
    pub fn is_shared(&self, key: &Key, rule: PathRule) -> bool {
        !key.limits(rule).is_empty() && self.shared.load().as_ref().is_some_and(|shared| shared.is_there())
    }

    /// [`Guard::spend`] with the counters that all instances share. Waits for Redis no longer than 50 ms; when it does
    /// not answer, the limits in memory decide, from where Redis stood, for this request and for those after it until
    /// Redis is back.
    ///
    /// # Errors
    /// [`Refusal::TooManyRequests`].
    pub async fn spend_shared(
        &self,
        key: &Key,
        rule: PathRule,
        client: &ClientAddr,
        now: Instant,
    ) -> Result<Quota, Refusal> {
        let limits = key.limits(rule);
        let shared = self.shared.load_full();
        if let Some(shared) = shared
            && let Some(before) = shared.take(limits, *client).await
        {
            let outcome = limits.judge(before.iter().copied());
            let spent = u64::from(outcome.is_ok());
            let counts = before.into_iter().map(|count| Count { hits: count.hits + spent, ..count });
            self.rates.learn(limits, *client, counts, now);
            return outcome;
        }
        self.spend(key, rule, client, now)
    }

    /// The root password, in constant time. A wrong one counts: after ten within a minute from one address none is
    /// looked at any more. Argon2id runs off the event loop, at most twice at once, and not at all for the password
    /// that was right last.
    ///
    /// The admin socket, which needs no password, is the caller's to let through.
    ///
    /// # Errors
    /// [`Refusal::InvalidRootPassword`] (also when none is presented, and always when none is configured),
    /// [`Refusal::TooManyRequests`] with an empty quota.
    pub async fn check_root(
        &self,
        rules: &Rules,
        presented: Option<&str>,
        client: &ClientAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.root.check(&rules.root, presented, *client, now).await
    }

    /// Why a request was refused, in the words of the configuration, for the operator; see [`Asked`].
    #[must_use]
    pub fn explain(&self, rules: &Rules, refusal: &Refusal, asked: &Asked<'_>) -> String {
        explain::explain(&self.addresses, &self.maintenance, rules, refusal, asked)
    }

    /// The names of `required.args` that are missing or different; see [`Self::check_args`].
    pub fn missing_args<'a>(
        &self,
        key: &Key,
        value_of: &dyn Fn(&str) -> Option<Cow<'a, str>>,
    ) -> Vec<String> {
        key_check::missing_args(key, value_of).map(str::to_owned).collect()
    }

    /// The state of maintenance.
    #[must_use]
    pub const fn maintenance(&self) -> &Maintenance {
        &self.maintenance
    }

    /// The addresses that were blocked automatically or by [`Guard::block`], the oldest first; at most 100,000. Those
    /// of `ip_blacklist.json` are not among them.
    #[must_use]
    pub fn blocked(&self) -> Vec<BlockedEntry> {
        self.addresses.blocked.entries()
    }

    /// How many addresses [`Guard::blocked`] would give.
    #[must_use]
    pub fn blocked_count(&self) -> usize {
        self.addresses.blocked.count()
    }

    /// Blocks an address from the next request on; an operator may block loopback too. False when it was already.
    pub fn block(&self, address: IpAddr, reason: &str) -> bool {
        self.addresses.block(address, reason)
    }

    /// Lets an address in again and forgets what was counted of it. False when it was not blocked.
    pub fn unblock(&self, address: IpAddr) -> bool {
        self.addresses.unblock(address)
    }

    /// Keeps the block list on disk; runs as long as it is polled, on a runtime with time. A list that cannot be
    /// written is tried again every ten seconds.
    pub async fn persist(&self) {
        persist::persist(&self.addresses.blocked).await;
    }

    /// Writes the block list if it changed since the last time: at shutdown. Blocks.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn persist_now(&self) -> io::Result<()> {
        self.addresses.blocked.write()
    }
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
