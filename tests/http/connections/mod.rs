//! Tests of connections with TLS, HTTP/2, timeouts, and slow and hostile clients.

mod adversary;
mod flood_delays;
mod floods;
mod full;
mod hostile;
mod http2;
mod keep_alive;
mod memory;
mod prior_knowledge;
mod slow;
mod slow_matrix;
mod tls;
