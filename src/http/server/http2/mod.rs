//! Serves one HTTP/2 connection with hyper, under the same timeouts as HTTP/1. Only a TLS handshake
//! can negotiate HTTP/2.
//!
//! Each stream has its own `ConnectionState` and timer and passes the same checks as an HTTP/1
//! request. The connection itself has a deadline only while it has no streams, or while the client
//! accepts no bytes.
//!
//! The memory that a client can occupy is bounded. The bound of a stream covers its head and the
//! waiting part of its answer. The bound of the connection covers the number of its streams and
//! their unread bodies.

mod activity;
mod paced_body;
mod serve;
mod stream;

pub(crate) use serve::serve;
