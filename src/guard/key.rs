//! A key of `api_key.json`, made ready for requests.

use std::fmt;

use http::HeaderName;

use super::limits::limit::{self, Limit, Limits};
use crate::config::KeyEntry;

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

impl Key {
    /// Makes an entry ready.
    #[must_use]
    pub fn new(entry: KeyEntry) -> Self {
        let required_headers = entry
            .required_headers
            .iter()
            .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).ok(), value.clone().into_bytes()))
            .collect();
        let (own_limits, path_limits) = limit::limits_of(&entry);
        Self { entry, required_headers, own_limits, path_limits }
    }

    /// The limits of a request that `rule` admitted.
    pub(crate) fn limits(&self, rule: PathRule) -> Limits<'_> {
        let of_path = self.path_limits.get(rule.0).map(Vec::as_slice).unwrap_or_default();
        Limits::new(of_path, &self.own_limits)
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
