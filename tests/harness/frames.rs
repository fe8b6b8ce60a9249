//! Provides a raw HTTP/2 client (RFC 9113) on one connection. The test controls every frame. The
//! client supports only literal fields and the status of an answer in HPACK (RFC 7541).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Conn, Server};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const ACK: u8 = 1;

/// Error codes of RST_STREAM and GOAWAY.
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// The connection preface.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Identifier of SETTINGS_INITIAL_WINDOW_SIZE.
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

pub(crate) struct Frames {
    pub(crate) conn: Conn,
}

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frames {
    /// Connects and performs only the TLS handshake.
    pub(crate) fn silent(address: SocketAddr) -> Self {
        Self { conn: Conn::open_tls(address, "h2").expect("connect with TLS") }
    }

    /// Connects with TLS and sends the preface and the settings.
    pub(crate) fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        Self::begin(Conn::open_tls(address, "h2").expect("connect with TLS"), settings)
    }

    /// Connects without TLS and sends the preface and the settings.
    pub(crate) fn open_plain(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        Self::begin(Conn::open(address).expect("connect"), settings)
    }

    /// Connects to a server with or without TLS and sends the preface and the settings.
    pub(crate) fn open_to(server: &Server, settings: &[(u16, u32)]) -> Self {
        if server.has_tls() {
            Self::open(server.address(), settings)
        } else {
            Self::open_plain(server.address(), settings)
        }
    }

    /// Connects like [`Self::open_to`] from this address of the machine.
    pub(crate) fn open_from(source: IpAddr, server: &Server) -> Self {
        let conn = if server.has_tls() {
            Conn::open_tls_from(source, server.address(), "h2")
        } else {
            Conn::open_from(source, server.address())
        };
        Self::begin(conn.expect("connect"), &[])
    }

    /// Sends the preface and the settings on this connection.
    pub(crate) fn begin(conn: Conn, settings: &[(u16, u32)]) -> Self {
        let mut frames = Self { conn };
        frames.conn.send_raw(PREFACE).expect("send the preface");
        let mut payload = Vec::new();
        for (setting, value) in settings {
            payload.extend_from_slice(&setting.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        frames.send(SETTINGS, 0, 0, &payload).expect("send the settings");
        frames
    }

    pub(crate) fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.conn.send_raw(&frame(kind, flags, stream, payload))
    }

    /// Sends the head of a request, which ends the stream when the request has no body.
    pub(crate) fn request(
        &mut self,
        stream: u32,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        ends: bool,
    ) -> io::Result<()> {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &head(method, target, headers))
    }

    pub(crate) fn receive(&mut self) -> io::Result<Frame> {
        let head = self.conn.receive_exactly(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let payload = self.conn.receive_exactly(length as usize)?;
        Ok(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Returns the next frame of one of these kinds, and answers pings and settings meanwhile.
    pub(crate) fn receive_one_of(&mut self, kinds: &[u8]) -> io::Result<Frame> {
        loop {
            let frame = self.receive()?;
            if (frame.kind == SETTINGS || frame.kind == PING) && frame.flags & ACK == 0 {
                let payload = if frame.kind == PING { &frame.payload[..] } else { &[] };
                self.send(frame.kind, ACK, 0, payload)?;
            }
            if kinds.contains(&frame.kind) {
                return Ok(frame);
            }
        }
    }

    /// Returns the stream and the status of the next answer.
    pub(crate) fn status(&mut self) -> io::Result<(u32, u16)> {
        let frame = self.receive_one_of(&[HEADERS])?;
        Ok((frame.stream, status(&frame.payload)))
    }

    /// Reads until the server closes, without an answer to any frame. Returns all frames.
    pub(crate) fn until_closed(&mut self, limit: Duration) -> Vec<Frame> {
        self.conn.set_read_timeout(limit);
        let mut frames = Vec::new();
        loop {
            match self.receive() {
                Ok(frame) => frames.push(frame),
                Err(error) if super::is_timeout(&error) => panic!("not closed within {limit:?}: {frames:?}"),
                Err(_) => return frames,
            }
        }
    }
}

impl Frame {
    /// Returns the error code of RST_STREAM or GOAWAY.
    pub(crate) fn error_code(&self) -> u32 {
        let begin = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[begin..begin + 4].try_into().expect("an error code"))
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Encodes a field section of literals without indexing.
pub(crate) fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "https"), (":authority", "log.test"), (":path", target)];
    fields(&[&pseudo, headers].concat())
}

pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                block.push(u8::try_from(length).expect("a length"));
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push(u8::try_from(length % 128).expect("a length") | 128);
                    length /= 128;
                }
                block.push(u8::try_from(length).expect("a length"));
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Returns the status, which is the first field of an answer. It is an entry of the static table,
/// or three Huffman-coded digits.
fn status(block: &[u8]) -> u16 {
    const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [index @ 0x88..=0x8e, ..] => KNOWN[usize::from(index - 0x88)],
        [0x48, length, rest @ ..] => {
            let coded = &rest[..usize::from(length & 0x7f)];
            if length & 0x80 == 0 {
                return String::from_utf8_lossy(coded).parse().expect("a status");
            }
            let mut bits = coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
            let mut status = 0;
            for _ in 0..3 {
                let mut code = 0;
                for _ in 0..5 {
                    code = code << 1 | u16::from(bits.next().expect("a bit"));
                }
                let digit =
                    if code < 3 { code } else { (code << 1 | u16::from(bits.next().expect("a bit"))) - 22 };
                status = status * 10 + digit;
            }
            status
        }
        _ => panic!("no status in {block:?}"),
    }
}
