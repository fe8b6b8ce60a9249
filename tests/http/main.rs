//! Black-box tests of the HTTP interface, with real sockets and the real program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::too_many_lines)]

#[path = "../harness/mod.rs"]
mod harness;

mod api;
mod connections;
mod following;
mod ingest;
mod listen;
mod observability;
mod operation;
mod reading;
mod security;
