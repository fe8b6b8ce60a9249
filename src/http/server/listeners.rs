//! The sockets: accepting connections, how many at once and from one address, and stopping without cutting anybody
//! off who was already let in.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use http::StatusCode;
use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::task::unconstrained;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fast_path::serve;
use super::http1;
use super::http1::{Client, Shutdown};
use super::tls;
use crate::guard::ClientAddr;
use crate::http::app::App;
use crate::http::observe::counters::Reason;
use crate::http::observe::request_trace::refused_bare;
use crate::http::pipeline::Handlers;
use crate::http::response::problem::Problem;
use crate::http::routes::routes;
use crate::net::peer_credentials::is_admin_peer;

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    /// `belongs_to_us`: bound by this process, so that nobody accepts from it after us
    Tcp {
        /// the socket
        listener: TcpListener,
        /// see above
        belongs_to_us: bool,
    },
    /// clients are [`ClientAddr::Local`]
    Unix(UnixListener),
}

/// All the sockets of an instance and the connections accepted from them.
pub struct Listeners {
    app: Arc<App>,
    drain: CancellationToken,
    hurry: CancellationToken,
    loops: TaskTracker,
    connections: TaskTracker,
    limiter: Arc<ConnectionLimiter>,
    acceptors: Arc<AtomicUsize>,
}

/// How long an accept that failed for want of something (descriptors, memory) rests.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// How long a thread that has more connections than the others leaves a new one to them. Whichever is awake already
/// would take them all.
const ACCEPT_YIELD: Duration = Duration::from_millis(1);

/// The end of a stop that is left for telling clients that it is over.
const HURRY_TIME: Duration = Duration::from_millis(300);

/// How long a connection that is refused may take for each step of it.
const REFUSAL_STEP_TIMEOUT: Duration = Duration::from_secs(1);

impl Listeners {
    /// Nothing is accepted yet.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self {
            drain: app.draining.clone(),
            app,
            hurry: CancellationToken::new(),
            loops: TaskTracker::new(),
            connections: TaskTracker::new(),
            limiter: Arc::default(),
            acceptors: Arc::default(),
        }
    }

    /// Accepts from `socket` until [`Self::stop`], and serves, on the runtime that this is called in.
    pub fn serve(&self, socket: Socket) {
        if matches!(socket, Socket::Tcp { .. }) {
            self.acceptors.fetch_add(1, Ordering::Relaxed);
        }
        let acceptor = Acceptor {
            app: Arc::clone(&self.app),
            drain: self.drain.clone(),
            hurry: self.hurry.clone(),
            connections: self.connections.clone(),
            limiter: Arc::clone(&self.limiter),
            acceptors: Arc::clone(&self.acceptors),
            accepted: Arc::default(),
            handlers: warp::service(routes()),
        };
        self.loops.spawn(acceptor.run(socket));
    }

    /// How many connections there are.
    #[must_use]
    pub fn open(&self) -> usize {
        self.connections.len()
    }

    /// Accepts no more, lets every request in hand be answered, and returns when all connections have ended or
    /// `patience` is over; then the number of those that were cut.
    pub async fn stop(&self, patience: Duration) -> usize {
        self.drain.cancel();
        self.loops.close();
        self.loops.wait().await;
        self.connections.close();
        let polite = patience.saturating_sub(HURRY_TIME);
        if timeout(polite, self.connections.wait()).await.is_ok() {
            return 0;
        }
        // Whoever still waits for an answer gets the one that it came too late.
        self.hurry.cancel();
        match timeout(patience - polite, self.connections.wait()).await {
            Ok(()) => 0,
            Err(_) => self.connections.len(),
        }
    }
}

struct Acceptor<H> {
    app: Arc<App>,
    drain: CancellationToken,
    hurry: CancellationToken,
    connections: TaskTracker,
    limiter: Arc<ConnectionLimiter>,
    /// that accept TCP connections, this one included
    acceptors: Arc<AtomicUsize>,
    /// connections of this one that are open
    accepted: Arc<AtomicUsize>,
    handlers: H,
}

impl<H: Handlers> Acceptor<H> {
    async fn run(self, socket: Socket) {
        let mut complained = false;
        loop {
            let admitted = tokio::select! {
                () = self.drain.cancelled() => break,
                () = self.limiter.room(&self.app) => accept(&socket),
            };
            if self.has_more_than_share() {
                tokio::time::sleep(ACCEPT_YIELD).await;
            }
            let accepted = tokio::select! {
                () = self.drain.cancelled() => break,
                accepted = admitted => accepted,
            };
            match accepted {
                Ok(accepted) => {
                    complained = false;
                    self.on_accept(accepted);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if !complained {
                        log::error!("can't accept connections: {error}");
                        complained = true;
                    }
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            }
        }
        // Nobody else will ever accept what the kernel has already accepted for us.
        if matches!(socket, Socket::Tcp { belongs_to_us: true, .. }) {
            // Unconstrained: else the runtime has the socket look empty after a hundred or so.
            while let Some(Ok(accepted)) = unconstrained(accept(&socket)).now_or_never() {
                self.on_accept(accepted);
            }
        }
    }

    /// Whether this thread has more than its share of the connections.
    fn has_more_than_share(&self) -> bool {
        let acceptors = self.acceptors.load(Ordering::Relaxed);
        acceptors > 1 && self.accepted.load(Ordering::Relaxed) > self.connections.len() / acceptors
    }

    fn on_accept(&self, accepted: Accepted) {
        match accepted {
            Accepted::Tcp(stream, address) => {
                // Without it an answer could wait for an acknowledgement; a socket that refuses is about to break.
                drop(stream.set_nodelay(true));
                self.on_accept_tcp(stream, ClientAddr::from(address));
            }
            Accepted::Unix(stream) => {
                if is_admin_peer(&stream)
                    && let Some(permit) = self.limiter.enter(&self.app, &ClientAddr::Local)
                {
                    let client = self.client(ClientAddr::Local);
                    return self.spawn(permit, http1::serve(stream, client));
                }
                let problem =
                    Problem::new(StatusCode::FORBIDDEN, "This socket is for root and the service's group.");
                self.refuse(write_refusal(stream, self.raw(ClientAddr::Local, problem)));
            }
        }
    }

    fn on_accept_tcp(&self, stream: TcpStream, peer: ClientAddr) {
        let identity = self.app.identity();
        let Some(permit) = self.limiter.enter(&self.app, &peer) else {
            let problem = Problem::overloaded("Too many connections from your address.");
            let refusal = self.raw(peer, problem.counted_as(Reason::TooManyConnections));
            return match identity {
                Some(identity) => self.refuse(tls::refuse(stream, identity, refusal, REFUSAL_STEP_TIMEOUT)),
                None => self.refuse(write_refusal(stream, refusal)),
            };
        };
        let client = self.client(peer);
        match identity {
            Some(identity) => self.spawn(permit, tls::serve(stream, identity, client)),
            None => self.spawn(permit, http1::serve(stream, client)),
        }
    }

    fn client(&self, peer: ClientAddr) -> Client<H> {
        Client {
            app: Arc::clone(&self.app),
            peer,
            handlers: self.handlers.clone(),
            stopping: Shutdown { drain: self.drain.clone(), hurry: self.hurry.clone() },
        }
    }

    fn raw(&self, peer: ClientAddr, problem: Problem) -> Vec<u8> {
        let policy = self.app.policy();
        refused_bare(&self.app, &policy, peer, &problem);
        problem.closing().into_raw(&policy)
    }

    fn refuse(&self, refusing: impl Future<Output = ()> + Send + 'static) {
        let permit = self.limiter.enter_uncounted();
        self.connections.spawn(async move {
            refusing.await;
            drop(permit);
        });
    }

    fn spawn(&self, permit: ConnectionPermit, serving: impl Future<Output = ()> + Send + 'static) {
        let app = Arc::clone(&self.app);
        let accepted = Arc::clone(&self.accepted);
        accepted.fetch_add(1, Ordering::Relaxed);
        self.connections.spawn(async move {
            app.instance_state.connections.fetch_add(1, Ordering::Relaxed);
            serving.await;
            app.instance_state.connections.fetch_sub(1, Ordering::Relaxed);
            accepted.fetch_sub(1, Ordering::Relaxed);
            drop(permit);
        });
    }
}

/// Writes `refusal` to a client that is not served, so that it can read it, and closes.
pub(crate) async fn write_refusal(mut stream: impl AsyncRead + AsyncWrite + Unpin, refusal: Vec<u8>) {
    // It fits into the socket's buffer or the client is gone.
    drop(timeout(REFUSAL_STEP_TIMEOUT, stream.write_all(&refusal)).await);
    drop(timeout(REFUSAL_STEP_TIMEOUT, stream.shutdown()).await);
    // A request that is on its way must not reset the connection before the refusal was read.
    let mut scratch = [0; 4096];
    drop(
        timeout(REFUSAL_STEP_TIMEOUT, async {
            while stream.read(&mut scratch).await.is_ok_and(|n| n > 0) {}
        })
        .await,
    );
}

enum Accepted {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

async fn accept(socket: &Socket) -> io::Result<Accepted> {
    match socket {
        Socket::Tcp { listener, .. } => {
            let (stream, address) = listener.accept().await?;
            Ok(Accepted::Tcp(stream, address.ip()))
        }
        Socket::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
    }
}

/// accept(2): errors already pending on the new socket are reported by accept, and mean nothing for the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
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

/// Who is connected.
#[derive(Debug)]
struct ConnectionLimiter {
    counts: Mutex<ConnectionCounts>,
    left: Notify,
    /// how many connections the limit of open files leaves room for
    descriptors: u32,
}

/// Descriptors that are not for connections: the log, its state, readers, sockets; and the second ones of those that may
/// be answered by another thread.
const OTHER_DESCRIPTORS: u64 = 64 + serve::MAX_CONNECTIONS as u64;

impl Default for ConnectionLimiter {
    fn default() -> Self {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        let descriptors = u32::try_from(limit.saturating_sub(OTHER_DESCRIPTORS).max(1)).unwrap_or(u32::MAX);
        Self { counts: Mutex::default(), left: Notify::new(), descriptors }
    }
}

#[derive(Debug, Default)]
struct ConnectionCounts {
    taken: u32,
    by_address: HashMap<IpAddr, u32>,
}

/// One connection's place.
struct ConnectionPermit {
    limiter: Arc<ConnectionLimiter>,
    /// set when connections are counted by address
    address: Option<IpAddr>,
}

impl ConnectionLimiter {
    fn lock(&self) -> std::sync::MutexGuard<'_, ConnectionCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while there are as many connections as there may be: the next ones wait in the backlog.
    async fn room(&self, app: &App) {
        loop {
            let left = self.left.notified();
            if self.lock().taken < app.policy().files.http.max_connections.min(self.descriptors) {
                return;
            }
            // Now and then it is looked at again: the limit may have been raised.
            drop(timeout(Duration::from_secs(1), left).await);
        }
    }

    /// A place for a connection that is refused: it counts like any other, but not for its address.
    fn enter_uncounted(self: &Arc<Self>) -> ConnectionPermit {
        self.lock().taken += 1;
        ConnectionPermit { limiter: Arc::clone(self), address: None }
    }

    fn enter(self: &Arc<Self>, app: &App, peer: &ClientAddr) -> Option<ConnectionPermit> {
        let limit = app.policy().files.http.max_connections_per_ip;
        let mut counts = self.lock();
        let address = match (limit, peer) {
            (Some(limit), ClientAddr::Ip(address)) => {
                let count = counts.by_address.entry(*address).or_default();
                if *count >= limit.get() {
                    return None;
                }
                *count += 1;
                Some(*address)
            }
            _ => None,
        };
        counts.taken += 1;
        Some(ConnectionPermit { limiter: Arc::clone(self), address })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.limiter.lock();
        counts.taken -= 1;
        if let Some(address) = self.address
            && let Some(count) = counts.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(&address);
            }
        }
        drop(counts);
        self.limiter.left.notify_waiters();
    }
}
