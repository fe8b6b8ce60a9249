//! `mocactl` as an operator runs it: the real program in directories of its own.
//!
//! `systemctl` is a stub that records its arguments here: that proves what is asked of systemd, never what systemd does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../harness/mod.rs"]
mod harness;

mod block;
mod check;
mod edits;
mod explain;
mod generate;
mod installation;
mod instance;
mod keys;
mod lines;
mod maintenance;
mod output;
mod packages;
mod passwd;
mod permissions;
mod reset;
mod run;
mod services;
mod status;
mod top;
