//! Keeps the block list, which holds the addresses that were blocked at run time. The list survives
//! restarts in `NAME.blocked.json`.
//!
//! The list is bounded. In a full list, a new entry replaces the oldest one. A lookup never waits
//! for the disk, and takes no lock while the list is empty.

use std::collections::{BTreeMap, HashMap};
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

use crate::guard::state_file;

/// A blocked address, with time and reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockedEntry {
    /// The address, never an IPv4-mapped IPv6 address.
    pub address: IpAddr,
    /// Time of the block, in seconds since 1970-01-01 UTC.
    pub since: u64,
    /// The reason in words, at most 200 characters.
    pub reason: String,
}

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

#[derive(Default)]
struct Entries {
    by_address: HashMap<IpAddr, u64>,
    /// In the order of the blocks.
    by_age: BTreeMap<u64, BlockedEntry>,
    next: u64,
}

impl Entries {
    fn insert(&mut self, mut entry: BlockedEntry, capacity: usize) -> bool {
        entry.address = entry.address.to_canonical();
        if self.by_address.contains_key(&entry.address) {
            return false;
        }
        while self.by_age.len() >= capacity {
            let Some((_, oldest)) = self.by_age.pop_first() else { break };
            self.by_address.remove(&oldest.address);
        }
        self.by_address.insert(entry.address, self.next);
        self.by_age.insert(self.next, entry);
        self.next += 1;
        true
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
        for entry in entries {
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

    /// Returns whether the list contains the address, which must not be an IPv4-mapped IPv6
    /// address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.len.load(Ordering::Acquire) != 0
            && self.entries.read().unwrap_or_else(PoisonError::into_inner).by_address.contains_key(&address)
    }

    /// Returns the entry of an address.
    pub(crate) fn entry(&self, address: IpAddr) -> Option<BlockedEntry> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.by_address.get(&address).and_then(|age| entries.by_age.get(age)).cloned()
    }

    /// Adds an address. Returns false when it was already blocked.
    pub(crate) fn block(&self, address: IpAddr, reason: &str) -> bool {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let reason = reason.chars().take(MAX_REASON_CHARS).collect();
        self.change(|entries| entries.insert(BlockedEntry { address, since, reason }, self.capacity))
    }

    /// Removes an address. Returns false when it was not blocked.
    pub(crate) fn unblock(&self, address: IpAddr) -> bool {
        self.change(|entries| {
            let age = entries.by_address.remove(&address.to_canonical());
            age.and_then(|age| entries.by_age.remove(&age)).is_some()
        })
    }

    fn change(&self, change: impl FnOnce(&mut Entries) -> bool) -> bool {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if !change(&mut entries) {
            return false;
        }
        self.len.store(entries.by_age.len(), Ordering::Release);
        self.version.fetch_add(1, Ordering::AcqRel);
        drop(entries);
        self.changed.notify_one();
        true
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
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn addresses(list: &BlockList) -> Vec<String> {
        list.entries().iter().map(|entry| entry.address.to_string()).collect()
    }

    #[test]
    fn blocks_and_unblocks_canonical_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let list = BlockList::open(dir.path().join("a.blocked.json"));
        assert!(!list.contains(ip("192.0.2.1")));
        assert!(list.block(ip("::ffff:192.0.2.1"), &"x".repeat(500)));
        assert!(!list.block(ip("192.0.2.1"), "again"));
        assert!(list.contains(ip("192.0.2.1")) && !list.contains(ip("192.0.2.2")));
        let entry = list.entries().remove(0);
        assert_eq!((entry.address, entry.reason.len()), (ip("192.0.2.1"), 200));
        assert!(entry.since > 1_700_000_000);
        assert!(list.unblock(ip("::ffff:192.0.2.1")) && !list.unblock(ip("192.0.2.1")));
        assert!(!list.contains(ip("192.0.2.1")) && list.entries().is_empty());
    }

    #[test]
    fn a_new_entry_replaces_the_oldest_of_a_full_list() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.blocked.json");
        let list = BlockList::with_capacity(path.clone(), 3);
        for n in 1..=5 {
            list.block(IpAddr::from([192, 0, 2, n]), "");
        }
        assert_eq!(addresses(&list), ["192.0.2.3", "192.0.2.4", "192.0.2.5"]);
        assert!(!list.contains(ip("192.0.2.2")));
        list.write().unwrap();
        assert_eq!(addresses(&BlockList::with_capacity(path, 2)), ["192.0.2.4", "192.0.2.5"]);
    }

    #[test]
    fn entries_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.blocked.json");
        let list = BlockList::open(path.clone());
        list.write().unwrap();
        assert!(!path.exists(), "nothing changed, nothing written");
        for n in 0..3_000_u32 {
            list.block(IpAddr::V4((0x0a00_0000 + n).into()), "many");
        }
        list.block(ip("2001:db8::1"), "one");
        list.write().unwrap();
        let again = BlockList::open(path.clone());
        assert_eq!(again.entries(), list.entries());
        assert_eq!(again.entries().len(), 3_001);
        assert!(again.contains(ip("2001:db8::1")));
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with(r#"[{"address":"10.0.0.0","since":"#), "{text:.80}");
    }

    #[test]
    fn a_broken_file_is_moved_aside() {
        for (content, name) in
            [("[{]", "a"), ("{}", "b"), (r#"[{"address":"x","since":1,"reason":""}]"#, "c")]
        {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            let list = BlockList::open(path.clone());
            assert!(list.entries().is_empty() && !path.exists());
            assert_eq!(fs::read_to_string(dir.path().join(format!("{name}.broken"))).unwrap(), content);
            list.block(ip("192.0.2.1"), "");
            list.write().unwrap();
            assert!(BlockList::open(path).contains(ip("192.0.2.1")));
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        fs::create_dir(&path).unwrap();
        assert!(BlockList::open(path).entries().is_empty(), "unreadable");
    }

    #[test]
    fn a_failed_write_is_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later").join("a");
        let list = BlockList::open(path.clone());
        list.block(ip("192.0.2.1"), "");
        fs::write(dir.path().join("later"), "not a folder").unwrap();
        assert!(list.write().is_err() && !list.is_saved());
        fs::remove_file(dir.path().join("later")).unwrap();
        list.write().unwrap();
        assert!(path.exists() && list.is_saved());
        fs::remove_file(&path).unwrap();
        list.write().unwrap();
        assert!(path.exists());
    }
}
