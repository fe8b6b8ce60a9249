//! Tests of connections with TLS, HTTP/2, timeouts, and slow and hostile clients.

mod adversary;
mod hostile;
mod http2;
mod slow;
mod slow_matrix;
mod tls;
