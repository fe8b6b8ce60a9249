//! Connects to Redis: looks up the host, connects by TCP or a Unix socket, starts TLS, and logs in.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;

use super::unavailable::Unavailable;
use crate::config::{RedisPlace, RedisUrl};
use crate::net::trust_store;

/// Maximum time for the connection, TLS and the login together. Only the background task waits for
/// it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Capacity of the queue of requests to be written. Further requests wait for a free place.
const MAX_QUEUED_REQUESTS: usize = 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// The future that moves the bytes of a connection. It ends with the connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Connects and logs in.
///
/// Returns the connection and its driver. The connection works only while the driver is polled.
pub(super) async fn connect(url: &RedisUrl) -> Result<(MultiplexedConnection, Driver), Unavailable> {
    // No timeout, because a lookup occupies a thread until it ends, and abandoned lookups would add
    // up to many threads.
    let addresses = match &url.place {
        RedisPlace::Tcp { host, port, .. } => lookup(host, *port).await?,
        RedisPlace::Unix(_) => Vec::new(),
    };
    let connecting = async {
        let stream = open_stream(&url.place, &addresses).await?;
        // Each request has its own timeout.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(MAX_QUEUED_REQUESTS);
        let login = login(url);
        let connected = MultiplexedConnection::new_with_config(&login, stream, config).await;
        let (connection, driver) = connected.map_err(Unavailable::from_login_error)?;
        Ok((connection, Box::pin(driver) as Driver))
    };
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or(Err(Unavailable::ConnectTimeout(CONNECT_TIMEOUT)))
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, Unavailable> {
    let addresses = tokio::net::lookup_host((host, port)).await;
    Ok(addresses.map_err(|error| Unavailable::Lookup(Arc::new(error)))?.collect())
}

fn login(url: &RedisUrl) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_db(url.database.into()).set_skip_set_lib_name();
    if let Some(user) = &url.user {
        login = login.set_username(user);
    }
    if let Some(password) = &url.password {
        login = login.set_password(password);
    }
    login
}

async fn open_stream(place: &RedisPlace, addresses: &[SocketAddr]) -> Result<Box<dyn Stream>, Unavailable> {
    let failed = Unavailable::from_connect_error;
    match place {
        RedisPlace::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?)),
        RedisPlace::Tcp { host, tls, .. } => {
            let stream = TcpStream::connect(addresses).await.map_err(failed)?;
            set_keepalive(&stream).map_err(failed)?;
            if *tls { start_tls(host, stream).await } else { Ok(Box::new(stream)) }
        }
    }
}

/// Enables TCP keepalive (tcp(7)), so that the background task, and not a request, finds a dead
/// idle connection.
fn set_keepalive(stream: &TcpStream) -> io::Result<()> {
    const IDLE_SECONDS: u32 = 15;
    const INTERVAL_SECONDS: u32 = 5;
    const PROBES: u32 = 3;
    const USER_TIMEOUT_MILLIS: u32 = 10_000;
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &IDLE_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &INTERVAL_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepCount, &PROBES)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &USER_TIMEOUT_MILLIS)?;
    Ok(())
}

/// Starts TLS and verifies the certificate against the certificate store of the system.
async fn start_tls(host: &str, stream: TcpStream) -> Result<Box<dyn Stream>, Unavailable> {
    let failed = |error| Unavailable::Tls(Arc::new(error));
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
    let config = tokio::task::spawn_blocking(client_config).await.map_err(|_| Unavailable::Closed)??;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(failed)?;
    Ok(Box::new(stream))
}

/// Builds the TLS configuration. Reads the certificate store from disk on every call, so that a
/// change of it counts.
fn client_config() -> Result<ClientConfig, Unavailable> {
    let roots = trust_store::load_system_roots();
    if roots.is_empty() {
        return Err(Unavailable::NoTrustedRoots);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Unavailable::Tls(Arc::new(io::Error::other(error))))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
