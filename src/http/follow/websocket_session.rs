//! The control frames of one WebSocket connection (RFC 6455, section 5.5): pings, pongs, the close, and
//! the messages of the client, which are read and discarded.

use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::block::frame_head;
use super::socket_writer::SocketWriter;
use super::takeover::FollowSettings;
use super::ws_frames::{CLOSE, ClientMessage, CloseCode, FrameReader, PING, PONG};
use crate::net::deadline::{Millis, now};

/// Maximum time, in milliseconds, until the client answers a close frame.
pub(crate) const CLOSE_TIMEOUT_MS: Millis = 1000;

/// Maximum number of reads in one poll.
const MAX_READS_PER_POLL: usize = 16;

/// Maximum number of bytes of one read.
const MAX_READ_BYTES: usize = 4096;

/// Holds the state of one WebSocket connection, except for the records.
pub(crate) struct WebSocketSession<S> {
    /// The socket.
    pub(crate) writer: SocketWriter<S>,
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

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketSession<S> {
    pub(crate) fn new(writer: SocketWriter<S>, settings: FollowSettings) -> Self {
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

    pub(crate) const fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ignores_input && self.control.is_empty() && self.writer.blocked_since().is_none()
    }

    /// Sends a close frame with `code`, unless one was sent already.
    pub(crate) fn close(&mut self, code: CloseCode) {
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
    pub(crate) fn put_control_frames(&mut self) -> bool {
        if self.control.is_empty() {
            return false;
        }
        self.pending_pongs = 0;
        self.writer.put(Bytes::from(mem::take(&mut self.control)));
        true
    }

    /// Reads the client's frames while fewer pings than the limit wait for an answer.
    pub(crate) fn read_input(&mut self, cx: &mut Context<'_>) -> Result<(), ()> {
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

    /// Closes the write half of the connection and reads until the client closes its half. Closing a
    /// socket with unread bytes resets the connection, and the client may lose the close frame.
    pub(crate) async fn close_socket(&mut self) {
        if poll_fn(|cx| self.writer.poll_shutdown(cx)).await.is_ok() {
            let mut scratch = [0; 1024];
            while let Ok(1..) = poll_fn(|cx| self.writer.poll_read_into(cx, &mut scratch)).await {}
        }
    }

    /// Returns the time at which the session must act even if the socket is not ready.
    pub(crate) fn deadline(&self) -> Millis {
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
    pub(crate) fn handle_deadline(&mut self) -> bool {
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
