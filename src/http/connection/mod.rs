//! Tracks the phase of an HTTP/1 connection or an HTTP/2 stream, and the deadline of that phase.

pub(crate) mod chunks;
pub(crate) mod framing;
pub(crate) mod phase;
pub(crate) mod state;
pub(crate) mod stream;
