//! Sends records as WebSocket messages (RFC 6455) on an HTTP/1.1 connection that was taken over.
//!
//! The frames of records are the same for all followers, because a server does not mask its frames.
//! The session writes its control frames between them. It reads and discards the messages of the
//! client.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::Stream;
use http::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use sha1::{Digest, Sha1};
use tokio::time::timeout;

use super::block::frame_head;
use super::follower::FollowEvent;
use super::socket_writer::SocketWriter;
use super::takeover::{FollowSettings, Takeover};
use super::ws_frames::{CLOSE, ClientMessage, CloseCode, FrameReader, PING, PONG};
use crate::http::connection::stream::ConnectionStream;
use crate::http::response::head_writer::Framing;
use crate::http::response::problem::Problem;
use crate::net::deadline::{LazyDeadline, Millis, now, timer};
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;

/// Maximum time, in milliseconds, until the client answers a close frame.
const CLOSE_TIMEOUT_MS: Millis = 1000;

/// Maximum number of reads in one poll.
const MAX_READS_PER_POLL: usize = 16;

/// Maximum number of bytes of one read.
const MAX_READ_BYTES: usize = 4096;

/// Holds the value of `Sec-WebSocket-Accept` for a valid handshake.
pub(crate) struct WebSocketAccept(HeaderValue);

/// Returns the accepted handshake if the request asks for WebSocket, otherwise `None`.
///
/// # Errors
///
/// Fails when the request asks for WebSocket and its handshake is invalid.
pub(crate) fn websocket_requested(parts: &Parts) -> Result<Option<WebSocketAccept>, Problem> {
    let headers = &parts.headers;
    if !has_token(headers, &UPGRADE, "websocket") || parts.version == Version::HTTP_2 {
        return Ok(None);
    }
    let bad_handshake = |why: &'static str| Problem::bad_request("Not a WebSocket handshake.").because(why);
    if parts.method != Method::GET || parts.version != Version::HTTP_11 {
        return Err(bad_handshake("it takes GET and HTTP/1.1"));
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(bad_handshake("Connection: Upgrade is missing"));
    }
    const VERSION: HeaderValue = HeaderValue::from_static("13");
    if headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "WebSocket is spoken in version 13 here.");
        let problem = problem.with(UPGRADE, HeaderValue::from_static("websocket"));
        return Err(problem.with(SEC_WEBSOCKET_VERSION, VERSION));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(bad_handshake("one Sec-WebSocket-Key is needed"));
    };
    if BASE64.decode(key.as_bytes()).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(bad_handshake("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    // RFC 6455, section 1.3.
    let proof = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    let proof = HeaderValue::try_from(BASE64.encode(&proof));
    proof.map(|proof| Some(WebSocketAccept(proof))).map_err(|_| bad_handshake("Sec-WebSocket-Key"))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}

impl WebSocketAccept {
    /// Turns `response` into the answer that completes the handshake.
    pub(crate) fn apply_headers<B>(self, response: &mut Response<B>) {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.0);
    }
}

/// Serves a connection until it ends.
pub(crate) async fn serve<S: Transport>(stream: ConnectionStream<S>, takeover: Takeover, stopping: Shutdown) {
    let settings = takeover.settings;
    let head = takeover.head_bytes(Framing::Upgrade);
    let mut access_log = takeover.access_log;
    let follower = takeover.new_follower.follower.with_max_chunk_bytes(settings.max_write_bytes as u64);
    let mut events = pin!(follower.events());
    let mut draining = pin!(stopping.drain.cancelled());
    let mut hurrying = pin!(stopping.hurry.cancelled());
    let mut session =
        WebSocketSession::new(SocketWriter::new(stream, head, settings.max_write_bytes), settings);
    let deadline = session.deadline();
    let sleep = pin!(timer(deadline));
    let mut timer = LazyDeadline::new(deadline, sleep);
    poll_fn(|cx| {
        if hurrying.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let written = session.writer.poll_write_all(cx);
            if let Poll::Ready(Err(_)) = written {
                return Poll::Ready(());
            }
            if session.read_input(cx).is_err() {
                return Poll::Ready(());
            }
            if written.is_ready() && session.put_control_frames() {
                continue;
            }
            if written.is_ready() && session.is_open() {
                let next = if draining.as_mut().poll(cx).is_ready() {
                    session.close(CloseCode::GoingAway);
                    continue;
                } else {
                    events.as_mut().poll_next(cx)
                };
                let bytes = match next {
                    Poll::Ready(Some(FollowEvent::Block(block))) => Some((block.all_records(), None)),
                    Poll::Ready(Some(FollowEvent::Last(bytes))) => Some((bytes, Some(CloseCode::Normal))),
                    Poll::Ready(Some(FollowEvent::Refused)) => {
                        Some((Bytes::new(), Some(CloseCode::PolicyViolation)))
                    }
                    Poll::Ready(Some(FollowEvent::Failed) | None) => {
                        Some((Bytes::new(), Some(CloseCode::InternalError)))
                    }
                    Poll::Pending => None,
                };
                if let Some((bytes, code)) = bytes {
                    if let Some(access_log) = &mut access_log {
                        access_log.bytes += bytes.len() as u64;
                    }
                    session.writer.put(bytes);
                    if let Some(code) = code {
                        session.close(code);
                    }
                    continue;
                }
            }
            if session.is_over() {
                return Poll::Ready(());
            }
            if timer.poll_expired(session.deadline(), cx).is_pending() {
                return Poll::Pending;
            }
            if session.handle_deadline() {
                return Poll::Ready(());
            }
        }
    })
    .await;
    let close = async {
        if poll_fn(|cx| session.writer.poll_shutdown(cx)).await.is_ok() {
            // Closing a socket with unread bytes resets the connection, and the client could lose
            // the close frame.
            let mut scratch = [0; 1024];
            while let Ok(1..) = poll_fn(|cx| session.writer.poll_read_into(cx, &mut scratch)).await {}
        }
    };
    drop(timeout(Duration::from_millis(CLOSE_TIMEOUT_MS), close).await);
}

/// Holds the state of one WebSocket connection, except for the records.
struct WebSocketSession<S> {
    /// The socket.
    writer: SocketWriter<S>,
    /// The limits and times from the configuration.
    settings: FollowSettings,
    /// Reads the frames of the client.
    frames: FrameReader,
    /// Bytes from the client that are not parsed yet.
    unparsed: Vec<u8>,
    /// Control frames of this server that are not written yet, in order.
    control: Vec<u8>,
    /// Number of answers to pings of the client in `control`.
    pending_pongs: usize,
    /// The time of the next ping.
    ping_at: Millis,
    /// The time of the oldest ping that the client has not answered.
    pinged_at: Option<Millis>,
    /// The time at which this server sent its close frame.
    closed_at: Option<Millis>,
    /// Set when the client has sent a close frame or an invalid frame. Further input is ignored.
    ignores_input: bool,
}

impl<S: Transport> WebSocketSession<ConnectionStream<S>> {
    fn new(writer: SocketWriter<ConnectionStream<S>>, settings: FollowSettings) -> Self {
        Self {
            writer,
            settings,
            frames: FrameReader::default(),
            unparsed: Vec::new(),
            control: Vec::new(),
            pending_pongs: 0,
            ping_at: now().saturating_add(settings.ping_interval),
            pinged_at: None,
            closed_at: None,
            ignores_input: false,
        }
    }

    const fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    fn is_over(&self) -> bool {
        self.ignores_input && self.control.is_empty() && self.writer.blocked_since().is_none()
    }

    /// Sends a close frame with `code`, unless one was sent already.
    fn close(&mut self, code: CloseCode) {
        if self.is_open() {
            self.queue_frame(CLOSE, &(code as u16).to_be_bytes());
            self.closed_at = Some(now());
        }
    }

    fn queue_frame(&mut self, opcode: u8, payload: &[u8]) {
        self.control.extend(frame_head(opcode, payload.len()));
        self.control.extend_from_slice(payload);
    }

    /// Moves the queued control frames into the socket writer. Returns whether there were any.
    ///
    /// The caller does so between two blocks, when the socket writer is empty.
    fn put_control_frames(&mut self) -> bool {
        if self.control.is_empty() {
            return false;
        }
        self.pending_pongs = 0;
        self.writer.put(Bytes::from(mem::take(&mut self.control)));
        true
    }

    /// Reads the client's frames while fewer pings than the limit wait for an answer.
    fn read_input(&mut self, cx: &mut Context<'_>) -> Result<(), ()> {
        let mut scratch = [0; MAX_READ_BYTES];
        let max_bytes = self.settings.max_read_bytes.min(MAX_READ_BYTES);
        for _ in 0..MAX_READS_PER_POLL {
            self.parse_input();
            if self.ignores_input || self.pending_pongs >= self.settings.max_pending_pings {
                return Ok(());
            }
            match self.writer.poll_read_into(cx, &mut scratch[..max_bytes]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(count)) if count > 0 => self.unparsed.extend_from_slice(&scratch[..count]),
                Poll::Ready(_) => return Err(()),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn parse_input(&mut self) {
        let unparsed = mem::take(&mut self.unparsed);
        let mut rest = &unparsed[..];
        while !self.ignores_input && self.pending_pongs < self.settings.max_pending_pings {
            match self.frames.read(&mut rest, self.settings.max_message_bytes) {
                Ok(None) => return,
                Ok(Some(ClientMessage::Ping(payload))) => {
                    if self.is_open() {
                        self.queue_frame(PONG, &payload);
                    }
                    self.pending_pongs += 1;
                }
                Ok(Some(ClientMessage::Pong)) => self.pinged_at = None,
                Ok(Some(ClientMessage::Close(code))) => {
                    self.ignores_input = true;
                    if self.is_open() {
                        // A close frame without a code is answered without a code.
                        let code = code.map(u16::to_be_bytes);
                        self.queue_frame(CLOSE, code.as_ref().map_or(&[], |code| &code[..]));
                        self.closed_at = Some(now());
                    }
                }
                Err(code) => {
                    self.close(code);
                    self.ignores_input = true;
                }
            }
        }
        self.unparsed = rest.to_vec();
    }

    /// Returns the time at which the session must act even if the socket is not ready.
    fn deadline(&self) -> Millis {
        if let Some(since) = self.writer.blocked_since() {
            return since.saturating_add(self.settings.stall_timeout).min(self.answer_due());
        }
        if let Some(since) = self.closed_at {
            return since + CLOSE_TIMEOUT_MS;
        }
        if self.settings.ping_interval == 0 { self.answer_due() } else { self.ping_at.min(self.answer_due()) }
    }

    /// Returns the time by which the client must have answered a ping.
    ///
    /// The time starts again while the client still accepts bytes that were written before the
    /// ping.
    fn answer_due(&self) -> Millis {
        /// A time that is never reached. It is small enough for a timer.
        const NEVER: Millis = Millis::MAX / 4;
        match self.pinged_at {
            Some(pinged_at) if self.settings.ping_timeout > 0 => {
                pinged_at.max(self.writer.progress_at).saturating_add(self.settings.ping_timeout)
            }
            _ => NEVER,
        }
    }

    /// Handles a deadline that has passed by sending a ping or a close frame. Returns whether the
    /// connection is over.
    fn handle_deadline(&mut self) -> bool {
        let time = now();
        if self.writer.blocked_since().is_some() {
            return true;
        }
        if self.closed_at.is_some_and(|since| time >= since + CLOSE_TIMEOUT_MS) {
            return true;
        }
        if time >= self.answer_due() {
            self.close(CloseCode::InternalError);
        } else if self.settings.ping_interval > 0 && time >= self.ping_at && self.is_open() {
            self.queue_frame(PING, b"");
            self.pinged_at.get_or_insert(time);
            self.ping_at = time.saturating_add(self.settings.ping_interval);
        }
        false
    }
}
