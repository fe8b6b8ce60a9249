//! The client of running instances.

pub(crate) mod admin_client;
