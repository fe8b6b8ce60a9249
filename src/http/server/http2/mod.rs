//! Serves one HTTP/2 connection with hyper, under the same timeouts as HTTP/1. A TLS handshake
//! negotiates HTTP/2. Without TLS, a client begins with the preface of HTTP/2 by prior knowledge.
//!
//! Each stream has its own `ConnectionState` and timer and passes the same checks as an HTTP/1
//! request. The connection itself has a deadline only while it has no streams, or while the client
//! accepts no bytes.
//!
//! The memory that a client can occupy is bounded. The bound of a stream covers its head and the
//! waiting part of its answer. The bound of the connection covers the number of its streams and
//! their unread bodies. The bound of the process covers the streams of all connections.
//!
//! The work that a client can cause without a request is bounded as well. h2 limits resets, heads
//! and small frames. The transport below it limits control frames, and what one turn of the event
//! loop reads.

mod activity;
mod control_budget;
mod frame_scanner;
mod paced_body;
mod serve;
mod stream;
mod stream_permit;
mod transport;

pub(crate) use serve::serve;

/// The first bytes of a client (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
