//! Prepares a key of `api_key.json` for requests, at each reload.

use std::fmt;

use http::HeaderName;

use super::limits::limit::{self, Limit, Limits};
use crate::config::{KeyEntry, LevelScale};

/// A key, prepared for requests.
pub struct Key {
    /// The entry in `api_key.json`.
    pub entry: KeyEntry,
    /// `required.headers`. The name is `None` when it is not a valid header name, so no request can
    /// have it.
    pub(super) required_headers: Vec<(Option<HeaderName>, Vec<u8>)>,
    /// The limits of `rate`.
    pub(super) own_limits: Vec<Limit>,
    /// The limits of each `allowed_path`.
    pub(super) path_limits: Vec<Vec<Limit>>,
}

/// The `allowed_path` of a key that admitted a request: the first match in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRule(pub(super) usize);

impl Key {
    /// Prepares an entry.
    #[must_use]
    pub fn new(entry: KeyEntry) -> Self {
        let required_headers = entry
            .required_headers
            .iter()
            .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).ok(), value.clone().into_bytes()))
            .collect();
        let (own_limits, path_limits) = limit::prepare_limits(&entry);
        Self { entry, required_headers, own_limits, path_limits }
    }

    /// Returns the limits of a request that `rule` admitted.
    pub(crate) fn limits(&self, rule: PathRule) -> Limits<'_> {
        let of_path = self.path_limits.get(rule.0).map(Vec::as_slice).unwrap_or_default();
        Limits::new(of_path, &self.own_limits)
    }

    /// Returns whether the key requires no header and no argument, has no delay, and no scale of levels.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        // Every option is named, so a new one does not compile until the fast path obeys it.
        let KeyEntry {
            // Checked before a key is remembered.
            digest: _,
            status: _,
            allowed_path: _,
            ip: _,
            // Counted for each request.
            rate: _,
            // They need more than the fast path reads, or more time.
            required_headers,
            required_args,
            delay,
            // The fast path reads levels on the scale of most keys.
            levels,
            // They refuse nothing.
            name: _,
            info: _,
        } = &self.entry;
        required_headers.is_empty()
            && required_args.is_empty()
            && delay.is_zero()
            && *levels == LevelScale::Auto
    }
}

/// Shows the name only, because required headers and arguments may be secrets.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("name", &self.entry.name).finish_non_exhaustive()
    }
}
