//! Sockets. Knows no protocol.

pub(crate) mod trust_store;
