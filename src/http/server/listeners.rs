//! Accepts connections from the listening sockets of an instance and serves them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection_context::ConnectionContext;
use super::{fast_path, http1, tls};
use crate::guard::ClientAddr;
use crate::http::app::App;
use crate::http::connection::state::ConnectionState;
use crate::http::observe::counters::Reason;
use crate::http::pipeline::{Handlers, filters};
use crate::http::response::problem::Problem;
use crate::net::acceptor::{AcceptHandler, Accepted, Acceptor, Socket};
use crate::net::client_network::ClientNetwork;
use crate::net::connection_limiter::{ConnectionLimiter, ConnectionPermit, MAX_REFUSALS_BEYOND_LIMIT};
use crate::net::peer_credentials::is_admin_peer;
use crate::net::refusal::{REFUSAL_STEP_TIMEOUT, write_refusal};
use crate::net::shutdown::{HURRY_TIME, Shutdown};
use crate::net::turnstile::Turnstile;

/// Manages all listening sockets of an instance and their connections.
pub struct Listeners {
    app: Arc<App>,
    shutdown: Shutdown,
    accept_loops: TaskTracker,
    connections: TaskTracker,
    limiter: Arc<ConnectionLimiter>,
    /// Number of accept loops of TCP sockets.
    acceptors: Arc<AtomicUsize>,
}

/// The state that all sockets of an instance share, with those that are not HTTP.
#[derive(Clone)]
pub(crate) struct SharedListeners {
    pub(crate) app: Arc<App>,
    pub(crate) shutdown: Shutdown,
    /// Tasks that end soon after the stop begins, before the connections do.
    pub(crate) accept_loops: TaskTracker,
    pub(crate) connections: TaskTracker,
    pub(crate) limiter: Arc<ConnectionLimiter>,
}

/// Number of descriptors that are reserved for purposes other than accepting connections. These are
/// the log, its state, readers, sockets, refused connections, and the second descriptor of each
/// connection that the disk thread may answer.
const RESERVED_DESCRIPTORS: u64 =
    64 + MAX_REFUSALS_BEYOND_LIMIT as u64 + fast_path::disk_reply::MAX_CONNECTIONS as u64;

impl Listeners {
    /// Returns listeners without a socket.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self {
            shutdown: Shutdown { drain: app.draining.clone(), hurry: CancellationToken::new() },
            app,
            accept_loops: TaskTracker::new(),
            connections: TaskTracker::new(),
            limiter: Arc::new(ConnectionLimiter::new(RESERVED_DESCRIPTORS)),
            acceptors: Arc::default(),
        }
    }

    /// Accepts from `socket` and serves until [`Self::stop`], on the runtime of the caller.
    pub fn serve(&self, socket: Socket) {
        if matches!(socket, Socket::Tcp { .. }) {
            self.acceptors.fetch_add(1, Ordering::Relaxed);
        }
        let handler = HttpConnections {
            app: Arc::clone(&self.app),
            shutdown: self.shutdown.clone(),
            connections: self.connections.clone(),
            limiter: Arc::clone(&self.limiter),
            acceptors: Arc::clone(&self.acceptors),
            accepted: Arc::default(),
            handlers: TowerToHyperService::new(warp::service(filters(&self.app.name))),
            turnstile: Arc::default(),
        };
        let acceptor =
            Acceptor { handler, drain: self.shutdown.drain.clone(), limiter: Arc::clone(&self.limiter) };
        self.accept_loops.spawn(acceptor.run(socket));
    }

    /// Returns what the sockets that are not HTTP share with this instance.
    pub(crate) fn shared(&self) -> SharedListeners {
        SharedListeners {
            app: Arc::clone(&self.app),
            shutdown: self.shutdown.clone(),
            accept_loops: self.accept_loops.clone(),
            connections: self.connections.clone(),
            limiter: Arc::clone(&self.limiter),
        }
    }

    /// Returns the number of open connections.
    #[must_use]
    pub fn open(&self) -> usize {
        self.connections.len()
    }

    /// Stops accepting, lets current requests be answered, and waits for all connections to end,
    /// for at most `max_duration`. Returns the number of connections that are still open.
    pub async fn stop(&self, max_duration: Duration) -> usize {
        self.shutdown.drain.cancel();
        self.accept_loops.close();
        self.accept_loops.wait().await;
        self.connections.close();
        let drain_time = max_duration.saturating_sub(HURRY_TIME);
        if timeout(drain_time, self.connections.wait()).await.is_ok() {
            return 0;
        }
        // A client that still waits for an answer gets a refusal before its connection is cut.
        self.shutdown.hurry.cancel();
        match timeout(max_duration - drain_time, self.connections.wait()).await {
            Ok(()) => 0,
            Err(_) => self.connections.len(),
        }
    }
}

/// Serves the connections of one listening socket.
struct HttpConnections<H> {
    app: Arc<App>,
    shutdown: Shutdown,
    connections: TaskTracker,
    limiter: Arc<ConnectionLimiter>,
    /// Number of accept loops of TCP sockets, this one included.
    acceptors: Arc<AtomicUsize>,
    /// Number of open connections that were accepted from this socket.
    accepted: Arc<AtomicUsize>,
    handlers: H,
    /// Regulates work that would crowd out other clients, on the thread of this socket.
    turnstile: Arc<Turnstile>,
}

impl<H: Handlers> AcceptHandler for HttpConnections<H> {
    fn max_connections(&self) -> u32 {
        self.app.policy().files.http.max_connections
    }

    fn has_more_than_share(&self) -> bool {
        let acceptors = self.acceptors.load(Ordering::Relaxed);
        acceptors > 1 && self.accepted.load(Ordering::Relaxed) > self.connections.len() / acceptors
    }

    fn needs_place(&self, accepted: &Accepted) -> bool {
        let network = match accepted {
            Accepted::Tcp(_, address) => Some(ClientNetwork::of(*address)),
            Accepted::Unix(_) => None,
        };
        !self.limiter.is_full_for(self.app.policy().files.http.max_connections_per_ip, network)
    }

    fn on_accept(&self, accepted: Accepted) {
        match accepted {
            Accepted::Tcp(stream, address) => self.on_accept_tcp(stream, address),
            Accepted::Unix(stream) => self.on_accept_unix(stream),
        }
    }
}

impl<H: Handlers> HttpConnections<H> {
    /// Serves a TCP connection, or refuses it when its network has too many.
    fn on_accept_tcp(&self, stream: TcpStream, address: IpAddr) {
        // With Nagle's algorithm an answer may wait for an acknowledgement. The error does not
        // matter, because only a broken socket refuses the option.
        drop(stream.set_nodelay(true));
        let peer = ClientAddr::from(address);
        let identity = self.app.identity();
        let state = self.new_state();
        let Some(permit) = self.enter(peer, &state) else {
            let problem = Problem::overloaded("Too many connections from your address.");
            let problem = problem.counted_as(Reason::TooManyConnections);
            let refusal = self.app.refuse_connection(peer, problem);
            return match identity {
                Some(identity) => self.refuse(tls::refuse(stream, identity, refusal, REFUSAL_STEP_TIMEOUT)),
                None => self.refuse(write_refusal(stream, refusal)),
            };
        };
        let context = self.context(peer, state);
        match identity {
            Some(identity) => {
                self.spawn(permit, tls::serve(stream, identity, context));
            }
            None => self.spawn(permit, http1::serve(stream, context)),
        }
    }

    /// Serves a connection of the admin socket, or refuses it when its user has no access.
    fn on_accept_unix(&self, stream: UnixStream) {
        let state = self.new_state();
        if is_admin_peer(&stream)
            && let Some(permit) = self.enter(ClientAddr::Local, &state)
        {
            let context = self.context(ClientAddr::Local, state);
            return self.spawn(permit, http1::serve(stream, context));
        }
        let problem = Problem::new(StatusCode::FORBIDDEN, "This socket is for root and the service's group.");
        self.refuse(write_refusal(stream, self.app.refuse_connection(ClientAddr::Local, problem)));
    }

    /// Returns the state of a new connection.
    fn new_state(&self) -> Arc<ConnectionState> {
        Arc::new(ConnectionState::new(self.app.policy().timeouts))
    }

    /// Counts a connection of `peer`. Returns `None` when its network has too many.
    fn enter(&self, peer: ClientAddr, state: &Arc<ConnectionState>) -> Option<ConnectionPermit> {
        let network = match peer {
            ClientAddr::Ip(address) => Some(ClientNetwork::of(address)),
            ClientAddr::Local => None,
        };
        let silence = Arc::<ConnectionState>::clone(state);
        self.limiter.enter(self.app.policy().files.http.max_connections_per_ip, network, silence)
    }

    /// Returns the values that serve a connection of `peer`.
    fn context(&self, peer: ClientAddr, state: Arc<ConnectionState>) -> ConnectionContext<H> {
        ConnectionContext {
            app: Arc::clone(&self.app),
            peer,
            state,
            handlers: self.handlers.clone(),
            turnstile: Arc::clone(&self.turnstile),
            shutdown: self.shutdown.clone(),
        }
    }

    /// Runs a refusal in a separate task. Closes the connection when there are too many of them.
    fn refuse(&self, refusing: impl Future<Output = ()> + Send + 'static) {
        let Some(permit) = self.limiter.enter_refused(self.max_connections()) else { return };
        self.connections.spawn(async move {
            refusing.await;
            drop(permit);
        });
    }

    /// Serves a connection in a separate task.
    fn spawn(&self, permit: ConnectionPermit, serving: impl Future<Output = ()> + Send + 'static) {
        let counted = CountedConnection::new(Arc::clone(&self.app), Arc::clone(&self.accepted));
        self.connections.spawn(permit.evictable(serving, counted));
    }
}

/// Counts an open connection until it is dropped.
pub(crate) struct CountedConnection {
    app: Arc<App>,
    /// Number of open connections from the same socket.
    accepted: Arc<AtomicUsize>,
}

impl CountedConnection {
    pub(crate) fn new(app: Arc<App>, accepted: Arc<AtomicUsize>) -> Self {
        app.instance_state.connections.fetch_add(1, Ordering::Relaxed);
        accepted.fetch_add(1, Ordering::Relaxed);
        Self { app, accepted }
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.app.instance_state.connections.fetch_sub(1, Ordering::Relaxed);
        self.accepted.fetch_sub(1, Ordering::Relaxed);
    }
}
