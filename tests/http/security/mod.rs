//! Tests of access: addresses, keys, passwords, rate limits, maintenance.

pub(crate) mod admin_socket;
mod blocking;
mod client_address;
mod keys;
mod maintenance;
mod order_of_checks;
mod proxy_chain;
mod rate_limits;
mod redis;
mod root_password;
