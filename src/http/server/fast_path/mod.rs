//! The fast path: answers the common `POST` of one record from the connection's buffer, without
//! hyper.

pub(crate) mod disk_reply;
pub(crate) mod recognize;
pub(crate) mod record;
pub(crate) mod record_body;
pub(crate) mod serve;
