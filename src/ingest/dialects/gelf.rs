//! GELF, the format of Graylog: over HTTP, over UDP, plain, compressed and in chunks, and over connections.
//!
//! `object` makes the entry of a message, `chunks` puts datagrams together, `inflate` decompresses them,
//! `frames` finds the messages of a connection, and `sockets` joins them.

mod chunks;
mod frames;
mod http;
mod inflate;
mod object;
mod sockets;

pub(super) use http::GelfHttp;
pub(super) use sockets::Gelf;

#[cfg(test)]
#[path = "gelf/tests.rs"]
mod tests;
