//! Counts the rate limits that all instances share, in Redis.

mod connect;
pub(crate) mod limit_name;
pub(crate) mod shared_limits;
mod take_request;
mod unavailable;
