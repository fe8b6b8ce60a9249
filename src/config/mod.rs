//! Parses and validates the six configuration files, and watches them for changes.
//!
//! Each file has its own module in `files`. [`load()`] reads them together into one immutable
//! [`Files`], or returns findings, each with its position in the text. So an invalid file never
//! replaces a valid one.

pub(crate) mod files;
mod load;
mod options;
mod stamps;
pub(crate) mod syntax;
pub(crate) mod values;
mod watch;

#[cfg(test)]
mod tests;

pub use files::api_key_json::{AllowedPath, ArgValue, KeyDigest, KeyEntry, LevelScale, NotADigest};
pub use files::http_toml::HttpSettings;
pub use files::listen::{Listen, ListenFormat, SharedKey};
pub use files::log_json::{Compression, Durability, Every, LogEntry, LongMessages, Rotate};
pub use files::server_json::{Cors, Server, Tls};
pub use files::system_json::{RequiredHeader, RootPassword, System};
pub use load::{Files, Loaded, Sources, load};
pub use options::options;
pub use syntax::finding::Finding;
pub(crate) use syntax::formats::Members;
pub use values::ip_set::{IpSet, NotAnAddress};
pub use values::listen_address::ListenAddress;
pub(crate) use values::listen_address::addresses_overlap;
pub use values::log_name::{LogName, NotALogName};
pub use values::origin::{NotAnOrigin, Origin, Origins};
pub use values::rate::{RateError, RateLimit, RateLimits, Unit};
pub use values::redis_url::{RedisPlace, RedisUrl};
pub use watch::Watcher;
