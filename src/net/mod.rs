//! Sockets. Knows no protocol.

pub mod certificate;
pub(crate) mod deadline;
pub(crate) mod peer_credentials;
pub(crate) mod tls_socket;
pub(crate) mod transport;
pub(crate) mod trust_store;
