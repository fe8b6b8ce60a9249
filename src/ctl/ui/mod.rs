//! Prints output and asks questions on the operator's terminal.

pub(crate) mod escape;
pub(crate) mod output;
pub(crate) mod prompt;
