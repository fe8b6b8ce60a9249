//! The rate limits of keys: fixed windows in memory, or counters that instances share in Redis.

pub(crate) mod limit;
pub(crate) mod quota;
pub(crate) mod rate;
pub(crate) mod redis;
pub(crate) mod windows;

pub use self::quota::{LimitState, Quota};
