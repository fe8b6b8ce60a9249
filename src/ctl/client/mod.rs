//! Sends requests to running instances.

pub(crate) mod admin_client;
