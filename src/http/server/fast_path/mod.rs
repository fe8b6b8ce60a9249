//! Answers the common `POST` of one record on the fast path, from the connection's buffer and
//! without hyper.

pub(crate) mod connection;
pub(crate) mod disk_reply;
pub(crate) mod recognize;
pub(crate) mod record;
pub(crate) mod record_body;
pub(crate) mod reply;
pub(crate) mod serve;
