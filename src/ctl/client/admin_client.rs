//! Sends HTTP/1.1 requests to a running instance over its admin socket, with one connection for
//! each request.

use std::future::Future;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use crate::config::LogName;
use crate::ctl::error::Error;
use crate::ctl::paths::Directories;
use crate::ctl::system::systemctl;
use crate::exit::Exit;

/// Maximum time without a byte of the reply. The connection may start the instance, so this is
/// longer than a start takes.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Maximum size of a reply that is held in memory as a whole.
const MAX_REPLY_BYTES: usize = 64 * 1024 * 1024;

/// Maximum size of a problem document.
const MAX_PROBLEM_BYTES: usize = 64 * 1024;

/// Sends requests to one instance.
pub(crate) struct AdminClient {
    name: LogName,
    socket: PathBuf,
    /// The command that starts the instance.
    start: String,
    /// Maximum time without a byte of the reply, or `None` for no limit.
    read_timeout: Option<Duration>,
    runtime: Runtime,
}

/// Holds the head of a reply, and its body as a stream.
pub(crate) struct Reply<'c> {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    client: &'c AdminClient,
}

impl AdminClient {
    /// Creates a client. It connects anew for each request.
    ///
    /// # Errors
    /// Fails when the runtime of the client cannot be created.
    pub(crate) fn new(directories: &Directories, log: &LogName) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::new(Exit::OsErr, format!("can't prepare a client: {error}")))?;
        let socket = directories.admin_socket(log);
        let by_systemd = directories.are_installed() && systemctl::is_booted();
        let start = directories.command_line(if by_systemd { "start" } else { "run" }, log);
        Ok(Self { name: log.clone(), socket, start, read_timeout: Some(READ_TIMEOUT), runtime })
    }

    /// Sets the maximum time without a byte of the reply.
    pub(crate) fn with_read_timeout(self, timeout: Duration) -> Self {
        Self { read_timeout: Some(timeout), ..self }
    }

    /// Waits without a limit, for requests that may take long, such as a search in a large log.
    pub(crate) fn without_read_timeout(self) -> Self {
        Self { read_timeout: None, ..self }
    }

    /// Sends a GET request and returns the body of the reply as text.
    pub(crate) fn text(&self, target: &str) -> Result<String, Error> {
        let body = self.send(Method::GET, target, &[], None, &[])?.bytes(MAX_REPLY_BYTES)?;
        String::from_utf8(body).map_err(|_| self.broken("the reply is not UTF-8 text"))
    }

    /// Sends a request without a body and parses the body of the reply as JSON.
    pub(crate) fn value<T: DeserializeOwned>(&self, method: Method, target: &str) -> Result<T, Error> {
        self.send(method, target, &[], None, &[])?.value()
    }

    /// Sends a request with a JSON body and parses the body of the reply as JSON.
    pub(crate) fn value_for<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: &serde_json::Value,
    ) -> Result<T, Error> {
        self.send(method, target, &[], Some(body.to_string()), &[])?.value()
    }

    /// Sends a request, with `body` as JSON, and returns the reply once its head is there.
    ///
    /// # Errors
    /// Fails when the instance cannot be reached or does not answer in time. Fails with the reason
    /// that the instance gives when the status is neither a success nor one of `accepted`.
    pub(crate) fn send(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
        accepted: &[StatusCode],
    ) -> Result<Reply<'_>, Error> {
        let request = request(method, target, headers, body)
            .map_err(|error| Error::new(Exit::Software, format!("can't build a request: {error}")))?;
        let response = self.wait_for_reply(async {
            // A non-blocking connect would fail while the backlog of the socket is full. This one
            // waits.
            let stream = UnixStream::connect(&self.socket).map_err(|error| self.unreachable(&error))?;
            stream.set_nonblocking(true).map_err(|error| self.broken(error))?;
            let stream = tokio::net::UnixStream::from_std(stream).map_err(|error| self.broken(error))?;
            let handshake = http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(|error| self.broken_by(&error))?;
            // The task runs while this client waits. The caller sees its errors in the reply as
            // well.
            self.runtime.spawn(connection);
            sender.send_request(request).await.map_err(|error| self.broken_by(&error))
        })?;
        let (head, body) = response.into_parts();
        let reply = Reply { status: head.status, headers: head.headers, body, client: self };
        if reply.status.is_success() || accepted.contains(&reply.status) {
            Ok(reply)
        } else {
            Err(reply.refused())
        }
    }

    /// Runs a future on the runtime of this client, on the calling thread.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Runs a future that waits for a part of the reply, for at most the read timeout.
    fn wait_for_reply<T>(&self, part: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.block_on(async {
            match self.read_timeout {
                None => part.await,
                Some(timeout) => tokio::time::timeout(timeout, part)
                    .await
                    .unwrap_or_else(|_| Err(self.broken("it does not answer"))),
            }
        })
    }

    /// Returns the error for a reply that was cut or is malformed.
    pub(crate) fn broken(&self, why: impl std::fmt::Display) -> Error {
        let (name, socket) = (self.name.as_str(), self.socket.display());
        Error::new(Exit::TempFail, format!("{name}: talking to {socket} failed: {why}"))
    }

    fn broken_by(&self, error: &hyper::Error) -> Error {
        match std::error::Error::source(error) {
            Some(source) => self.broken(format_args!("{error}: {source}")),
            None => self.broken(error),
        }
    }

    fn unreachable(&self, error: &std::io::Error) -> Error {
        let (name, socket) = (self.name.as_str(), self.socket.display());
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                let message = format!(
                    "{name}: {socket} is for root, the group moca-file-log and the user of the server; use sudo"
                );
                Error::new(Exit::NoPerm, message)
            }
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                let message = format!(
                    "{name}: no process listens on its admin socket {socket}; start it with `{}`",
                    self.start
                );
                Error::new(Exit::Unavailable, message)
            }
            _ => Error::new(Exit::Unavailable, format!("{name}: can't connect to {socket}: {error}")),
        }
    }
}

impl Reply<'_> {
    /// Waits for the next part of the body. Returns `None` at its end.
    ///
    /// # Errors
    /// Fails when the connection ends before the body does, and when the read timeout passes.
    pub(crate) fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let Self { body, client, .. } = self;
        client.wait_for_reply(next_chunk(body, client))
    }

    /// Waits for the next part of the body, as [`Self::chunk`] does, or until `stop` ends. Then it
    /// returns the output of `stop`.
    pub(crate) fn chunk_or<T>(
        &mut self,
        stop: impl Future<Output = T>,
    ) -> Result<Result<Option<Bytes>, T>, Error> {
        let Self { body, client, .. } = self;
        client.wait_for_reply(async {
            tokio::select! {
                biased;
                stopped = stop => Ok(Err(stopped)),
                chunk = next_chunk(body, client) => chunk.map(Ok),
            }
        })
    }

    /// Reads the rest of the body, which may have at most `max_bytes`.
    pub(crate) fn bytes(&mut self, max_bytes: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk()? {
            if bytes.len() + chunk.len() > max_bytes {
                return Err(self.client.broken(format_args!("the reply has more than {max_bytes} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Reads the body as a problem document (RFC 9457). Returns null when it is not one.
    pub(crate) fn problem(&mut self) -> serde_json::Value {
        let body = self.bytes(MAX_PROBLEM_BYTES);
        body.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default()
    }

    fn value<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let body = self.bytes(MAX_REPLY_BYTES)?;
        serde_json::from_slice(&body).map_err(|error| {
            let message = format!("{}: the reply is not the expected JSON: {error}", self.client.name);
            Error::new(Exit::Unavailable, message)
        })
    }

    /// Returns the error for a refusal, with its `detail` as the message.
    fn refused(mut self) -> Error {
        let problem = self.problem();
        let member = |name: &str| problem.get(name).and_then(serde_json::Value::as_str);
        let mut detail = member("detail").unwrap_or("no reason given").to_owned();
        if let Some(reason) = member("reason") {
            detail = format!("{detail} {reason}");
        }
        if let Some(oldest) = member("oldest") {
            detail = format!("{detail} What is left begins with the cursor {oldest}.");
        }
        let exit = match self.status.as_u16() {
            400 | 405 | 413 | 414 | 415 | 431 => Exit::Usage,
            401 | 403 => Exit::NoPerm,
            404 | 410 => Exit::NoInput,
            408 | 429 | 503 => Exit::TempFail,
            _ => Exit::Unavailable,
        };
        let shown = crate::record::Escaped(&detail).to_string();
        Error::new(exit, format!("{}: answered {}: {shown}", self.client.name, self.status.as_u16()))
    }
}

async fn next_chunk(body: &mut Incoming, client: &AdminClient) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| client.broken_by(&error))?;
        // Trailers have no data.
        if let Ok(chunk) = frame.into_data() {
            return Ok(Some(chunk));
        }
    }
    Ok(None)
}

fn request(
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
    body: Option<String>,
) -> http::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header(header::HOST, "localhost")
        .header(header::USER_AGENT, concat!("mocactl/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request.body(Full::from(body.unwrap_or_default()))
}
