//! Where a connection of HTTP/1, or a stream of HTTP/2, is in its life, and until when it may stay there.

pub(crate) mod state;
pub(crate) mod stream;
