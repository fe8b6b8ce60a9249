//! MocaFileLog is a log server that receives records over HTTP and writes them to plain text files.
//! An answer is sent only after the record is durable.
//!
//! # Layers
//! The modules form layers, here with the lowest first. A module uses only modules of lower layers.
//! - [`exit`], [`events`], `fault`, `log_limit`, `swar`: exit statuses, journal events, crash points
//!   for tests, a limit for messages, tests of eight bytes at once.
//! - [`record`]: what a record is, and how it is written as one line. No I/O.
//! - [`hooks`]: the operator's programs before and after a run.
//! - [`config`]: the configuration files, validated with the position of each finding.
//! - [`net`]: sockets, connection limits, TLS. Knows no protocol.
//! - [`store`]: where records are kept. Knows no HTTP and no keys.
//! - [`guard`]: which client may do what. Knows no routes and no storage.
//! - `ingest`: bodies of requests become entries.
//! - [`http`]: connections, routes and answers. Knows no systemd.
//! - [`listen`]: sockets that are not HTTP. Knows no systemd.
//! - [`systemd`]: passed sockets, notification, journal, signals, and the generator of the units.
//! - [`ctl`]: `mocactl`, the tool of the operator.
//!
//! The programs in `src/bin` connect the layers.
#![cfg_attr(test, allow(clippy::too_many_lines))]

pub mod config;
pub mod ctl;
pub mod events;
pub mod exit;
mod fault;
pub mod guard;
pub mod hooks;
pub mod http;
mod ingest;
pub mod listen;
mod log_limit;
pub mod net;
pub mod record;
pub mod store;
mod swar;
pub mod systemd;
