//! A parsed text with positions: how the text of a file becomes a type, and where each finding stands.

pub(crate) mod document;
pub(crate) mod finding;
pub(crate) mod formats;
pub(crate) mod jsonc;
pub(crate) mod step;
pub(crate) mod value;
