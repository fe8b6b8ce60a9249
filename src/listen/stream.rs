//! Accepts the connections of one socket, and begins each: its place among all connections, the checks of
//! its sender, and the TLS handshake.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::net::TcpStream;

use super::connection;
use super::last_byte::LastByte;
use super::sender::Senders;
use crate::guard::ClientAddr;
use crate::http::{CountedConnection, Problem, Reason, SharedListeners};
use crate::net::acceptor::{AcceptHandler, Accepted, Acceptor, Socket};
use crate::net::client_network::ClientNetwork;
use crate::net::tls::handshake;

/// Accepts from `socket` until the stop begins.
pub(super) fn serve(socket: Socket, senders: Senders, shared: SharedListeners) {
    let (drain, limiter) = (shared.shutdown.drain.clone(), Arc::clone(&shared.limiter));
    let accept_loops = shared.accept_loops.clone();
    let handler = SenderConnections { senders, shared, accepted: Arc::default() };
    accept_loops.spawn(Acceptor { handler, drain, limiter }.run(socket));
}

/// Serves the connections of one socket.
struct SenderConnections {
    senders: Senders,
    shared: SharedListeners,
    /// Number of open connections from this socket.
    accepted: Arc<AtomicUsize>,
}

impl AcceptHandler for SenderConnections {
    fn max_connections(&self) -> u32 {
        self.shared.app.policy().files.http.max_connections
    }

    fn has_more_than_share(&self) -> bool {
        false
    }

    fn needs_place(&self, accepted: &Accepted) -> bool {
        let max = self.shared.app.policy().files.http.max_connections_per_ip;
        !self.shared.limiter.is_full_for(max, network_of(accepted))
    }

    fn on_accept(&self, accepted: Accepted) {
        let network = network_of(&accepted);
        let client = match &accepted {
            Accepted::Tcp(_, address) => ClientAddr::from(*address),
            Accepted::Unix(_) => ClientAddr::Local,
        };
        let rules = self.senders.rules();
        // Maintenance and the limits of the key only stop the reading.
        if let Err(refusal) = rules.admit(&self.senders, client, true)
            && refusal != crate::guard::Refusal::Maintenance
        {
            return self.senders.refuse(&rules, client, &refusal.into(), 1);
        }
        let last_byte = Arc::new(LastByte::new());
        let max = rules.policy.files.http.max_connections_per_ip;
        let silence = Arc::<LastByte>::clone(&last_byte);
        let Some(permit) = self.shared.limiter.enter(max, network, silence) else {
            let problem = Problem::overloaded("Too many connections from your address.");
            let problem = problem.counted_as(Reason::TooManyConnections);
            return self.senders.refuse(&rules, client, &problem, 1);
        };
        let counted = CountedConnection::new(Arc::clone(&self.shared.app), Arc::clone(&self.accepted));
        let (senders, shutdown) = (self.senders.clone(), self.shared.shutdown.clone());
        let connection = connection::Connection { senders, rules, client, last_byte, shutdown };
        match accepted {
            Accepted::Tcp(stream, _) if self.senders.needs_tls() => {
                self.shared.connections.spawn(permit.evictable(serve_tls(connection, stream), counted));
            }
            Accepted::Tcp(stream, _) => {
                self.shared.connections.spawn(permit.evictable(connection.serve(stream), counted));
            }
            Accepted::Unix(stream) => {
                self.shared.connections.spawn(permit.evictable(connection.serve(stream), counted));
            }
        }
    }
}

fn network_of(accepted: &Accepted) -> Option<ClientNetwork> {
    let address: IpAddr = match accepted {
        Accepted::Tcp(_, address) => *address,
        Accepted::Unix(_) => return None,
    };
    Some(ClientNetwork::of(address))
}

/// Serves a connection after its TLS handshake.
async fn serve_tls(connection: connection::Connection, stream: TcpStream) {
    let app = &connection.senders.app;
    let Some(identity) = app.identity() else {
        let problem = Problem::overloaded("There is no certificate: set ssl in server.json.");
        return connection.senders.refuse(&connection.rules, connection.client, &problem, 1);
    };
    let max_duration = app.policy().files.http.request_timeout;
    let handshaking = handshake(stream, identity.senders(), max_duration);
    let outcome = tokio::select! {
        outcome = handshaking => outcome,
        () = connection.shutdown.drain.cancelled() => return,
    };
    match outcome {
        Ok(stream) => connection.serve(stream).await,
        Err(error) => {
            log::debug!("a TLS handshake failed: {error}");
            let problem = Problem::bad_request("The TLS handshake failed.");
            let problem = problem.counted_as(Reason::MalformedEncryption);
            connection.senders.refuse(&connection.rules, connection.client, &problem, 1);
        }
    }
}
