//! Tests that the file keeps the promise of every answer, through crashes, stops, full disks, slow
//! disks, large files and changes by other programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::too_many_lines)]

#[path = "../harness/mod.rs"]
mod harness;

mod clear;
mod clocks;
mod crash;
mod disk_full;
mod faults;
mod large;
mod load;
mod many_segments;
mod outside;
mod rotation;
mod segments;
mod slow_disk;
mod stop;
mod strace;
mod sync;
mod torn;
