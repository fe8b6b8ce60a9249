//! Runs a fake instance behind a socket. It answers as a test says and records the requests.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Holds a recorded request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordedRequest {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) body: String,
}

/// Represents a fake instance, which serves until the test process ends.
pub(crate) struct Instance {
    asked: Arc<Mutex<Vec<RecordedRequest>>>,
}

impl Instance {
    /// Listens at `socket`. `answer` returns the bytes of each answer.
    pub(crate) fn listen(
        socket: &Path,
        answer: impl Fn(&RecordedRequest) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let listener = UnixListener::bind(socket).expect("bind the admin socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let Some(request) = read(&stream) else { continue };
                remembered.lock().expect("a lock").push(request.clone());
                // The client may have disconnected.
                drop(stream.write_all(&answer(&request)));
            }
        });
        Self { asked }
    }

    pub(crate) fn asked(&self) -> Vec<RecordedRequest> {
        self.asked.lock().expect("a lock").clone()
    }
}

fn read(stream: &UnixStream) -> Option<RecordedRequest> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(RecordedRequest { method, target, body: String::from_utf8(body).ok()? })
}

/// Returns an answer with a Content-Length.
pub(crate) fn answer(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Returns an answer in chunks of a few bytes.
pub(crate) fn chunked(body: &str) -> Vec<u8> {
    let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.as_bytes().chunks(7) {
        answer.extend(format!("{:X}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()));
        answer.extend(b"\r\n");
    }
    answer.extend(b"0\r\n\r\n");
    answer
}

/// Returns a problem document as the service sends it.
pub(crate) fn problem(status: u16, detail: &str) -> Vec<u8> {
    let body = serde_json::json!({"type": "about:blank", "title": "X", "status": status, "detail": detail});
    answer(status, &body.to_string())
}
