//! Limits the requests of each key, by fixed windows in memory or by counters that instances share
//! in Redis.

pub(crate) mod cost;
pub(crate) mod limit;
pub(crate) mod quota;
pub(crate) mod rate;
pub(crate) mod redis;
pub(crate) mod windows;

pub use self::cost::Cost;
pub use self::quota::{LimitState, Quota};
