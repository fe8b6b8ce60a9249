//! Turns the bytes of requests into entries. This layer does no I/O and knows neither keys nor the
//! store.
//!
//! A [`dialect`] is an input format over HTTP. [`dialects::ALL`] lists them. The other modules hold
//! the code that dialects share.

pub(crate) mod basic;
pub(crate) mod batch;
pub(crate) mod body;
pub(crate) mod dialect;
pub(crate) mod dialects;
pub(crate) mod entry;
pub(crate) mod entry_stream;
pub(crate) mod error;
pub(crate) mod flatten;
pub(crate) mod form;
pub(crate) mod json;
pub(crate) mod level_names;
pub(crate) mod multipart;
pub(crate) mod params;
pub(crate) mod python_logging;
pub(crate) mod record_source;
pub(crate) mod sender_key;
pub(crate) mod socket_dialect;
#[cfg(test)]
mod testing;
pub(crate) mod text;
pub(crate) mod timestamp;
