//! Prepares the configuration for the checks, at each reload. The result is immutable.

use std::collections::HashMap;
use std::sync::Arc;

use super::key::Key;
use super::key_check;
use super::root_password::check::ExpectedPassword;
use crate::config::{Files, IpSet, KeyDigest, KeyEntry, System};

/// The keys, the IP blacklist, `system.json` and the root password.
pub struct Rules {
    keys: HashMap<KeyDigest, Arc<Key>>,
    pub(super) blacklist: IpSet,
    pub(super) system: System,
    pub(super) root: ExpectedPassword,
    operator: Arc<Key>,
}

impl Rules {
    /// Prepares the rules of the configuration files. The first of several entries with the same
    /// key counts.
    #[must_use]
    pub fn new(files: &Files) -> Self {
        let mut keys = HashMap::with_capacity(files.keys.len());
        for entry in &files.keys {
            keys.entry(entry.digest).or_insert_with(|| Arc::new(Key::new(entry.clone())));
        }
        Self {
            keys,
            blacklist: files.blacklist.clone(),
            system: files.system.clone(),
            root: ExpectedPassword::new(&files.system.root_pass),
            operator: Arc::new(Key::new(KeyEntry {
                name: "operator".into(),
                ..KeyEntry::new(KeyDigest::of("operator"))
            })),
        }
    }

    /// Returns the key that a client presents, if it has 1 to 1024 characters and is known.
    pub(super) fn presented_key(&self, presented: &str) -> Option<&Arc<Key>> {
        self.key(&KeyDigest::of(key_check::well_formed_key(Some(presented))?))
    }

    /// Returns the key that stands for each client of the admin socket.
    pub(super) const fn operator(&self) -> &Arc<Key> {
        &self.operator
    }

    /// Returns the key with this digest. The lookup compares digests only, so its time reveals
    /// nothing about a key.
    fn key(&self, digest: &KeyDigest) -> Option<&Arc<Key>> {
        self.keys.get(digest)
    }

    /// Returns the key of an entry of `api_key.json`.
    pub(crate) fn key_of(&self, entry: &KeyEntry) -> Option<&Arc<Key>> {
        self.key(&entry.digest)
    }

    /// Returns all keys, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeyEntry;
    use crate::guard::testing;

    #[test]
    fn the_first_entry_of_a_key_wins() {
        let entry =
            |name: &str, key: &str| KeyEntry { name: name.to_owned(), ..KeyEntry::new(KeyDigest::of(key)) };
        let files = crate::config::Files {
            keys: vec![entry("first", "k"), entry("other", "o"), entry("second", "k")],
            ..testing::files()
        };
        let rules = Rules::new(&files);
        assert_eq!(rules.key(&KeyDigest::of("k")).unwrap().entry.name, "first");
        assert_eq!(rules.key(&KeyDigest::of("o")).unwrap().entry.name, "other");
        assert!(rules.key(&KeyDigest::of("")).is_none());
        assert_eq!(rules.keys().count(), 2);
        assert_eq!(format!("{:?}", rules.key(&KeyDigest::of("k")).unwrap()), r#"Key { name: "first", .. }"#);
    }
}
