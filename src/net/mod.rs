//! Accepts, limits, encrypts and times connections on sockets. Knows no protocol above TLS.

pub(crate) mod acceptor;
pub mod certificate;
pub mod client_network;
pub(crate) mod connection_driver;
pub(crate) mod connection_limiter;
pub(crate) mod deadline;
pub(crate) mod open_connection;
pub(crate) mod peer_credentials;
pub(crate) mod read_turn;
pub(crate) mod refusal;
pub(crate) mod shutdown;
pub(crate) mod small_reads;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod trust_store;
pub(crate) mod turnstile;
