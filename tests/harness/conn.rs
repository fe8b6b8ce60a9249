//! Provides a raw HTTP/1.1 client on one connection. The test controls every byte.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
use serde_json::Value;

use super::pair::{TlsConn, handshake};

/// Timeout of reads and writes. It is longer than any answer may take, so that only a hanging
/// server fails its test.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Holds a connection to the server, which stays open between requests.
pub(crate) struct Conn {
    stream: Stream,
    buffer: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsConn>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

/// Holds an answer. Its body is decoded from chunks.
#[derive(Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Conn {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        Self::over(tcp(address)?)
    }

    /// Connects from this address of the machine.
    pub(crate) fn open_from(source: IpAddr, address: SocketAddr) -> io::Result<Self> {
        Self::over(tcp_from(source, address)?)
    }

    /// Connects from this address of the machine over TLS and offers only `protocol` (ALPN).
    pub(crate) fn open_tls_from(source: IpAddr, address: SocketAddr, protocol: &str) -> io::Result<Self> {
        Self::over_tls(tcp_from(source, address)?, protocol)
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        Ok(Self { stream: Stream::Plain(stream), buffer: Vec::new() })
    }

    /// Connects over TLS and offers only `protocol` (ALPN).
    pub(crate) fn open_tls(address: SocketAddr, protocol: &str) -> io::Result<Self> {
        Self::over_tls(tcp(address)?, protocol)
    }

    fn over_tls(stream: TcpStream, protocol: &str) -> io::Result<Self> {
        let stream = handshake(stream, protocol)?;
        Ok(Self { stream: Stream::Tls(Box::new(stream)), buffer: Vec::new() })
    }

    /// Returns the server's certificate in DER.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        let Stream::Tls(stream) = &self.stream else { panic!("not a connection of TLS") };
        stream.conn.peer_certificates().expect("certificates")[0].to_vec()
    }

    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.try_request(method, target, headers, body)
            .unwrap_or_else(|error| panic!("{method} {target}: no answer: {error}"))
    }

    pub(crate) fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        self.send(method, target, headers, body)?;
        self.receive(method)
    }

    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, &[], b"")
    }

    pub(crate) fn post_json(&mut self, target: &str, body: &Value) -> Response {
        let json = [("Content-Type", "application/json")];
        self.request("POST", target, &json, body.to_string().as_bytes())
    }

    pub(crate) fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<()> {
        let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: log.test\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let length_is_given = headers.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding")
        });
        if !length_is_given && (method == "POST" || !body.is_empty()) {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        self.send_raw(&bytes)
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    pub(crate) fn receive(&mut self, method: &str) -> io::Result<Response> {
        let mut body = Vec::new();
        let mut response = self.receive_streamed(method, |piece| body.extend_from_slice(piece))?;
        response.body = body;
        Ok(response)
    }

    /// Receives an answer and passes its body to `sink` in pieces. The body of the returned answer
    /// is empty.
    pub(crate) fn receive_streamed(
        &mut self,
        method: &str,
        mut sink: impl FnMut(&[u8]),
    ) -> io::Result<Response> {
        let response = loop {
            let head = self.read_head()?;
            // Skip interim answers.
            if head.status >= 200 {
                break head;
            }
        };
        if method == "HEAD" {
            return Ok(response);
        }
        self.read_body(&response, &mut sink)?;
        Ok(response)
    }

    /// Receives the body that belongs to this head.
    pub(crate) fn receive_body(&mut self, head: &Response) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        self.read_body(head, &mut |piece: &[u8]| body.extend_from_slice(piece))?;
        Ok(body)
    }

    fn read_body(&mut self, response: &Response, sink: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let chunked = response.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
        let length = response.header("content-length").map(|v| v.parse::<u64>().expect("content-length"));
        if response.status == 204 || response.status == 304 {
            return Ok(());
        }
        if chunked {
            loop {
                let line = self.read_line()?;
                let digits = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(digits, 16).map_err(|_| {
                    io::Error::new(io::ErrorKind::InvalidData, format!("chunk size {line:?}"))
                })?;
                self.read_exactly(size, sink)?;
                if size == 0 {
                    while !self.read_line()?.is_empty() {}
                    break;
                }
                self.read_line()?;
            }
        } else if let Some(length) = length {
            self.read_exactly(length, sink)?;
        } else {
            loop {
                if !self.buffer.is_empty() {
                    sink(&self.buffer);
                    self.buffer.clear();
                }
                if self.fill()? == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Returns all bytes until the server closes the connection. A reset counts as a close.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        loop {
            match self.fill() {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if is_timeout(&error) => panic!("the server does not close the connection"),
                Err(_) => break,
            }
        }
        std::mem::take(&mut self.buffer)
    }

    /// Sends bytes that are no record of TLS.
    pub(crate) fn send_below_tls(&self, bytes: &[u8]) -> io::Result<()> {
        let mut tcp = self.stream.tcp();
        tcp.write_all(bytes)
    }

    /// Reads and drops what the server has sent.
    pub(crate) fn discard_received(&mut self) {
        self.set_read_timeout(Duration::from_millis(1));
        while self.fill().is_ok_and(|count| count > 0) {
            self.buffer.clear();
        }
    }

    /// Returns whether the server closes within this time. Panics when it sends a byte.
    pub(crate) fn is_closed_within(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        self.set_read_timeout(limit);
        let closed = match self.fill() {
            Ok(0) => true,
            Ok(_) => panic!("unexpected bytes: {:?}", String::from_utf8_lossy(&self.buffer)),
            Err(error) => !is_timeout(&error),
        };
        closed && Instant::now() < until + Duration::from_millis(500)
    }

    /// Returns whether the server sends nothing and keeps the connection open for this time.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.set_read_timeout(time);
        let silent = self.fill().is_err_and(|error| is_timeout(&error));
        self.set_read_timeout(TIMEOUT);
        silent
    }

    pub(crate) fn set_read_timeout(&self, limit: Duration) {
        self.stream.tcp().set_read_timeout(Some(limit)).expect("set the read timeout");
    }

    /// Closes the sending half of the connection.
    pub(crate) fn half_close(&self) {
        self.stream.tcp().shutdown(Shutdown::Write).expect("shut down the sending half");
    }

    /// Reads the head of the next answer, which may be an interim one.
    pub(crate) fn read_head(&mut self) -> io::Result<Response> {
        let status_line = self.read_line()?;
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| status_line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("status {status_line:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(Response { status, headers, body: Vec::new() });
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("header {line:?}")))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Reads the next line of an answer, which may be an interim one.
    pub(crate) fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.fill()? == 0 {
                let cut = if self.buffer.is_empty() { "closed before an answer" } else { "cut in an answer" };
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, cut));
            }
        }
    }

    /// Receives this many bytes.
    pub(crate) fn receive_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_exactly(length as u64, &mut |piece: &[u8]| bytes.extend_from_slice(piece))?;
        Ok(bytes)
    }

    fn read_exactly(&mut self, length: u64, sink: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let mut missing = length;
        while missing > 0 {
            if self.buffer.is_empty() && self.fill()? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "cut in a body"));
            }
            let piece = usize::try_from(missing).unwrap_or(usize::MAX).min(self.buffer.len());
            sink(&self.buffer[..piece]);
            self.buffer.drain(..piece);
            missing -= piece as u64;
        }
        Ok(())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 65536];
        let count = loop {
            let got = match &mut self.stream {
                Stream::Plain(stream) => stream.read(&mut piece),
                Stream::Tls(stream) => stream.read(&mut piece),
            };
            // A read is interrupted when the machine was suspended.
            match got {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(count)
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpStream> {
    patient(TcpStream::connect_timeout(&address, TIMEOUT)?)
}

fn tcp_from(source: IpAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let family = if source.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
    patient(TcpStream::from(socket))
}

fn patient(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

impl Response {
    /// Returns the first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns a header. Panics when it is missing.
    pub(crate) fn expect_header(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no header {name}: {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// Asserts the plain answer `success.`.
    pub(crate) fn success(&self) {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(self.text(), "success.", "{self:?}");
        assert!(self.expect_header("content-type").starts_with("text/plain"), "{self:?}");
    }

    /// Asserts an error in the form of RFC 9457. Returns its `detail`.
    pub(crate) fn problem(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.expect_header("content-type").starts_with("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{self:?}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {self:?}");
        }
        problem["detail"].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts an error with exactly this text.
    pub(crate) fn refused(&self, status: u16, detail: &str) {
        assert_eq!(self.problem(status), detail, "{self:?}");
    }

    /// Asserts a 401 with its challenge and exactly this text.
    pub(crate) fn unauthorized(&self, detail: &str) {
        self.refused(401, detail);
        assert!(!self.expect_header("www-authenticate").is_empty(), "{self:?}");
    }

    /// Asserts `Retry-After` in whole seconds. Returns it.
    pub(crate) fn retry_after(&self) -> u64 {
        let text = self.expect_header("retry-after");
        text.parse().unwrap_or_else(|_| panic!("Retry-After in seconds: {self:?}"))
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = self.text().chars().take(600).collect();
        write!(f, "{} {:?} {} bytes: {text:?}", self.status, self.headers, self.body.len())
    }
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
