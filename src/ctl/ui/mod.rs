//! The operator's terminal: output and questions.

pub(crate) mod output;
pub(crate) mod prompt;
