//! Builds the heads and bodies of answers, which are successes, problems and records.

pub(crate) mod conditional;
pub(crate) mod head_writer;
pub(crate) mod headers;
pub(crate) mod keep_alive;
pub(crate) mod methods;
pub(crate) mod prepared_heads;
pub(crate) mod problem;
pub(crate) mod record_format;
pub(crate) mod static_document;
pub(crate) mod success;
