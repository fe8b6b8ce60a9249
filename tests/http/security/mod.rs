//! Tests of access by address, key, password, rate limit and maintenance.

pub(crate) mod admin_socket;
mod basic;
mod bidi;
mod blocking;
mod client_address;
mod keys;
mod maintenance;
mod networks;
mod order_of_checks;
mod proxy_chain;
mod rate_limits;
mod redis;
mod root_password;
mod sender_keys;
mod ways;
