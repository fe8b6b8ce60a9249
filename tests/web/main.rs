//! The operators' page in a real Chromium, against the real server: what an operator does and sees.
//! `make test-web` runs these tests; their pictures are in `target/web`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../harness/mod.rs"]
mod harness;

mod access;
mod browser;
mod chart;
mod endurance;
mod hostile;
mod page;
mod reading;
mod signing;
