//! The small grammars inside of the configuration files: names, rates, origins, addresses, sizes.

pub(crate) mod ip_set;
pub(crate) mod log_name;
pub(crate) mod origin;
pub(crate) mod rate;
pub(crate) mod redis_url;
pub(crate) mod units;
