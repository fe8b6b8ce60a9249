//! Tests of start, stop, configuration and reload.

mod auto_reload;
mod configuration;
mod lifecycle;
mod log_level;
mod mounted;
mod options;
mod reload;
mod workers;
