//! Limits that all instances share, counted in a Redis.

mod connect;
pub(crate) mod limit_name;
mod script;
pub(crate) mod shared_limits;
mod unavailable;
