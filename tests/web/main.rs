//! Tests of the operator's page in a real Chromium, against the real server. `make test-web` runs
//! these tests and writes their pictures to `target/web`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::too_many_lines)]

#[path = "../harness/mod.rs"]
mod harness;

mod access;
mod browser;
mod chart;
mod endurance;
mod fields;
mod hostile;
mod page;
mod reading;
mod signing;
