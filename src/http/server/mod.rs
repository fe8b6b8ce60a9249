//! Serves connections with the listeners, HTTP/1, HTTP/2, and the fast path for one record.

pub(crate) mod connection_context;
pub(crate) mod fast_path;
pub(crate) mod first_byte;
mod flood_delay;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod listeners;
pub(crate) mod prior_knowledge;
pub(crate) mod tls;
