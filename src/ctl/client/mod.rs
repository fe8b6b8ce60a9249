//! The client of running instances.

pub(crate) mod admin;
pub(crate) mod reply;
