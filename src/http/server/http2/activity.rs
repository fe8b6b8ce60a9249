//! Records the activity of an HTTP/2 connection, from which its deadline follows: its streams, and
//! whether the client accepts bytes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::connection::phase::Timeouts;
use crate::net::deadline::{Millis, now};
use crate::net::transport::Transport;

/// Silence after GOAWAY until a connection without streams is cut.
const CLOSE_TIMEOUT: Millis = 1000;

/// Tracks the activity of a connection, from which its deadline follows.
pub(crate) struct ConnectionActivity {
    /// Number of open streams.
    open_streams: AtomicUsize,
    /// Set when the connection has had a stream.
    served: AtomicBool,
    /// Time at which the connection began or its last stream ended.
    idle_since: AtomicU64,
    /// Time since which the client has accepted no bytes, or 0 while it accepts them.
    blocked_since: AtomicU64,
    /// Time of the last write that the client accepted.
    last_write: AtomicU64,
}

impl ConnectionActivity {
    pub(crate) fn new() -> Self {
        Self {
            open_streams: AtomicUsize::new(0),
            served: AtomicBool::new(false),
            idle_since: AtomicU64::new(now()),
            blocked_since: AtomicU64::new(0),
            last_write: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.open_streams.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked_since.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Returns the deadline of the connection. `closing_since` is the time at which GOAWAY was
    /// sent.
    pub(crate) fn deadline(&self, timeouts: &Timeouts, closing_since: Option<Millis>) -> Millis {
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        if blocked != 0 {
            return blocked + timeouts.response;
        }
        if self.is_busy() {
            // Each stream has its own timer. At this deadline the connection is only checked again.
            return now() + timeouts.keep_alive;
        }
        let idle = self.idle_since.load(Ordering::Relaxed);
        match closing_since {
            // The end of an answer may still be in the send buffer, so each accepted write extends
            // the time.
            Some(closing_since) => {
                let begin = closing_since.max(idle);
                let last_write = self.last_write.load(Ordering::Relaxed);
                (begin.max(last_write) + CLOSE_TIMEOUT).min(begin + timeouts.response)
            }
            None if self.has_served() => idle + timeouts.keep_alive,
            None => idle + timeouts.request,
        }
    }

    /// Counts a stream that begins.
    pub(crate) fn begin_stream(self: &Arc<Self>) -> OpenStream {
        self.served.store(true, Ordering::Relaxed);
        self.open_streams.fetch_add(1, Ordering::Relaxed);
        OpenStream(Arc::clone(self))
    }
}

/// Counts one open stream until it is dropped.
pub(crate) struct OpenStream(Arc<ConnectionActivity>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.idle_since.store(now(), Ordering::Relaxed);
        self.0.open_streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Wraps the transport of the connection and records whether the client accepts bytes.
pub(crate) struct MonitoredTransport<S> {
    inner: S,
    activity: Arc<ConnectionActivity>,
}

impl<S> MonitoredTransport<S> {
    /// Returns a transport over `inner` that reports to `activity`.
    pub(crate) const fn new(inner: S, activity: Arc<ConnectionActivity>) -> Self {
        Self { inner, activity }
    }

    /// Records the outcome of an operation. `has_written` is true for a write.
    fn note<T>(&self, outcome: Poll<T>, has_written: bool) -> Poll<T> {
        let activity = &self.activity;
        if outcome.is_pending() {
            if !activity.is_blocked() {
                activity.blocked_since.store(now().max(1), Ordering::Relaxed);
            }
        } else {
            activity.blocked_since.store(0, Ordering::Relaxed);
            if has_written {
                activity.last_write.store(now(), Ordering::Relaxed);
            }
        }
        outcome
    }
}

impl<S: Transport> AsyncRead for MonitoredTransport<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: Transport> AsyncWrite for MonitoredTransport<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note(outcome, true)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note(outcome, true)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.note(outcome, false)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.note(outcome, false)
    }
}
