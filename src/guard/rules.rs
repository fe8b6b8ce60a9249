//! The rules in force: immutable, made ready for requests once per reload.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use super::rate::{self, Limit};
use super::root::Root;
use crate::config::{Files, IpSet, KeyDigest, KeyEntry, System};

/// What the configuration files say about who may do what.
pub struct Rules {
    keys: HashMap<KeyDigest, Arc<Key>>,
    pub(super) blacklist: IpSet,
    pub(super) system: System,
    pub(super) root: Root,
}

/// A key with everything a request needs ready-made.
pub struct Key {
    /// its entry in `api_key.json`
    pub entry: KeyEntry,
    /// `None` = a name that no request can carry
    pub(super) required_headers: Vec<(Option<HeaderName>, Vec<u8>)>,
    /// `rate`
    pub(super) own_limits: Vec<Limit>,
    /// of each `allowed_path`
    pub(super) path_limits: Vec<Vec<Limit>>,
}

/// Which `allowed_path` of a key admitted a request: the first that matches, in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRule(pub(super) usize);

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

impl Key {
    /// Makes an entry ready.
    #[must_use]
    pub fn new(entry: KeyEntry) -> Self {
        let required_headers = entry
            .required_headers
            .iter()
            .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).ok(), value.clone().into_bytes()))
            .collect();
        let (own_limits, path_limits) = rate::limits_of(&entry);
        Self { entry, required_headers, own_limits, path_limits }
    }

    /// It asks for nothing but itself: no header, no argument, no delay.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.required_headers.is_empty() && self.entry.required_args.is_empty() && self.entry.delay.is_zero()
    }
}

/// The name only: required headers and arguments may be secrets.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.entry.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
