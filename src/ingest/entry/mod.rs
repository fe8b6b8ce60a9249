//! Makes an entry of the members that a sender gave.

mod level;
pub(crate) mod read_rules;
pub(crate) mod reader;
mod time;
