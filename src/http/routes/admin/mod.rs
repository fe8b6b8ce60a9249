//! The routes below `/admin`, which only the admin socket has.

pub(crate) mod blocked;
pub(crate) mod maintenance;
pub(crate) mod status;
