//! Wraps the transport of an HTTP/2 connection. It records whether the client accepts bytes, bounds
//! what one turn of the event loop reads, and ends a connection that floods the server with control
//! frames.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::PREFACE;
use super::activity::ConnectionActivity;
use super::control_budget::ControlBudget;
use super::frame_scanner::FrameScanner;
use crate::net::read_turn::ReadTurn;
use crate::net::transport::Transport;

/// Maximum number of bytes that one turn of the event loop reads. They may hold 1,900 frames.
const MAX_TURN_BYTES: usize = 32 * 1024;

/// Maximum number of bytes that are discarded after GOAWAY. If the server closed at once, the
/// kernel would reset the connection and the client might not read the GOAWAY.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;

/// The reason of GOAWAY for a client that floods the server (RFC 9113, section 7).
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// The transport of a connection.
pub(super) struct MonitoredTransport<S> {
    inner: S,
    activity: Arc<ConnectionActivity>,
    /// Bytes that were read before the protocol was known.
    unread: Bytes,
    turn: ReadTurn,
    received: FrameScanner,
    sent: FrameScanner,
    budget: ControlBudget,
    /// The highest stream of a request.
    last_stream: u32,
    /// Set when the control frames exceed their budget.
    ending: Option<Ending>,
}

/// The steps that end a connection.
#[derive(Debug)]
enum Ending {
    /// Sends the rest of GOAWAY.
    GoAway(Bytes),
    /// Discards what the client still sends, for so many bytes. This comes before the close, because
    /// rustls may not read a broken record after it has closed its half.
    Discard(usize),
    /// Closes the sending half.
    Close,
    /// The transport must not be used any more.
    Ended,
}

impl<S> MonitoredTransport<S> {
    /// Returns a transport over `inner` that reports to `activity`. Its first bytes are `unread`.
    pub(super) const fn new(inner: S, unread: Bytes, activity: Arc<ConnectionActivity>) -> Self {
        Self {
            inner,
            activity,
            unread,
            turn: ReadTurn::new(MAX_TURN_BYTES),
            received: FrameScanner::new(PREFACE.len() as u32),
            sent: FrameScanner::new(0),
            budget: ControlBudget::new(),
            last_stream: 0,
            ending: None,
        }
    }

    /// Counts the frames of received bytes, and begins to end the connection when the client sends
    /// too many.
    fn count_received(&mut self, bytes: &[u8]) {
        let (budget, last_stream) = (&mut self.budget, &mut self.last_stream);
        self.received.scan(bytes, |frame| {
            budget.received(frame);
            *last_stream = frame.requested_stream().unwrap_or(0).max(*last_stream);
        });
        if self.budget.is_exceeded() {
            self.activity.flood_begins();
            self.ending = Some(Ending::GoAway(go_away(self.last_stream)));
        }
    }

    /// Counts the frames of the first `written` bytes that were sent.
    fn count_sent<'b>(&mut self, bufs: impl IntoIterator<Item = &'b [u8]>, mut written: usize) {
        for bytes in bufs {
            let part = &bytes[..bytes.len().min(written)];
            self.sent.scan(part, |frame| self.budget.sent(frame));
            written -= part.len();
        }
    }
}

impl<S: Transport> MonitoredTransport<S> {
    fn poll_read_inner(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.turn.poll_may_read(cx));
        let before = buf.filled().len();
        let outcome = if self.unread.is_empty() {
            Pin::new(&mut self.inner).poll_read(cx, buf)
        } else {
            let count = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread[..count]);
            self.unread.advance(count);
            if self.unread.is_empty() {
                self.unread = Bytes::new();
            }
            Poll::Ready(Ok(()))
        };
        self.turn.note(&outcome, buf.filled().len() - before);
        outcome
    }

    /// Ends the connection: sends GOAWAY, discards what the client still sends, and fails then. Waits
    /// while a frame of h2 is incomplete, whose rest h2 writes.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.sent.is_within_frame() {
            return Poll::Pending;
        }
        let outcome = ready!(self.poll_ending(cx));
        // h2 may still write after an error of a read.
        self.ending = Some(Ending::Ended);
        Poll::Ready(outcome.err().unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into()))
    }

    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.ending {
                None | Some(Ending::Ended) => return Poll::Ready(Ok(())),
                Some(Ending::GoAway(rest)) if rest.has_remaining() => {
                    let count = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
                    if count == 0 {
                        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                    }
                    rest.advance(count);
                }
                Some(Ending::GoAway(_)) => {
                    ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
                    self.ending = Some(Ending::Discard(MAX_DISCARDED_BYTES));
                }
                Some(Ending::Discard(0)) => self.ending = Some(Ending::Close),
                Some(Ending::Close) => return Pin::new(&mut self.inner).poll_shutdown(cx),
                Some(Ending::Discard(rest)) => {
                    let rest = *rest;
                    let mut scratch = [0; 8 * 1024];
                    let mut buf = ReadBuf::new(&mut scratch);
                    ready!(self.poll_read_inner(cx, &mut buf))?;
                    let is_end = buf.filled().is_empty();
                    let rest = if is_end { 0 } else { rest.saturating_sub(buf.filled().len()) };
                    self.ending = Some(Ending::Discard(rest));
                }
            }
        }
    }
}

impl<S: Transport> AsyncRead for MonitoredTransport<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ending.is_some() {
            return self.poll_end(cx).map(Err);
        }
        let before = buf.filled().len();
        ready!(self.poll_read_inner(cx, buf))?;
        self.count_received(&buf.filled()[before..]);
        if self.ending.is_some() {
            buf.set_filled(before);
            return self.poll_end(cx).map(Err);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Transport> AsyncWrite for MonitoredTransport<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut buf = buf;
        if self.ending.is_some() {
            if !self.sent.is_within_frame() {
                return self.poll_end(cx).map(Err);
            }
            buf = &buf[..buf.len().min(self.sent.next_step())];
        }
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = outcome {
            self.count_sent([buf], written);
        }
        self.activity.note(outcome, true)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.ending.is_some() {
            let first = bufs.iter().find(|buf| !buf.is_empty());
            return self.poll_write(cx, first.map_or(&[], |buf| buf));
        }
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(written)) = outcome {
            self.count_sent(bufs.iter().map(|buf| &**buf), written);
        }
        self.activity.note(outcome, true)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.activity.note(outcome, false)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.activity.note(outcome, false)
    }
}

/// Returns the GOAWAY frame for a client that sends too many control frames (RFC 9113, section 6.8).
fn go_away(last_stream: u32) -> Bytes {
    const TEXT: &[u8] = b"too many control frames";
    const LEN: u8 = 8 + TEXT.len() as u8;
    let mut frame = vec![0, 0, LEN, 7, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&last_stream.to_be_bytes());
    frame.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
    frame.extend_from_slice(TEXT);
    frame.into()
}
