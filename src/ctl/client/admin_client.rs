//! The client of a running instance: HTTP/1.1 over its admin socket, one connection a request.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::config::LogName;
use crate::ctl::client::reply::{self, Body};
use crate::ctl::error::Error;
use crate::ctl::paths::Directories;
use crate::exit::Exit;

/// How long an instance may be silent: longer than a start of it may take, since its socket starts it.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest answer that is held in memory as a whole.
const MAX_REPLY_BYTES: u64 = 64 * 1024 * 1024;

/// One instance, as its admin socket has it.
pub(crate) struct AdminClient {
    name: LogName,
    socket: PathBuf,
    /// how long it may be silent; `None` = for ever
    patience: Option<Duration>,
}

/// An answer with success, or one that the caller said it understands.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body<BufReader<UnixStream>>,
}

impl AdminClient {
    pub(crate) fn new(directories: &Directories, log: &LogName) -> Self {
        Self { name: log.clone(), socket: directories.admin_socket(log), patience: Some(READ_TIMEOUT) }
    }

    /// It may be silent for so long and no longer.
    pub(crate) fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// For questions whose answer may take long, as that of a search through a large log.
    pub(crate) fn patient(self) -> Self {
        Self { patience: None, ..self }
    }

    /// A request without a body whose answer is a text.
    pub(crate) fn text(&self, target: &str) -> Result<String, Error> {
        let reply = self.send("GET", target, &[], None, &[])?;
        let mut text = String::new();
        reply.body.take(MAX_REPLY_BYTES).read_to_string(&mut text).map_err(|error| self.broken(&error))?;
        Ok(text)
    }

    /// A request without a body whose answer is a value.
    pub(crate) fn value<T: DeserializeOwned>(&self, method: &str, target: &str) -> Result<T, Error> {
        let reply = self.send(method, target, &[], None, &[])?;
        self.read_value(reply)
    }

    /// As [`Self::value`], with a JSON body.
    pub(crate) fn value_for<T: DeserializeOwned>(
        &self,
        method: &str,
        target: &str,
        body: &serde_json::Value,
    ) -> Result<T, Error> {
        let reply = self.send(method, target, &[], Some(&body.to_string()), &[])?;
        self.read_value(reply)
    }

    /// Sends a request. An error status is an error in the instance's own words, unless it is `understood`.
    pub(crate) fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
        understood: &[StatusCode],
    ) -> Result<Reply, Error> {
        let mut stream = UnixStream::connect(&self.socket).map_err(|error| self.unreachable(&error))?;
        let request = request(method, target, headers, body);
        let exchange = || -> io::Result<(StatusCode, HeaderMap, Body<BufReader<UnixStream>>)> {
            stream.set_read_timeout(self.patience)?;
            stream.set_write_timeout(Some(self.patience.unwrap_or(READ_TIMEOUT)))?;
            stream.write_all(request.as_bytes())?;
            reply::read(BufReader::with_capacity(64 * 1024, stream), method)
        };
        let (status, headers, body) = exchange().map_err(|error| self.broken(&error))?;
        let mut reply = Reply { status, headers, body };
        if status.is_success() || understood.contains(&status) {
            return Ok(reply);
        }
        Err(self.refused(&mut reply))
    }

    /// An answer that ended before its time.
    pub(crate) fn broken(&self, error: &io::Error) -> Error {
        let (name, socket) = (self.name.as_str(), self.socket.display());
        let why = match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it does not answer".to_owned(),
            _ => error.to_string(),
        };
        Error::new(Exit::TempFail, format!("{name}: talking to {socket} failed: {why}"))
    }

    fn unreachable(&self, error: &io::Error) -> Error {
        let (name, socket) = (self.name.as_str(), self.socket.display());
        match error.kind() {
            io::ErrorKind::PermissionDenied => {
                let message =
                    format!("{name}: {socket} is for root and the group moca-file-log only; use sudo");
                Error::new(Exit::NoPerm, message)
            }
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                let message = format!(
                    "{name}: nobody listens on its admin socket {socket}; start it with `mocactl start {name}`"
                );
                Error::new(Exit::Unavailable, message)
            }
            _ => Error::new(Exit::Unavailable, format!("{name}: can't connect to {socket}: {error}")),
        }
    }

    /// The `detail` of a problem, or whatever else there is.
    fn refused(&self, reply: &mut Reply) -> Error {
        let mut text = Vec::new();
        let read = reply.body.by_ref().take(64 * 1024).read_to_end(&mut text);
        let problem = read.ok().and_then(|_| serde_json::from_slice::<serde_json::Value>(&text).ok());
        let member =
            |name: &str| problem.as_ref().and_then(|problem| problem.get(name)).and_then(|d| d.as_str());
        let mut detail = member("detail").unwrap_or("no reason given").to_owned();
        if let Some(reason) = member("reason") {
            detail = format!("{detail} {reason}");
        }
        if let Some(oldest) = member("oldest") {
            detail = format!("{detail} What is left begins with the cursor {oldest}.");
        }
        let exit = match reply.status.as_u16() {
            400 | 405 | 413 | 414 | 415 | 431 => Exit::Usage,
            401 | 403 => Exit::NoPerm,
            404 | 410 => Exit::NoInput,
            408 | 429 | 503 => Exit::TempFail,
            _ => Exit::Unavailable,
        };
        let shown = crate::record::Escaped(&detail).to_string();
        Error::new(exit, format!("{}: answered {}: {shown}", self.name.as_str(), reply.status.as_u16()))
    }

    fn read_value<T: DeserializeOwned>(&self, reply: Reply) -> Result<T, Error> {
        let mut text = Vec::new();
        reply.body.take(MAX_REPLY_BYTES).read_to_end(&mut text).map_err(|error| self.broken(&error))?;
        serde_json::from_slice(&text).map_err(|error| {
            let message = format!("{}: an answer that makes no sense: {error}", self.name.as_str());
            Error::new(Exit::Unavailable, message)
        })
    }
}

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: Option<&str>) -> String {
    let agent = concat!("mocactl/", env!("CARGO_PKG_VERSION"));
    let mut request = format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nuser-agent: {agent}\r\nconnection: close\r\n"
    );
    for (name, value) in headers {
        request.extend([*name, ": ", *value, "\r\n"]);
    }
    if let Some(body) = body {
        let length = body.len();
        request.push_str(&format!(
            "{}: application/json\r\n{}: {length}\r\n",
            header::CONTENT_TYPE,
            header::CONTENT_LENGTH
        ));
    }
    request.push_str("\r\n");
    request.push_str(body.unwrap_or_default());
    request
}
