//! The byte stream of a connection: tells the connection's phase what goes in and out, gives the refusals that hyper
//! writes by itself the form of ours, and lets a refused client finish speaking so that it can read why.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::state::{ConnectionState, Expired, Phase};
use crate::guard::ClientAddr;
use crate::net::transport::Transport;

/// Answers clients whose bytes never became a request.
pub(crate) trait UnparsedRequests: Send + Sync {
    /// Counts and logs the refusal, and returns the answer as bytes.
    fn refuse_unparsed(&self, peer: ClientAddr, status: StatusCode) -> Vec<u8>;
}

/// See the module.
pub(crate) struct ConnectionStream<S> {
    inner: S,
    state: Arc<ConnectionState>,
    refusals: Arc<dyn UnparsedRequests>,
    peer: ClientAddr,
    /// bytes that go out instead of those hyper wrote, and how many of them are out
    instead: Option<(Vec<u8>, usize)>,
    /// read already, and given back
    ahead: Bytes,
    half_closed: bool,
    /// more of a head came than there may be
    too_long: bool,
    /// the client has its refusal
    told: bool,
}

impl<S: Transport> ConnectionStream<S> {
    pub(crate) const fn new(
        inner: S,
        state: Arc<ConnectionState>,
        refusals: Arc<dyn UnparsedRequests>,
        peer: ClientAddr,
    ) -> Self {
        Self {
            inner,
            state,
            refusals,
            peer,
            instead: None,
            ahead: Bytes::new(),
            half_closed: false,
            too_long: false,
            told: false,
        }
    }

    /// The bytes below.
    pub(crate) const fn inner(&self) -> &S {
        &self.inner
    }

    /// The bytes below, for whoever knows what is next and keeps the phase in step.
    pub(crate) const fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes what was given back.
    pub(crate) fn take_unread(&mut self) -> Bytes {
        std::mem::take(&mut self.ahead)
    }

    /// Gives bytes back: they are read first.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        self.ahead = bytes;
    }

    pub(crate) const fn has_unread(&self) -> bool {
        !self.ahead.is_empty()
    }

    fn refusal(&self, status: StatusCode) -> Vec<u8> {
        let status = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => self.state.why_too_large(),
            other => other,
        };
        self.refusals.refuse_unparsed(self.peer, status)
    }

    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some((bytes, written)) = &mut self.instead {
            if *written == bytes.len() {
                self.instead = None;
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

    /// Answers in hyper's place, and has hyper give up.
    fn poll_refuse(&mut self, status: StatusCode, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.told {
            self.told = true;
            self.instead = Some((self.refusal(status), 0));
        }
        ready!(self.poll_instead(cx))?;
        if self.too_long {
            // What is still on its way must not reset the connection before the refusal was read.
            ready!(Pin::new(self).poll_shutdown(cx))?;
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Whether what is written now answers a head for which no service was called. The bytes alone do not tell: a log
    /// may hold any text.
    fn is_hypers_own(&self) -> bool {
        let between = matches!(self.state.phase(), Phase::New | Phase::Head | Phase::Idle);
        between && self.state.is_flushed()
    }

    fn note_write<T>(&self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match &outcome {
            Poll::Pending => self.state.write_blocked(),
            Poll::Ready(_) => self.state.written(),
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
        if self.too_long {
            return self.poll_refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, cx);
        }
        let before = buf.filled().len();
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        } else {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            if self.ahead.is_empty() {
                self.ahead = Bytes::new();
            }
        }
        if buf.filled().len() > before && self.state.received(&buf.filled()[before..]) {
            self.too_long = true;
            buf.set_filled(before);
            return self.poll_refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, cx);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Transport> AsyncWrite for ConnectionStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_hypers_own() && self.instead.is_none() {
            self.instead = bare_refusal(buf).map(|status| (self.refusal(status), 0));
        }
        if self.instead.is_some() {
            let outcome = self.poll_instead(cx).map_ok(|()| buf.len());
            return self.note_write(outcome);
        }
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note_write(outcome)
    }

    /// So that hyper puts head and body into one piece: that makes a saved record 4 % faster, and what it copies of long
    /// answers is little beside the rest of their way.
    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper comes by here whenever something was done for the answer.
        if self.state.searches_long() && self.inner.is_closed_by_peer() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        if matches!(outcome, Poll::Ready(Ok(()))) && self.state.phase() == Phase::Idle {
            self.state.flushed();
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
        // Closing a socket with unread bytes in it resets the connection, and the client would lose our answer.
        let mut scratch = [0; 16 * 1024];
        while self.state.phase() == Phase::Lingering {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {
                    self.state.received(buf.filled());
                }
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// The status of an answer without body or type: hyper's refusal of a malformed head.
fn bare_refusal(bytes: &[u8]) -> Option<StatusCode> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?.get(..3)?;
    let status = StatusCode::from_bytes(status).ok().filter(StatusCode::is_client_error)?;
    let bare = memchr::memmem::find(bytes, b"content-type").is_none();
    bare.then_some(status)
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
