//! Names the checks of a request in their order, and lets a caller observe them.

use std::sync::Arc;

use super::key::Key;

/// The checks, in the order in which a request passes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// `ip_blacklist.json` and the block list.
    BlockList,
    /// `dos_detect`.
    Flood,
    /// The maintenance mode.
    Maintenance,
    /// `force_headers`.
    ForceHeaders,
    /// `referer`.
    Referer,
    /// The key is in `api_key.json`.
    Key,
    /// `status` of the key.
    Status,
    /// `ip` of the key.
    Ip,
    /// `allowed_path` of the key.
    AllowedPath,
    /// `required.headers` of the key.
    RequiredHeaders,
    /// `required.args` of the key.
    RequiredArgs,
    /// The limits of the path and of the key.
    Rate,
    /// The root password.
    RootPassword,
}

/// Observes the checks of one request.
pub trait Watch {
    /// Called when a check has admitted the request.
    fn passed(&mut self, _check: Check) {}

    /// Called when the key of the request was found.
    fn recognized(&mut self, _key: &Arc<Key>) {}
}

/// Observes nothing.
impl Watch for () {}
