//! MocaFileLog: log messages over HTTP into plain text files, on disk before the answer.
//!
//! # Layout
//! A request walks through these rooms, top to bottom; dependencies point the same way only.
//! - [`http`]: listener, connection policy, warp routes, parameters, answers.
//! - [`guard`]: who may do what, from where, how fast.
//! - [`store`]: the file engine; an answer is sent only after it says that a record is durable.
//! - [`record`]: what a record is and how it stands in a file as one line.
//! - [`config`]: the configuration files, validated with the exact place of each finding.
//! - [`events`]: what the journal is told, by name and number; below all of them.
//! - [`systemd`]: passed sockets, readiness, watchdog, journal, signals.
//! - [`tls`]: the certificate and key of HTTPS.
//!
//! `record` and `config` do no network I/O and know none of the others (`config` knows [`record::Level`]);
//! `store` knows nothing of HTTP; `http` knows nothing of systemd; the programs in `src/bin` wire them up.

pub mod config;
pub mod ctl;
pub mod events;
pub mod exit;
mod fault;
pub mod guard;
pub mod hooks;
pub mod http;
mod ingest;
pub mod net;
pub mod record;
pub mod store;
mod swar;
pub mod systemd;
