//! The HTTP contract, shown over real sockets against the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../harness/mod.rs"]
mod harness;

mod access_log;
mod admin;
mod adversary;
mod auto_reload;
mod compressed;
mod configuration;
mod cors;
mod debug;
mod dos;
mod encryption;
mod express;
mod guard;
mod hostile;
mod http2;
mod journal;
mod keys;
mod large_bodies;
mod life;
mod lines;
mod lnav;
mod log_level;
mod maintenance;
mod metrics;
mod openapi;
mod options;
mod page;
mod parameters;
mod proxies;
mod proxy_chain;
mod rates;
mod reads;
mod redis;
mod reload;
mod root_password;
mod routes;
mod searches;
mod selection;
mod slow;
mod slow_matrix;
mod sources;
mod standards;
mod tail;
mod tls;
mod websocket;
mod workers;
