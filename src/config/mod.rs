//! The configuration: six files, each with its own module, validated with the exact place of each finding,
//! read together into one immutable [`Files`], and watched for changes.
//!
//! A broken file never replaces a good one: [`load()`] gives all of the files or the findings.

mod api_key;
mod document;
mod file_name;
mod finding;
mod http_toml;
mod ip_set;
mod jsonc;
mod load;
mod log_json;
mod options;
mod origin;
mod rate;
mod redis_url;
mod server;
mod syntax;
mod system;
mod units;
mod value;
mod watch;

#[cfg(test)]
mod tests;

pub use api_key::{AllowedPath, ArgValue, KeyDigest, KeyEntry, NotADigest};
pub use finding::Finding;
pub use http_toml::HttpSettings;
pub use ip_set::{IpSet, NotAnAddress};
pub use load::{Loaded, Sources, load};
pub use log_json::{Compression, Durability, Every, LogEntry, LogName, NotALogName, Rotate};
pub use options::options;
pub use origin::{NotAnOrigin, Origin, Origins};
pub use rate::{RateError, RateLimit, RateLimits, Unit};
pub use redis_url::{RedisPlace, RedisUrl};
pub use server::{Cors, Server, Tls};
pub(crate) use syntax::Members;
pub use system::{RequiredHeader, RootPassword, System};
pub use watch::Watcher;

use std::collections::BTreeMap;

/// Everything that stands in the configuration directory, valid as a whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Files {
    /// `log.json`
    pub logs: BTreeMap<LogName, LogEntry>,
    /// `api_key.json`, in its order: the first entry with a key wins
    pub keys: Vec<KeyEntry>,
    /// `server.json`
    pub server: Server,
    /// `system.json`
    pub system: System,
    /// `ip_blacklist.json`
    pub blacklist: IpSet,
    /// `http.toml`
    pub http: HttpSettings,
}
