//! Tests of connections: TLS, HTTP/2, timeouts, slow and hostile clients.

mod adversary;
mod hostile;
mod http2;
mod slow;
mod slow_matrix;
mod tls;
