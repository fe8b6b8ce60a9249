//! Tests of `mocactl` as an operator runs it. They run the real program, and each test has its own
//! directories.
//!
//! `systemctl` is a stub that records its arguments. The tests show how it is called, not what
//! systemd does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::too_many_lines)]

#[path = "../harness/mod.rs"]
mod harness;

mod block;
mod check;
mod documents;
mod edits;
mod explain;
mod generate;
mod installation;
mod instance;
mod keys;
mod lines;
mod maintenance;
mod mounted;
mod output;
mod packages;
mod passwd;
mod permissions;
mod refusals;
mod reset;
mod run;
mod services;
mod start_errors;
mod status;
mod terminal;
mod top;
mod without_systemd;
