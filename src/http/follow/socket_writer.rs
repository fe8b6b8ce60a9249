//! Writes to the socket of a follower. It records since when the client has accepted no bytes, and
//! detects that the client has disconnected.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::deadline::{Millis, now};

/// Writes one buffer at a time to the socket of a follower.
pub(crate) struct SocketWriter<S> {
    /// The byte stream of the connection.
    stream: S,
    /// The bytes that are not written yet.
    out: Bytes,
    /// Maximum number of bytes of one write.
    max_write_bytes: usize,
    /// The time since which the client has accepted no bytes, or `None` while it accepts them.
    blocked_since: Option<Millis>,
    /// The time at which the client last accepted bytes after it had accepted none.
    pub(crate) progress_at: Millis,
    /// The time of the last write.
    pub(crate) written_at: Millis,
}

/// Maximum number of reads in one poll. It prevents a client that sends a lot from delaying the
/// others.
const MAX_READS_PER_POLL: usize = 16;

impl<S: AsyncRead + AsyncWrite + Unpin> SocketWriter<S> {
    pub(crate) fn new(stream: S, head: Vec<u8>, max_write_bytes: usize) -> Self {
        let now = now();
        Self {
            stream,
            out: Bytes::from(head),
            max_write_bytes: max_write_bytes.max(1),
            blocked_since: None,
            progress_at: now,
            written_at: now,
        }
    }

    /// Sets the bytes to write next. The bytes before them must be written already.
    pub(crate) fn put(&mut self, bytes: Bytes) {
        self.out = bytes;
    }

    /// Writes the bytes that are left. Ready when all bytes are written and flushed.
    pub(crate) fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.is_empty() && self.blocked_since.is_none() {
            return Poll::Ready(Ok(()));
        }
        let outcome = self.poll_write_and_flush(cx);
        if outcome.is_pending() {
            self.blocked_since.get_or_insert_with(now);
        }
        outcome
    }

    fn poll_write_and_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let part = &self.out[..self.out.len().min(self.max_write_bytes)];
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, part))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(count);
            self.written_at = now();
            if self.blocked_since.take().is_some() {
                self.progress_at = self.written_at;
            }
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.blocked_since = None;
        self.out = Bytes::new();
        Poll::Ready(Ok(()))
    }

    /// Returns the time since which the client has accepted no bytes.
    pub(crate) const fn blocked_since(&self) -> Option<Millis> {
        self.blocked_since
    }

    /// Reads bytes from the client into `into` and returns their number. 0 means that the client
    /// has closed its half.
    pub(crate) fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(into);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Reports whether the client has closed the connection. It discards the bytes that the client
    /// sends.
    pub(crate) fn has_disconnected(&mut self, cx: &mut Context<'_>) -> bool {
        let mut scratch = [0; 1024];
        for _ in 0..MAX_READS_PER_POLL {
            match self.poll_read_into(cx, &mut scratch) {
                Poll::Pending => return false,
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return true,
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    /// Closes the write half of the connection.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
