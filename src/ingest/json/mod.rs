//! Reads JSON over borrowed bytes: objects and values, a scanner, batches.

pub(crate) mod batch;
pub(crate) mod lenient;
pub(crate) mod object;
pub(crate) mod scanner;
