//! Parses single values: log names, rates, origins, addresses, URLs, sizes.

pub(crate) mod ip_set;
pub(crate) mod listen_address;
pub(crate) mod log_name;
pub(crate) mod origin;
pub(crate) mod rate;
pub(crate) mod redis_url;
pub(crate) mod units;
