//! The routes that only the admin socket has.

pub(crate) mod blocked;
pub(crate) mod maintenance;
pub(crate) mod refusals;
pub(crate) mod status;
