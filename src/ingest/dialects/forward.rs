//! Fluent Forward over connections, as Fluentd, Fluent Bit and Docker's `fluentd` driver send it.
//!
//! `msgpack` reads values, `record` makes entries of events, `inflate` decompresses them, `handshake`
//! proves a shared secret, and `connection` keeps the state of a connection.

mod connection;
mod handshake;
mod inflate;
mod msgpack;
mod record;

use crate::ingest::socket_dialect::{ConnectionOptions, ConnectionParser, DatagramParser, SocketDialect};
use connection::Connection;

/// The format.
pub(super) struct Forward;

impl SocketDialect for Forward {
    fn name(&self) -> &'static str {
        "forward"
    }

    fn datagrams(&self) -> Option<Box<dyn DatagramParser>> {
        None
    }

    fn connection(&self, options: &ConnectionOptions<'_>) -> Option<Box<dyn ConnectionParser>> {
        Some(Box::new(Connection::new(options.shared_key)?))
    }
}

#[cfg(test)]
#[path = "forward/tests.rs"]
mod tests;
