//! The bytes of a connection that follows: what is to be written, since when the client takes none of it, and whether it
//! is still there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::deadline::{Millis, now};

/// See the module.
pub(crate) struct SocketWriter<S> {
    stream: S,
    out: Bytes,
    /// bytes that are handed to the system at once
    most: usize,
    /// since when the client takes nothing
    blocked: Option<Millis>,
    /// when the client was last seen to take something, after it took nothing for a moment
    pub(crate) moved: Millis,
    /// when something was last written
    pub(crate) wrote: Millis,
}

/// Reads of what a client says in one turn, so that nobody keeps the others waiting by talking.
const TURN: usize = 16;

impl<S: AsyncRead + AsyncWrite + Unpin> SocketWriter<S> {
    pub(crate) fn new(stream: S, head: Vec<u8>, most: usize) -> Self {
        let now = now();
        Self { stream, out: Bytes::from(head), most: most.max(1), blocked: None, moved: now, wrote: now }
    }

    /// What is to be written next, when all before it is.
    pub(crate) fn put(&mut self, bytes: Bytes) {
        self.out = bytes;
    }

    /// Ready when nothing is left to write.
    pub(crate) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_empty() && self.blocked.is_none() {
            return Poll::Ready(Ok(()));
        }
        let outcome = self.poll_write_out(cx);
        if outcome.is_pending() {
            self.blocked.get_or_insert_with(now);
        }
        outcome
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let piece = &self.out[..self.out.len().min(self.most)];
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, piece))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(count);
            self.wrote = now();
            if self.blocked.take().is_some() {
                self.moved = self.wrote;
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.blocked = None;
        self.out = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Since when the client takes nothing of what there is for it.
    pub(crate) const fn blocked(&self) -> Option<Millis> {
        self.blocked
    }

    /// What the client says, at most as much as fits; 0 = it has ended.
    pub(crate) fn poll_in(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(into);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Whether the client has left. What it says is nobody's business.
    pub(crate) fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        let mut scratch = [0; 1024];
        for _ in 0..TURN {
            match self.poll_in(cx, &mut scratch) {
                Poll::Pending => return false,
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return true,
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    /// Closes our half.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
