//! Wraps the byte stream of a connection. It records reads and writes in the connection's state,
//! gives hyper the bytes of one request at a time, replaces the refusals of hyper by problem
//! documents, and reads the rest of a refused request so that the client can read the refusal.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::RequestPart;
use super::phase::{Expired, Phase};
use super::state::ConnectionState;
use crate::guard::ClientAddr;
use crate::net::read_turn::ReadTurn;
use crate::net::small_reads::SmallReads;
use crate::net::transport::Transport;
use crate::net::turnstile::{Place, Turnstile};

/// Maximum number of bytes that one turn of the event loop reads.
const MAX_TURN_BYTES: usize = 64 * 1024;

/// Answers a client whose bytes are not a request.
pub(crate) trait UnparsedRequests: Send + Sync {
    /// Counts and logs the refusal, and returns the answer as bytes.
    fn refuse_unparsed(&self, peer: ClientAddr, status: StatusCode) -> Vec<u8>;
}

/// Passes the bytes of a connection between hyper and the socket.
pub(crate) struct ConnectionStream<S> {
    inner: S,
    state: Arc<ConnectionState>,
    refusals: Arc<dyn UnparsedRequests>,
    peer: ClientAddr,
    /// The refusal that replaces hyper's bytes, and the number of its bytes that are written.
    replacement: Option<(Vec<u8>, usize)>,
    /// Bytes that were read and put back. The next read returns them first.
    unread: Bytes,
    turn: ReadTurn,
    small_reads: SmallReads,
    /// Regulates requests that the client pipelines.
    turnstile: Arc<Turnstile>,
    /// Set while a pipelined request waits for its turn.
    place: Option<Arc<Place>>,
    /// The part of the current request that comes next.
    part: RequestPart,
    half_closed: bool,
    /// Set when the head exceeds its maximum size.
    head_too_long: bool,
    /// Set when the refusal was counted and encoded.
    refused: bool,
}

impl<S: Transport> ConnectionStream<S> {
    /// Creates the byte stream over `inner`.
    pub(crate) const fn new(
        inner: S,
        state: Arc<ConnectionState>,
        refusals: Arc<dyn UnparsedRequests>,
        peer: ClientAddr,
        turnstile: Arc<Turnstile>,
    ) -> Self {
        Self {
            inner,
            state,
            refusals,
            peer,
            replacement: None,
            unread: Bytes::new(),
            turn: ReadTurn::new(MAX_TURN_BYTES),
            small_reads: SmallReads::new(),
            turnstile,
            place: None,
            part: RequestPart::Head,
            half_closed: false,
            head_too_long: false,
            refused: false,
        }
    }

    /// Returns the transport below.
    pub(crate) const fn inner(&self) -> &S {
        &self.inner
    }

    /// Returns the transport below. A caller that reads from it or writes to it must update the
    /// state itself.
    pub(crate) const fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the transport below, and the bytes that were put back.
    pub(crate) fn into_parts(self) -> (S, Bytes) {
        (self.inner, self.unread)
    }

    /// Takes the bytes that were put back.
    pub(crate) fn take_unread(&mut self) -> Bytes {
        std::mem::take(&mut self.unread)
    }

    /// Puts bytes back. The next read returns them first.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        if self.part == RequestPart::Ended {
            // These bytes are no request that waits behind another one.
            self.part = RequestPart::Head;
        }
        self.unread = match self.take_unread() {
            later if later.is_empty() => bytes,
            later => [bytes, later].concat().into(),
        };
    }

    /// Records received bytes. Returns the number of those that belong to the current request.
    fn note_read(&mut self, bytes: &[u8]) -> usize {
        if self.part == RequestPart::Ended {
            self.part = RequestPart::Head;
        }
        let mut taken = 0;
        if self.part == RequestPart::Head {
            let progress = self.state.on_head_received(bytes);
            self.head_too_long = progress.is_too_long;
            taken = progress.taken;
            if let Some(part) = progress.part {
                self.part = part;
            }
        }
        let of_body = self.part.take_body(&bytes[taken..]);
        if of_body > 0 {
            self.state.on_body_received();
        }
        taken + of_body
    }

    /// Reads bytes of the current request from the socket. Keeps those of the next request.
    fn poll_read_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.turn.poll_may_read(cx));
        ready!(self.small_reads.poll_may_read(cx));
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.turn.note(&outcome, buf.filled().len() - before);
        ready!(outcome)?;
        let received = &buf.filled()[before..];
        if !received.is_empty() {
            let taken = self.note_read(received);
            self.small_reads.note(received.len(), self.part == RequestPart::Ended);
            if taken < received.len() {
                self.unread = Bytes::copy_from_slice(&received[taken..]);
                buf.set_filled(before + taken);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads bytes of the current request from those that were put back.
    fn read_unread(&mut self, buf: &mut ReadBuf<'_>) {
        let mut bytes = self.take_unread();
        let count = bytes.len().min(buf.remaining());
        let taken = self.note_read(&bytes[..count]);
        buf.put_slice(&bytes[..taken]);
        bytes.advance(taken);
        // An empty `Bytes` would still hold the whole buffer.
        if !bytes.is_empty() {
            self.unread = bytes;
        }
    }

    /// Reports whether bytes were put back.
    pub(crate) const fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Counts and logs a refusal, and returns its bytes.
    fn refusal(&self, status: StatusCode) -> Vec<u8> {
        let status = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => self.state.too_large_status(),
            other => other,
        };
        self.refusals.refuse_unparsed(self.peer, status)
    }

    /// Writes the rest of the replacement.
    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, written)) = &mut self.replacement {
            if *written == bytes.len() {
                self.replacement = None;
                break;
            }
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &bytes[*written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the refusal in place of hyper. Then fails, so that hyper ends the connection.
    fn poll_refuse(&mut self, status: StatusCode, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.refused {
            self.refused = true;
            self.replacement = Some((self.refusal(status), 0));
        }
        ready!(self.poll_replacement(cx))?;
        if self.head_too_long {
            // Without this, unread bytes would reset the connection before the client reads the
            // refusal.
            ready!(Pin::new(self).poll_shutdown(cx))?;
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reports whether hyper writes now without a call of the service. The phase decides that and
    /// not the text, because a log may contain text that looks like such an answer.
    fn is_written_by_hyper(&self) -> bool {
        let is_between_requests = matches!(self.state.phase(), Phase::New | Phase::Head | Phase::Idle);
        is_between_requests && self.state.is_flushed()
    }

    /// Records in the state whether the client accepts bytes.
    fn note_write<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &outcome {
            Poll::Pending => self.state.on_write_blocked(),
            Poll::Ready(_) => self.state.on_written(),
        }
        outcome
    }
}

impl<S: Transport> AsyncRead for ConnectionStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state.is_expired(Expired::Head) {
            return self.poll_refuse(StatusCode::REQUEST_TIMEOUT, cx);
        }
        if self.head_too_long {
            return self.poll_refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, cx);
        }
        let before = buf.filled().len();
        if self.unread.is_empty() {
            ready!(self.poll_read_socket(cx, buf))?;
        } else {
            if self.part == RequestPart::Ended {
                let this = &mut *self;
                ready!(this.turnstile.poll_pass(&mut this.place, cx));
            }
            self.read_unread(buf);
        }
        if self.head_too_long {
            buf.set_filled(before);
            return self.poll_refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Transport> AsyncWrite for ConnectionStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_written_by_hyper() && self.replacement.is_none() {
            self.replacement = bare_refusal(buf).map(|status| (self.refusal(status), 0));
        }
        if self.replacement.is_some() {
            let outcome = self.poll_replacement(cx).map_ok(|()| buf.len());
            return self.note_write(outcome);
        }
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note_write(outcome)
    }

    /// Returns false, so that hyper copies head and body into one buffer. A saved record is then 4
    /// % faster, and the copy costs little in a long answer.
    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes each time the answer makes progress, so a client that has left is noticed
        // here.
        if self.state.has_long_search() && self.inner.is_closed_by_peer() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        if matches!(outcome, Poll::Ready(Ok(()))) && self.state.phase() == Phase::Idle {
            self.state.mark_flushed();
        }
        self.note_write(outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.half_closed {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            self.half_closed = true;
            if self.state.has_unread_body() || self.state.phase() == Phase::Head {
                self.state.enter(Phase::Lingering);
            }
        }
        // Closing a socket with unread bytes resets the connection, and the client would lose its
        // answer.
        let mut scratch = [0; 16 * 1024];
        while self.state.phase() == Phase::Lingering {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {
                    self.state.on_body_received();
                }
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Returns the status of an error without a body, which is hyper's refusal of a malformed head.
fn bare_refusal(bytes: &[u8]) -> Option<StatusCode> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let status = StatusCode::from_bytes(status).ok().filter(StatusCode::is_client_error)?;
    let is_bare = memchr::memmem::find(bytes, b"content-type").is_none();
    is_bare.then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_errors_are_replaced() {
        let bare =
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(bare_refusal(bare).map(|status| status.as_u16()), Some(431));
        assert_eq!(bare_refusal(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), None);
        assert_eq!(bare_refusal(b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\r\n"), None);
        assert_eq!(bare_refusal(b"HTTP"), None);
    }
}
