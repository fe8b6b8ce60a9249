//! Tests of what the operator sees: access log, metrics, journal, debug.

mod access_log;
mod debug;
mod journal;
mod metrics;
