//! Runs the accept loop of one listening socket, TCP or Unix.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;

use super::connection_limiter::ConnectionLimiter;

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    /// A TCP socket.
    Tcp {
        /// The socket.
        listener: TcpListener,
        /// True when this process bound the socket. Then no other process accepts from it after a
        /// stop.
        belongs_to_us: bool,
    },
    /// The admin socket.
    Unix(UnixListener),
}

/// An accepted connection.
pub(crate) enum Accepted {
    /// A TCP connection and the address of its peer.
    Tcp(TcpStream, IpAddr),
    /// A connection to the admin socket.
    Unix(UnixStream),
}

/// The part of the accept loop that knows the protocol.
pub(crate) trait AcceptHandler: Send + Sync + 'static {
    /// Returns the configured maximum number of connections.
    fn max_connections(&self) -> u32;

    /// Reports whether the thread of this handler has more connections than its share.
    fn has_more_than_share(&self) -> bool;

    /// Reports whether the connection will be served, so that it needs a place.
    fn needs_place(&self, accepted: &Accepted) -> bool;

    /// Serves or refuses the connection. Does not block.
    fn on_accept(&self, accepted: Accepted);
}

/// Pause after an accept that failed because descriptors or memory ran out.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Time for which a thread with more connections than its share leaves a new one to the other
/// threads. Without this pause, the thread that is awake takes all of them.
const ACCEPT_YIELD: Duration = Duration::from_millis(1);

/// Accepts connections until the stop begins.
pub(crate) struct Acceptor<H> {
    /// Serves or refuses each accepted connection.
    pub(crate) handler: H,
    /// Cancelled when the stop begins.
    pub(crate) drain: CancellationToken,
    /// Limits the number of connections.
    pub(crate) limiter: Arc<ConnectionLimiter>,
}

impl<H: AcceptHandler> Acceptor<H> {
    /// Accepts from `socket` until the stop begins.
    pub(crate) async fn run(self, socket: Socket) {
        let mut has_logged = false;
        loop {
            if self.handler.has_more_than_share() {
                tokio::time::sleep(ACCEPT_YIELD).await;
            }
            let accepted = tokio::select! {
                () = self.drain.cancelled() => break,
                accepted = accept(&socket) => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    has_logged = false;
                    // Only a connection that is there makes another one give up its place. While it
                    // waits, further ones stay in the backlog.
                    if self.handler.needs_place(&accepted) {
                        tokio::select! {
                            biased;
                            () = self.limiter.room(|| self.handler.max_connections()) => {}
                            () = self.drain.cancelled() => {}
                        }
                    }
                    self.handler.on_accept(accepted);
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    if !has_logged {
                        log::error!("can't accept connections: {error}");
                        has_logged = true;
                    }
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
        // The kernel has completed these handshakes already, and no other process accepts from a
        // socket that this process bound.
        if matches!(socket, Socket::Tcp { belongs_to_us: true, .. }) {
            // Unconstrained, because tokio's task budget makes the socket look empty after about
            // 100 accepts.
            while let Some(Ok(accepted)) = unconstrained(accept(&socket)).now_or_never() {
                self.handler.on_accept(accepted);
            }
        }
    }
}

/// Accepts one connection from `socket`.
async fn accept(socket: &Socket) -> io::Result<Accepted> {
    match socket {
        Socket::Tcp { listener, .. } => {
            let (stream, address) = listener.accept().await?;
            Ok(Accepted::Tcp(stream, address.ip()))
        }
        Socket::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
    }
}

/// Reports whether an error of `accept(2)` was pending on the new connection and says nothing about
/// the listener.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
    )
}
