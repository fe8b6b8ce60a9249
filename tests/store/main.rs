//! What an answer promises about the file: through crashes, stops, full disks, meddling and size.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../harness/mod.rs"]
mod harness;

mod clear;
mod crash;
mod disk_full;
mod faults;
mod large;
mod load;
mod outside;
mod rotation;
mod segments;
mod slow_disk;
mod stop;
mod strace;
mod sync;
mod torn;
