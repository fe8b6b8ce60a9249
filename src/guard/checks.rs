//! Defines [`Guard`], which holds the state about clients that survives a reload and has a method
//! for each check.

use std::borrow::Cow;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use futures_util::future::BoxFuture;

use super::blocking::address_filter::AddressFilter;
use super::blocking::{BlockedAddress, BlockedEntry, persist};
use super::client_addr::ClientAddr;
use super::explain::{self, RefusalContext};
use super::floods::Floods;
use super::key::{Key, PathRule};
use super::key_check;
use super::limits::cost::Cost;
use super::limits::quota::Quota;
use super::limits::rate::Rates;
use super::limits::redis::shared_limits::SharedLimits;
use super::limits::windows::Count;
use super::maintenance::Maintenance;
use super::refusal::Refusal;
use super::root_password::check::RootPasswordCheck;
use super::rules::Rules;
use super::state_file::state_file;
use crate::config::{LogName, RedisUrl};

/// The state about the clients of one log, shared by all threads.
pub struct Guard {
    pub(super) addresses: AddressFilter,
    rates: Rates,
    /// The Redis that counts limits while it is available; `None` when none is configured.
    shared: ArcSwapOption<SharedLimits>,
    root: RootPasswordCheck,
    pub(super) maintenance: Maintenance,
    floods: Floods,
    state_dir: PathBuf,
    /// Device and inode of the state directory with what was saved.
    directory: Mutex<Option<(u64, u64)>>,
}

/// Returns device and inode of a directory. `None`: it does not exist.
fn directory_of(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// The outcome of counting a request in its limits, now or once Redis has counted it.
#[must_use]
pub enum Spending<'g> {
    /// The limits in memory have decided.
    InMemory(Result<Quota, Refusal>),
    /// Redis decides. Nothing is counted before the first poll.
    InRedis(BoxFuture<'g, Result<Quota, Refusal>>),
}

impl Spending<'_> {
    /// Waits for the decision.
    ///
    /// # Errors
    /// [`Refusal::TooManyRequests`].
    pub async fn decided(self) -> Result<Quota, Refusal> {
        match self {
            Self::InMemory(outcome) => outcome,
            Self::InRedis(outcome) => outcome.await,
        }
    }
}

/// The reason why a [`Guard`] cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The state directory does not exist and cannot be created.
    #[error("the state directory {} cannot be created: {source}", path.display())]
    StateDir {
        /// The state directory.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
}

impl Guard {
    /// Reads the block list and the maintenance mode from the state directory. Creates a missing
    /// directory. Blocks.
    ///
    /// # Errors
    /// [`GuardError::StateDir`]. A broken state file is no error, because it is moved aside with a
    /// warning.
    pub fn open(state_dir: &Path, log: &LogName) -> Result<Self, GuardError> {
        std::fs::create_dir_all(state_dir)
            .map_err(|source| GuardError::StateDir { path: state_dir.to_owned(), source })?;
        Ok(Self {
            addresses: AddressFilter::open(state_file(state_dir, log, "blocked.json")),
            rates: Rates::new(),
            shared: ArcSwapOption::empty(),
            root: RootPasswordCheck::new(),
            maintenance: Maintenance::open(state_dir, log),
            floods: Floods::new(),
            directory: Mutex::new(directory_of(state_dir)),
            state_dir: state_dir.to_owned(),
        })
    }

    /// Finds the key that a request presents.
    ///
    /// An unknown key counts towards `block_ip_when_received_invalid_system_auth`. More than that
    /// many in an hour block the network of the client, except loopback.
    ///
    /// # Errors
    /// [`Refusal::MissingKey`] for no key, an empty one, or one of more than 1024 characters;
    /// [`Refusal::UnknownKey`].
    pub(super) fn find_key<'r>(
        &self,
        rules: &'r Rules,
        presented: Option<&str>,
        client: &ClientAddr,
        now: Instant,
    ) -> Result<&'r Arc<Key>, Refusal> {
        let presented = key_check::well_formed_key(presented).ok_or(Refusal::MissingKey)?;
        rules.presented_key(presented).ok_or_else(|| {
            self.addresses.count_unknown_key(rules, client, now);
            Refusal::UnknownKey
        })
    }

    /// Counts one request in the limits of the path (by key, path and client) and in those of the
    /// key, or in none of them. This is the only place where limits are spent.
    ///
    /// Windows are fixed, from the first hit: at most N hits are accepted in one. A refused request
    /// neither counts nor prolongs a window. A key without limits takes no lock and no memory.
    pub fn spend(
        &self,
        key: &Arc<Key>,
        rule: PathRule,
        client: ClientAddr,
        cost: Cost,
        now: Instant,
    ) -> Spending<'_> {
        if !self.is_shared(key, rule) {
            return Spending::InMemory(self.spend_in_memory(key, rule, &client, cost, now));
        }
        let key = Arc::clone(key);
        Spending::InRedis(Box::pin(async move { self.spend_shared(&key, rule, &client, cost, now).await }))
    }

    /// Counts one request like [`Guard::spend`], in memory.
    ///
    /// # Errors
    /// [`Refusal::TooManyRequests`].
    pub(super) fn spend_in_memory(
        &self,
        key: &Key,
        rule: PathRule,
        client: &ClientAddr,
        cost: Cost,
        now: Instant,
    ) -> Result<Quota, Refusal> {
        self.rates.spend(key.limits(rule), client.counted(), cost, now)
    }

    /// Returns how long a limit of a request is used up, as far as this instance knows. `None`: another
    /// request would be admitted. Counts nothing.
    pub(super) fn used_up_for(
        &self,
        key: &Key,
        rule: PathRule,
        client: &ClientAddr,
        now: Instant,
    ) -> Option<Duration> {
        self.rates.used_up_for(key.limits(rule), client.counted(), now)
    }

    /// Counts limits in this Redis from now on, or in memory if `redis` is `None`. Returns at once.
    ///
    /// Passing the URL that is already in use changes nothing. A Redis needs a tokio runtime for
    /// its background task.
    pub fn share_limits(&self, redis: Option<&RedisUrl>) {
        if self.shared.load().as_ref().map(|shared| shared.url()) != redis {
            self.shared.store(redis.map(|url| Arc::new(SharedLimits::new(url.clone()))));
        }
    }

    /// Returns whether the request has limits, and a Redis that counts them is available.
    pub(super) fn is_shared(&self, key: &Key, rule: PathRule) -> bool {
        !key.limits(rule).is_empty()
            && self.shared.load().as_ref().is_some_and(|shared| shared.is_available())
    }

    /// Counts one request in the counters that all instances share.
    ///
    /// Waits at most 50 ms for Redis. Without an answer, the limits in memory decide, starting from
    /// the last counts of Redis, for this request and the following ones until Redis is available
    /// again.
    async fn spend_shared(
        &self,
        key: &Key,
        rule: PathRule,
        client: &ClientAddr,
        cost: Cost,
        now: Instant,
    ) -> Result<Quota, Refusal> {
        let limits = key.limits(rule);
        let shared = self.shared.load_full();
        if let Some(shared) = shared
            && let Some(before) = shared.take(limits, client.counted(), cost).await
        {
            let outcome = limits.check(cost, before.iter().copied());
            let spent = if outcome.is_ok() { cost.hits() } else { 0 };
            let counts = before.into_iter().map(|count| Count { hits: count.hits + spent, ..count });
            self.rates.adopt(limits, client.counted(), counts, now);
            return outcome;
        }
        self.spend_in_memory(key, rule, client, cost, now)
    }

    /// Checks the root password, in constant time.
    ///
    /// After ten wrong passwords in a minute from one network, further ones are not verified.
    /// Argon2id runs off the event loop, at most twice at the same time, and not at all for the
    /// last right password. A client of the admin socket needs no password, so do not call this for
    /// it.
    ///
    /// # Errors
    /// [`Refusal::InvalidRootPassword`], also when none is presented, and always when none is
    /// configured; [`Refusal::TooManyRequests`] with an empty quota.
    pub(super) async fn check_root(
        &self,
        rules: &Rules,
        presented: Option<&str>,
        client: &ClientAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.root.check(&rules.root, presented, *client, now).await
    }

    /// Explains a refusal to the operator, in the words of the configuration.
    #[must_use]
    pub fn explain(&self, rules: &Rules, refusal: &Refusal, context: &RefusalContext<'_>) -> String {
        explain::explain(&self.addresses, &self.maintenance, rules, refusal, context)
    }

    /// Returns the names of `required.args` that are missing or different. `value_of` returns the
    /// value of a parameter as text, `None` when it is absent.
    pub fn missing_args<'a>(
        &self,
        key: &Key,
        value_of: &dyn Fn(&str) -> Option<Cow<'a, str>>,
    ) -> Vec<String> {
        key_check::missing_args(key, value_of).map(str::to_owned).collect()
    }

    /// Returns the maintenance mode.
    #[must_use]
    pub const fn maintenance(&self) -> &Maintenance {
        &self.maintenance
    }

    /// Returns the floods of clients, and the delays that follow from them.
    #[must_use]
    pub(crate) const fn floods(&self) -> &Floods {
        &self.floods
    }

    /// Returns the addresses and networks that were blocked automatically or by [`Guard::block`], the oldest
    /// first: at most 100,000, without those of `ip_blacklist.json`.
    #[must_use]
    pub fn blocked(&self) -> Vec<BlockedEntry> {
        self.addresses.blocked.entries()
    }

    /// Returns the entry of the block list that blocks `address`.
    #[must_use]
    pub fn blocking_entry(&self, address: BlockedAddress) -> Option<BlockedEntry> {
        self.addresses.blocked.covering(address)
    }

    /// Returns the number of entries in [`Guard::blocked`].
    #[must_use]
    pub fn blocked_count(&self) -> usize {
        self.addresses.blocked.count()
    }

    /// Blocks an address or network for the operator, from its next request on. An operator may
    /// block loopback too.
    ///
    /// Returns false when the list has this entry already.
    pub fn block(&self, address: BlockedAddress, reason: &str) -> bool {
        self.addresses.block(address, reason)
    }

    /// Removes an entry of the block list and forgets the counts of its network. Returns false when
    /// there was none.
    pub fn unblock(&self, address: BlockedAddress) -> bool {
        self.addresses.unblock(address)
    }

    /// Writes the block list to disk after each change. Never returns. Needs a tokio runtime with
    /// time.
    ///
    /// A failed write is repeated every ten seconds.
    pub async fn persist(&self) {
        persist::persist(&self.addresses.blocked).await;
    }

    /// Saves everything again if another program removed or replaced the state directory. Returns
    /// whether it did. Blocks.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn check_state(&self) -> io::Result<bool> {
        let mut directory = self.directory.lock().unwrap_or_else(PoisonError::into_inner);
        if directory.is_some() && directory_of(&self.state_dir) == *directory {
            return Ok(false);
        }
        // Later checks try again after an error.
        if directory.take().is_some() {
            let shown = self.state_dir.display();
            crate::event!(warn, STATE_LOST; "{shown} was removed by another program: it is made again");
        }
        std::fs::create_dir_all(&self.state_dir)?;
        self.maintenance.save_again()?;
        self.addresses.blocked.write()?;
        *directory = directory_of(&self.state_dir);
        Ok(true)
    }

    /// Returns whether the block list and the state of maintenance are on disk, as far as is known.
    #[must_use]
    pub fn is_state_saved(&self) -> bool {
        self.addresses.blocked.is_saved() && self.maintenance.is_saved()
    }

    /// Writes the block list if it changed since the last write, for shutdown. Blocks.
    ///
    /// # Errors
    /// Returns the error of the file system.
    pub fn persist_now(&self) -> io::Result<()> {
        self.addresses.blocked.write()
    }
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
