//! Manages rotated segments: their files, the list of them, and reads from them.

pub(crate) mod chunks;
pub(crate) mod manifest;
pub(crate) mod segment;
pub(crate) mod segment_cache;
pub(crate) mod segment_set;
