//! Turns the bytes of requests into entries. This layer does no I/O and knows neither keys nor the
//! store.

pub(crate) mod error;
pub(crate) mod form;
pub(crate) mod json;
pub(crate) mod multipart;
pub(crate) mod params;
