//! From a URL to a connection that is logged in.

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

use super::unavailable::Away;
use crate::config::{RedisPlace, RedisUrl};
use crate::net::trust_store;

/// For connecting, TLS and the login together. Nobody waits for it but the keeper.
const PATIENCE: Duration = Duration::from_secs(1);

/// Requests that wait to be written; more of them wait for a place.
const QUEUE: usize = 1024;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What moves bytes; it ends with the connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection, and what has to be polled for it to work.
pub(super) async fn connect(url: &RedisUrl) -> Result<(MultiplexedConnection, Driver), Away> {
    // No limit of time: a lookup occupies a thread until it is over, and attempts must not add up to many.
    let addresses = match &url.place {
        RedisPlace::Tcp { host, port, .. } => lookup(host, *port).await?,
        RedisPlace::Unix(_) => Vec::new(),
    };
    let connecting = async {
        let stream = open(&url.place, &addresses).await?;
        // Each question has its own limit of time.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(QUEUE);
        let login = login(url);
        let connected = MultiplexedConnection::new_with_config(&login, stream, config).await;
        let (connection, driver) = connected.map_err(Away::of_login)?;
        Ok((connection, Box::pin(driver) as Driver))
    };
    timeout(PATIENCE, connecting).await.unwrap_or(Err(Away::SlowConnect(PATIENCE)))
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, Away> {
    let addresses = tokio::net::lookup_host((host, port)).await;
    Ok(addresses.map_err(|error| Away::Lookup(Arc::new(error)))?.collect())
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

async fn open(place: &RedisPlace, addresses: &[SocketAddr]) -> Result<Box<dyn Stream>, Away> {
    let failed = Away::of_connecting;
    match place {
        RedisPlace::Unix(path) => Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?)),
        RedisPlace::Tcp { host, tls, .. } => {
            let stream = TcpStream::connect(addresses).await.map_err(failed)?;
            watch_over(&stream).map_err(failed)?;
            if *tls { secure(host, stream).await } else { Ok(Box::new(stream)) }
        }
    }
}

/// Notices a peer that vanished without a word, so that an idle connection is not found dead by a request.
fn watch_over(stream: &TcpStream) -> io::Result<()> {
    const IDLE_SECONDS: u32 = 15;
    const BETWEEN_SECONDS: u32 = 5;
    const PROBES: u32 = 3;
    const UNACKNOWLEDGED_MILLIS: u32 = 10_000;
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &IDLE_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &BETWEEN_SECONDS)?;
    setsockopt(stream, sockopt::TcpKeepCount, &PROBES)?;
    setsockopt(stream, sockopt::TcpUserTimeout, &UNACKNOWLEDGED_MILLIS)?;
    Ok(())
}

/// TLS as the system's certificate store trusts it now.
async fn secure(host: &str, stream: TcpStream) -> Result<Box<dyn Stream>, Away> {
    let failed = |error| Away::Tls(Arc::new(error));
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
    let config = tokio::task::spawn_blocking(trusting_the_system).await.map_err(|_| Away::Gone)??;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(failed)?;
    Ok(Box::new(stream))
}

/// Reads files.
fn trusting_the_system() -> Result<ClientConfig, Away> {
    let roots = trust_store::load_system_roots();
    if roots.is_empty() {
        return Err(Away::NothingTrusted);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Away::Tls(Arc::new(io::Error::other(error))))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
