//! Rotates the log, removes old segments, clears the log, and does background work on segments.

pub(crate) mod background;
pub(crate) mod background_thread;
pub(crate) mod cleanup;
pub(crate) mod clear;
pub(crate) mod clock_watch;
pub(crate) mod line_count;
pub(crate) mod maintain;
pub(crate) mod probe;
pub(crate) mod retention;
pub(crate) mod rotation;
pub(crate) mod rules;
pub(crate) mod schedule;
