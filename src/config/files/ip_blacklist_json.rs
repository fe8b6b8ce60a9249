//! Reads `ip_blacklist.json`: addresses and networks whose requests are always refused.

use crate::config::syntax::document::{Document, KnownOptions};
use crate::config::syntax::finding::Finding;
use crate::config::values::ip_set::IpSet;

pub(crate) const FILE: &str = "ip_blacklist.json";

/// Parses the text of `ip_blacklist.json`.
///
/// # Errors
/// Returns the first error.
pub(crate) fn read(source: &str, warnings: &mut Vec<Finding>) -> Result<IpSet, Finding> {
    let known_options = KnownOptions { siblings: |_| &[], ignored: &[] };
    Document::json(FILE, source)?.read(&known_options, warnings)
}
