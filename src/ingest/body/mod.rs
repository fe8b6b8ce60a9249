//! Reads bodies of any shape: what the content type says, what the first character shows, and texts
//! in any charset.

pub(crate) mod content;
pub(crate) mod media_type;
pub(crate) mod memory;
pub(crate) mod parameters;
pub(crate) mod received;
pub(crate) mod records;
pub(crate) mod stream;
pub(crate) mod text_records;
