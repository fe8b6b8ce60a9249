//! Reads JSON over borrowed bytes: objects and values, a scanner, batches.

pub(crate) mod batch;
#[cfg_attr(not(test), expect(dead_code, reason = "for bodies with such values"))]
pub(crate) mod lenient;
pub(crate) mod object;
pub(crate) mod scanner;
