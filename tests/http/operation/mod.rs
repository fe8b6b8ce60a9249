//! Tests of operation: start, stop, configuration, reload.

mod auto_reload;
mod configuration;
mod lifecycle;
mod log_level;
mod options;
mod reload;
mod workers;
