//! The rules in force: immutable, made ready for requests once per reload.

use std::collections::HashMap;
use std::sync::Arc;

use super::key::Key;
use super::root_password::Root;
use crate::config::{Files, IpSet, KeyDigest, System};

/// What the configuration files say about who may do what.
pub struct Rules {
    keys: HashMap<KeyDigest, Arc<Key>>,
    pub(super) blacklist: IpSet,
    pub(super) system: System,
    pub(super) root: Root,
}

impl Rules {
    /// The rules that these files make. Of several entries with the same key the first one counts.
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
            root: Root::new(&files.system.root_pass),
        }
    }

    /// The key with this digest. Looking it up compares digests only, so time tells nothing about a key.
    pub(super) fn key(&self, digest: &KeyDigest) -> Option<&Arc<Key>> {
        self.keys.get(digest)
    }

    /// All keys, in no particular order.
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
