//! Tests of the access log, the metrics, the journal and `debug`.

mod access_log;
mod debug;
mod journal;
mod metrics;
mod refusals;
