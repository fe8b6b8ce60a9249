//! The HTTP contract, shown over real sockets against the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../harness/mod.rs"]
mod harness;

mod admin;
mod adversary;
mod configuration;
mod cors;
mod dos;
mod guard;
mod hostile;
mod http2;
mod keys;
mod life;
mod lines;
mod maintenance;
mod parameters;
mod proxies;
mod rates;
mod reads;
mod reload;
mod root_password;
mod routes;
mod slow;
mod slow_matrix;
mod sources;
mod tls;
