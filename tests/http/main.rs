//! The HTTP contract, shown over real sockets against the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../harness/mod.rs"]
mod harness;

mod access_log;
mod admin;
mod adversary;
mod auto_reload;
mod configuration;
mod cors;
mod debug;
mod dos;
mod guard;
mod hostile;
mod journal;
mod keys;
mod life;
mod lines;
mod log_level;
mod maintenance;
mod parameters;
mod proxies;
mod rates;
mod reads;
mod reload;
mod root_password;
mod routes;
mod slow;
mod sources;
