//! Turns the text of a file into a type, and locates each finding in the text.

pub(crate) mod document;
pub(crate) mod finding;
pub(crate) mod formats;
pub(crate) mod jsonc;
pub(crate) mod step;
pub(crate) mod value;
