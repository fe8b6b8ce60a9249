//! Keeps the block list, which holds the addresses and networks that were blocked at run time. The
//! list survives restarts in `NAME.blocked.json`.
//!
//! The list is bounded. In a full list, a new entry replaces the oldest automatic one. The networks
//! of one IPv6 site (/48) have at most an eighth of the list, and then replace each other. So no site
//! can replace the entries of others. No new entry replaces one of the operator. A lookup never
//! waits for the disk, and takes no lock while the list is empty.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::blocked_address::BlockedAddress;
use crate::guard::state_file;
use crate::net::client_network::ClientNetwork;

/// A blocked address or network, with time and reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedEntry {
    /// The address or network.
    pub address: BlockedAddress,
    /// Time of the block, in seconds since 1970-01-01 UTC.
    pub since: u64,
    /// The reason in words, at most 200 characters.
    pub reason: String,
    /// True for an entry of the operator.
    #[serde(default)]
    pub by_hand: bool,
}

/// The reason of the operator's entries in files of version 2.0, which have no `by_hand`.
const REASON_BY_HAND: &str = "by the operator";
/// Part of the list that the automatic entries of one site may have.
const SITE_SHARE: usize = 8;
/// Maximum number of addresses in the list.
const MAX_BLOCKED_ADDRESSES: usize = 100_000;
/// Maximum length of a reason.
const MAX_REASON_CHARS: usize = 200;
/// Number of entries that are copied under one lock when the list is written.
const COPY_CHUNK_ENTRIES: usize = 1024;

/// The block list in memory, and its file.
pub(crate) struct BlockList {
    path: PathBuf,
    capacity: usize,
    /// Number of entries. Lookups read it first, because the list is usually empty.
    len: AtomicUsize,
    entries: RwLock<Entries>,
    /// Grows with every change.
    version: AtomicU64,
    /// The version on disk. The lock is held during a write.
    written: Mutex<u64>,
    /// The last write failed.
    is_unsaved: AtomicBool,
    /// Wakes the task that writes the list.
    pub(crate) changed: Notify,
}

/// What an operation has changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Nothing.
    None,
    /// An automatic entry became one of the operator.
    Origin,
    /// An entry was added or removed.
    Entries,
}

#[derive(Default)]
struct Entries {
    by_address: HashMap<BlockedAddress, u64>,
    /// In the order of the blocks.
    by_age: BTreeMap<u64, BlockedEntry>,
    /// The automatic entries, in the order of the blocks.
    automatic: BTreeSet<u64>,
    /// The automatic entries of each site, in the order of the blocks.
    by_site: HashMap<ClientNetwork, BTreeSet<u64>>,
    next: u64,
}

impl Entries {
    /// Adds an entry, unless the list has it already or is full of entries of the operator.
    fn insert(&mut self, entry: BlockedEntry, capacity: usize) -> Change {
        if let Some(age) = self.by_address.get(&entry.address).copied() {
            return if entry.by_hand { self.keep_by_hand(age) } else { Change::None };
        }
        let site = entry.address.site().filter(|_| !entry.by_hand);
        if let Some(of_site) = site.and_then(|site| self.by_site.get(&site))
            && of_site.len() >= (capacity / SITE_SHARE).max(1)
            && let Some(oldest) = of_site.first().copied()
        {
            self.remove(oldest);
        }
        if self.by_age.len() >= capacity {
            let Some(oldest) = self.automatic.first().copied() else { return Change::None };
            self.remove(oldest);
        }
        let age = self.next;
        self.next += 1;
        if !entry.by_hand {
            self.automatic.insert(age);
        }
        if let Some(site) = site {
            self.by_site.entry(site).or_default().insert(age);
        }
        self.by_address.insert(entry.address, age);
        self.by_age.insert(age, entry);
        Change::Entries
    }

    /// Makes an entry one of the operator, so that no new entry replaces it.
    fn keep_by_hand(&mut self, age: u64) -> Change {
        let Some(entry) = self.by_age.get_mut(&age).filter(|entry| !entry.by_hand) else {
            return Change::None;
        };
        entry.by_hand = true;
        let site = entry.address.site();
        self.no_longer_automatic(age, site);
        Change::Origin
    }

    /// Removes the entry of this age.
    fn remove(&mut self, age: u64) {
        if let Some(entry) = self.by_age.remove(&age) {
            self.by_address.remove(&entry.address);
            self.no_longer_automatic(age, entry.address.site());
        }
    }

    fn no_longer_automatic(&mut self, age: u64, site: Option<ClientNetwork>) {
        self.automatic.remove(&age);
        if let Some(site) = site
            && let Some(of_site) = self.by_site.get_mut(&site)
        {
            of_site.remove(&age);
            if of_site.is_empty() {
                self.by_site.remove(&site);
            }
        }
    }

    fn entry(&self, address: BlockedAddress) -> Option<&BlockedEntry> {
        self.by_age.get(self.by_address.get(&address)?)
    }
}

impl BlockList {
    /// Reads the list. Moves an unusable file aside.
    pub(crate) fn open(path: PathBuf) -> Self {
        Self::with_capacity(path, MAX_BLOCKED_ADDRESSES)
    }

    fn with_capacity(path: PathBuf, capacity: usize) -> Self {
        let read = match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice::<Vec<BlockedEntry>>(&bytes).map_err(|error| error.to_string())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.to_string()),
        };
        let entries = read.unwrap_or_else(|why| {
            state_file::move_aside(&path, &why);
            Vec::new()
        });
        let mut list = Entries::default();
        for mut entry in entries {
            entry.by_hand |= entry.reason == REASON_BY_HAND;
            list.insert(entry, capacity);
        }
        Self {
            path,
            capacity,
            len: AtomicUsize::new(list.by_age.len()),
            entries: RwLock::new(list),
            version: AtomicU64::new(0),
            written: Mutex::new(0),
            is_unsaved: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Returns whether the list blocks the address: by an entry for it, or for its network.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        if self.len.load(Ordering::Acquire) == 0 {
            return false;
        }
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let by_address = &entries.by_address;
        by_address.contains_key(&BlockedAddress::from(address))
            || address.is_ipv6() && by_address.contains_key(&ClientNetwork::of(address).into())
    }

    /// Returns the entry that blocks an address or network: its own, or that of its network.
    pub(crate) fn covering(&self, address: BlockedAddress) -> Option<BlockedEntry> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.entry(address).or_else(|| entries.entry(address.network().into())).cloned()
    }

    /// Adds a network that exceeded a limit. Returns false when it was already blocked, or when the
    /// list is full of entries of the operator.
    pub(crate) fn block_automatically(&self, network: ClientNetwork, reason: &str) -> bool {
        self.block(network.into(), reason, false)
    }

    /// Adds an address or network for the operator. Returns false when it was already blocked.
    pub(crate) fn block_by_hand(&self, address: BlockedAddress, reason: &str) -> bool {
        self.block(address, reason, true)
    }

    fn block(&self, address: BlockedAddress, reason: &str, by_hand: bool) -> bool {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let reason = reason.chars().take(MAX_REASON_CHARS).collect();
        self.change(|entries| entries.insert(BlockedEntry { address, since, reason, by_hand }, self.capacity))
    }

    /// Removes an entry. Returns false when there is none.
    pub(crate) fn unblock(&self, address: BlockedAddress) -> bool {
        self.change(|entries| {
            let Some(age) = entries.by_address.get(&address).copied() else { return Change::None };
            entries.remove(age);
            Change::Entries
        })
    }

    /// Changes the list. Returns whether an entry was added or removed.
    fn change(&self, change: impl FnOnce(&mut Entries) -> Change) -> bool {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let change = change(&mut entries);
        if change == Change::None {
            return false;
        }
        self.len.store(entries.by_age.len(), Ordering::Release);
        self.version.fetch_add(1, Ordering::AcqRel);
        drop(entries);
        self.changed.notify_one();
        change == Change::Entries
    }

    /// Returns the number of entries.
    pub(crate) fn count(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Returns all entries, the oldest first.
    pub(crate) fn entries(&self) -> Vec<BlockedEntry> {
        let mut copy = Vec::new();
        let mut next = Bound::Unbounded;
        loop {
            // In chunks, so that a request that blocks an address does not wait for a long copy.
            let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
            let mut rest = entries.by_age.range((next, Bound::Unbounded)).take(COPY_CHUNK_ENTRIES);
            let Some((age, entry)) = rest.next() else { return copy };
            copy.push(entry.clone());
            next = Bound::Excluded(*age);
            for (age, entry) in rest {
                copy.push(entry.clone());
                next = Bound::Excluded(*age);
            }
        }
    }

    /// Writes the list if it changed since the last write. Blocks.
    ///
    /// # Errors
    /// Returns the error of the file system. The file is then unchanged.
    pub(crate) fn write(&self) -> io::Result<()> {
        let mut written: MutexGuard<'_, u64> = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before the copy, so that a change during the copy causes another write.
        let version = self.version.load(Ordering::Acquire);
        // The state directory may have been removed with the file.
        let is_lost = || !self.path.exists() && !self.entries().is_empty();
        if *written != version || is_lost() {
            let outcome = serde_json::to_vec(&self.entries())
                .map_err(io::Error::from)
                .and_then(|text| state_file::replace(&self.path, &text));
            self.is_unsaved.store(outcome.is_err(), Ordering::Relaxed);
            outcome?;
            *written = version;
        }
        Ok(())
    }

    /// Returns whether the last write succeeded.
    pub(crate) fn is_saved(&self) -> bool {
        !self.is_unsaved.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[path = "block_list_tests.rs"]
mod tests;
