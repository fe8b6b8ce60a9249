//! Records as messages of WebSocket (RFC 6455), over a connection of HTTP/1.1 that was taken over.
//!
//! Frames of records are made once for all followers, as a server's frames have no mask. Between them stand our own
//! control frames; what a client says beside its own is read and thrown away.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::Stream;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Version};
use sha1::{Digest, Sha1};
use tokio::time::timeout;

use super::block::frame_head;
use super::follower::FollowEvent;
use super::socket_writer::SocketWriter;
use super::takeover::{Takeover, Times, raw_head};
use super::ws_frames::{CLOSE, ClientMessage, Code, Frames, PING, PONG};
use crate::http::connection::stream::ConnectionStream;
use crate::http::response::problem::Problem;
use crate::net::deadline::{LazyDeadline, timer};
use crate::net::deadline::{Millis, now};
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;

/// How long a client may take to answer a closing frame, milliseconds.
const CLOSE_TIMEOUT: Millis = 1000;

/// Reads of what a client says in one turn.
const TURN: usize = 16;

/// Read from a client at once, at most.
const SCRATCH: usize = 4096;

/// A client's wish for WebSocket that can be fulfilled.
pub(crate) struct Accept(HeaderValue);

/// Whether the request asks for WebSocket.
///
/// # Errors
/// Where it does but in a way that can't be answered.
pub(crate) fn websocket_requested(parts: &Parts) -> Result<Option<Accept>, Problem> {
    let headers = &parts.headers;
    if !has_token(headers, &UPGRADE, "websocket") || parts.version == Version::HTTP_2 {
        return Ok(None);
    }
    let invalid_parameter =
        |why: &'static str| Problem::bad_request("Not a WebSocket handshake.").because(why);
    if parts.method != Method::GET || parts.version != Version::HTTP_11 {
        return Err(invalid_parameter("it takes GET and HTTP/1.1"));
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(invalid_parameter("Connection: Upgrade is missing"));
    }
    const VERSION: HeaderValue = HeaderValue::from_static("13");
    if headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        let problem = Problem::new(StatusCode::UPGRADE_REQUIRED, "WebSocket is spoken in version 13 here.");
        let problem = problem.with(UPGRADE, HeaderValue::from_static("websocket"));
        return Err(problem.with(SEC_WEBSOCKET_VERSION, VERSION));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(invalid_parameter("one Sec-WebSocket-Key is needed"));
    };
    if BASE64.decode(key.as_bytes()).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(invalid_parameter("Sec-WebSocket-Key is not 16 bytes in base64"));
    }
    // RFC 6455, section 1.3.
    let proof = Sha1::new().chain_update(key).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    let proof = HeaderValue::try_from(BASE64.encode(&proof));
    proof.map(|proof| Some(Accept(proof))).map_err(|_| invalid_parameter("Sec-WebSocket-Key"))
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(token))
}

impl Accept {
    /// Makes an answer the end of the handshake.
    pub(crate) fn apply_headers<B>(self, response: &mut Response<B>) {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.0);
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve<S: Transport>(
    stream: ConnectionStream<S>,
    mut takeover: Takeover,
    stopping: Shutdown,
) {
    let times = takeover.settings;
    let head = raw_head(&mut takeover.head, false);
    let mut end = takeover.end;
    let follower = takeover.start.follower.in_pieces_of(times.write_limit as u64);
    let mut given = pin!(follower.given());
    let mut draining = pin!(stopping.drain.cancelled());
    let mut hurrying = pin!(stopping.hurry.cancelled());
    let mut talk = WebSocketSession::new(SocketWriter::new(stream, head, times.write_limit), times);
    let deadline = talk.deadline();
    let timer = pin!(timer(deadline));
    let mut alarm = LazyDeadline::new(deadline, timer);
    poll_fn(|cx| {
        if hurrying.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let written = talk.pipe.poll_out(cx);
            if let Poll::Ready(Err(_)) = written {
                return Poll::Ready(());
            }
            if talk.listen(cx).is_err() {
                return Poll::Ready(());
            }
            if written.is_ready() && talk.step() == Step::Wrote {
                continue;
            }
            if written.is_ready() && talk.is_open() {
                let next = if draining.as_mut().poll(cx).is_ready() {
                    talk.close(Code::GoingAway);
                    continue;
                } else {
                    given.as_mut().poll_next(cx)
                };
                let bytes = match next {
                    Poll::Ready(Some(FollowEvent::Block(block))) => Some((block.all(), None)),
                    Poll::Ready(Some(FollowEvent::Last(bytes))) => Some((bytes, Some(Code::Normal))),
                    Poll::Ready(Some(FollowEvent::Refused)) => {
                        Some((Bytes::new(), Some(Code::PolicyViolation)))
                    }
                    Poll::Ready(Some(FollowEvent::Failed) | None) => Some((Bytes::new(), Some(Code::Failed))),
                    Poll::Pending => None,
                };
                if let Some((bytes, code)) = bytes {
                    if let Some(end) = &mut end {
                        end.bytes += bytes.len() as u64;
                    }
                    talk.pipe.put(bytes);
                    if let Some(code) = code {
                        talk.close(code);
                    }
                    continue;
                }
            }
            if talk.is_over() {
                return Poll::Ready(());
            }
            if alarm.poll_expired(talk.deadline(), cx).is_pending() {
                return Poll::Pending;
            }
            if talk.is_late() {
                return Poll::Ready(());
            }
        }
    })
    .await;
    let goodbye = async {
        if poll_fn(|cx| talk.pipe.poll_shutdown(cx)).await.is_ok() {
            // Closing a socket with unread bytes in it would take our closing frame back.
            let mut scratch = [0; 1024];
            while let Ok(1..) = poll_fn(|cx| talk.pipe.poll_in(cx, &mut scratch)).await {}
        }
    };
    drop(timeout(Duration::from_millis(CLOSE_TIMEOUT), goodbye).await);
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Wrote,
    Nothing,
}

/// What both sides say beside records.
struct WebSocketSession<S> {
    pipe: SocketWriter<S>,
    times: Times,
    frames: Frames,
    /// what was read and waits for its turn
    heard: Vec<u8>,
    /// our control frames that are to be written, in order
    control: Vec<u8>,
    /// answers among them
    answers: usize,
    /// when the next ping is due
    ping_at: Millis,
    /// when the ping was sent that has no answer yet
    pinged: Option<Millis>,
    /// since when we wait for the client to close, or at least to have read our closing frame
    closing: Option<Millis>,
    /// both have closed, or the client is not to be listened to
    deaf: bool,
}

impl<S: Transport> WebSocketSession<ConnectionStream<S>> {
    fn new(pipe: SocketWriter<ConnectionStream<S>>, times: Times) -> Self {
        Self {
            pipe,
            times,
            frames: Frames::default(),
            heard: Vec::new(),
            control: Vec::new(),
            answers: 0,
            ping_at: now().saturating_add(times.ping_interval),
            pinged: None,
            closing: None,
            deaf: false,
        }
    }

    const fn is_open(&self) -> bool {
        self.closing.is_none()
    }

    fn is_over(&self) -> bool {
        self.deaf && self.control.is_empty() && self.pipe.blocked().is_none()
    }

    /// Says why, and no more.
    fn close(&mut self, code: Code) {
        if self.is_open() {
            self.say(CLOSE, &(code as u16).to_be_bytes());
            self.closing = Some(now());
        }
    }

    fn say(&mut self, opcode: u8, payload: &[u8]) {
        self.control.extend(frame_head(opcode, payload.len()));
        self.control.extend_from_slice(payload);
    }

    /// Between two pieces of records: puts our own frames in front.
    fn step(&mut self) -> Step {
        if self.control.is_empty() {
            return Step::Nothing;
        }
        self.answers = 0;
        self.pipe.put(Bytes::from(std::mem::take(&mut self.control)));
        Step::Wrote
    }

    /// Takes in what the client says, as long as not too many of its pings wait for an answer.
    fn listen(&mut self, cx: &mut Context<'_>) -> Result<(), ()> {
        let mut scratch = [0; SCRATCH];
        let most = self.times.read_limit.min(SCRATCH);
        for _ in 0..TURN {
            self.understand();
            if self.deaf || self.answers >= self.times.max_queue {
                return Ok(());
            }
            match self.pipe.poll_in(cx, &mut scratch[..most]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(count)) if count > 0 => self.heard.extend_from_slice(&scratch[..count]),
                Poll::Ready(_) => return Err(()),
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn understand(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        let mut rest = &heard[..];
        while !self.deaf && self.answers < self.times.max_queue {
            match self.frames.read(&mut rest, self.times.max_message) {
                Ok(None) => return,
                Ok(Some(ClientMessage::Ping(payload))) => {
                    if self.is_open() {
                        self.say(PONG, &payload);
                    }
                    self.answers += 1;
                }
                Ok(Some(ClientMessage::Pong)) => self.pinged = None,
                Ok(Some(ClientMessage::Close(code))) => {
                    self.deaf = true;
                    if self.is_open() {
                        // None is answered with none: there is no code 0.
                        let code = code.map(u16::to_be_bytes);
                        self.say(CLOSE, code.as_ref().map_or(&[], |code| &code[..]));
                        self.closing = Some(now());
                    }
                }
                Err(code) => {
                    self.close(code);
                    self.deaf = true;
                }
            }
        }
        self.heard = rest.to_vec();
    }

    /// When something has to be done without anybody asking.
    fn deadline(&self) -> Millis {
        if let Some(since) = self.pipe.blocked() {
            return since.saturating_add(self.times.stall).min(self.answer_due());
        }
        if let Some(since) = self.closing {
            return since + CLOSE_TIMEOUT;
        }
        if self.times.ping_interval == 0 { self.answer_due() } else { self.ping_at.min(self.answer_due()) }
    }

    /// By when the client must have answered a ping. One that still takes what was written before is not late.
    fn answer_due(&self) -> Millis {
        /// Never, and a timer can still be armed.
        const NEVER: Millis = Millis::MAX / 4;
        match self.pinged {
            Some(pinged) if self.times.ping_timeout > 0 => {
                pinged.max(self.pipe.moved).saturating_add(self.times.ping_timeout)
            }
            _ => NEVER,
        }
    }

    /// The deadline has passed: pings, closes, or finds that there is nothing more to wait for.
    fn is_late(&mut self) -> bool {
        let time = now();
        if self.pipe.blocked().is_some() {
            return true;
        }
        if self.closing.is_some_and(|since| time >= since + CLOSE_TIMEOUT) {
            return true;
        }
        if time >= self.answer_due() {
            self.close(Code::Failed);
        } else if self.times.ping_interval > 0 && time >= self.ping_at && self.is_open() {
            self.say(PING, b"");
            self.pinged.get_or_insert(time);
            self.ping_at = time.saturating_add(self.times.ping_interval);
        }
        false
    }
}
