//! Serves the sockets that are not HTTP (`listen` in `log.json`): datagrams and connections of syslog,
//! GELF and Fluent Forward. Knows no systemd.
//!
//! A [`BoundSocket`] is a socket and its element of `listen`. [`serve`] runs its task. The formats are in
//! `ingest`, the checks in `guard`, and `sender` applies them here. Records take the same way into the
//! store as those of HTTP.

mod connection;
mod datagram;
mod last_byte;
mod receive;
mod sender;
mod stream;

use tokio::net::{TcpListener, UnixListener};

use crate::config::Listen;
use crate::http::Listeners;
use crate::ingest::dialects;
use sender::Senders;

pub use receive::DatagramSocket;

/// A socket that is not HTTP, and its element of `listen`.
#[derive(Debug)]
pub struct BoundSocket {
    /// The element of `listen`.
    pub listen: Listen,
    /// The socket.
    pub socket: ListenSocket,
}

/// A socket for datagrams, or one that accepts connections.
#[derive(Debug)]
pub enum ListenSocket {
    /// A socket for datagrams.
    Datagram(DatagramSocket),
    /// A TCP socket, for connections with or without TLS.
    Tcp {
        /// The socket.
        listener: TcpListener,
        /// True when this process bound the socket.
        belongs_to_us: bool,
    },
    /// A Unix socket for connections.
    Unix(UnixListener),
}

/// Serves `bound` until the listeners stop, on the runtime of the caller.
pub fn serve(listeners: &Listeners, bound: BoundSocket) {
    let shared = listeners.shared();
    let BoundSocket { listen, socket } = bound;
    let Some(dialect) = dialects::of_socket(listen.format) else {
        log::error!("{} on {} is not served: the format is not built in", listen.format.name(), listen.on);
        return;
    };
    let senders = Senders::new(shared.app.clone(), listen, dialect);
    match socket {
        ListenSocket::Datagram(socket) => {
            // At once, because datagrams may arrive before the task runs.
            receive::prepare(&socket);
            shared.accept_loops.spawn(datagram::run(senders, socket, shared.shutdown.drain));
        }
        ListenSocket::Tcp { listener, belongs_to_us } => {
            stream::serve(crate::net::acceptor::Socket::Tcp { listener, belongs_to_us }, senders, shared);
        }
        ListenSocket::Unix(listener) => {
            stream::serve(crate::net::acceptor::Socket::Unix(listener), senders, shared);
        }
    }
}
