//! Records the activity of an HTTP/2 connection, from which its deadline follows: its streams, and
//! whether the client accepts bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;

use crate::http::connection::phase::{Phase, Timeouts};
use crate::http::connection::state::ConnectionState;
use crate::net::deadline::{Millis, now};

/// Silence after GOAWAY until a connection without streams is cut, and time for which a connection
/// that is ended because of its control frames may take to read its GOAWAY.
const CLOSE_TIMEOUT: Millis = 1000;

/// Tracks the activity of a connection, from which its deadline follows.
pub(super) struct ConnectionActivity {
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
    /// Time since which the connection ends because of its control frames, or 0.
    flooded_since: AtomicU64,
    /// The state of the connection, which says that it is silent while it has no stream.
    state: Arc<ConnectionState>,
}

impl ConnectionActivity {
    pub(super) fn new(state: Arc<ConnectionState>) -> Self {
        Self {
            open_streams: AtomicUsize::new(0),
            served: AtomicBool::new(false),
            idle_since: AtomicU64::new(now()),
            blocked_since: AtomicU64::new(0),
            last_write: AtomicU64::new(0),
            flooded_since: AtomicU64::new(0),
            state,
        }
    }

    /// Records the outcome of an operation on the transport. `has_written` is true for a write.
    pub(super) fn note<T>(&self, outcome: Poll<T>, has_written: bool) -> Poll<T> {
        if outcome.is_pending() {
            if !self.is_blocked() {
                self.blocked_since.store(now().max(1), Ordering::Relaxed);
                self.state.on_write_blocked();
            }
        } else {
            self.blocked_since.store(0, Ordering::Relaxed);
            self.state.on_written();
            if has_written {
                self.last_write.store(now(), Ordering::Relaxed);
            }
        }
        outcome
    }

    /// Records that the connection ends because of its control frames.
    pub(super) fn flood_begins(&self) {
        self.flooded_since.store(now().max(1), Ordering::Relaxed);
    }

    /// Reports whether the connection ends because of its control frames.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded_since.load(Ordering::Relaxed) != 0
    }

    /// Returns the number of open streams.
    pub(super) fn open_streams(&self) -> usize {
        self.open_streams.load(Ordering::Relaxed)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.open_streams() > 0
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked_since.load(Ordering::Relaxed) != 0
    }

    pub(super) fn has_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// Returns the deadline of the connection. `closing_since` is the time at which GOAWAY was
    /// sent.
    pub(super) fn deadline(&self, timeouts: &Timeouts, closing_since: Option<Millis>) -> Millis {
        let flooded = self.flooded_since.load(Ordering::Relaxed);
        if flooded != 0 {
            return flooded + CLOSE_TIMEOUT;
        }
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
    pub(super) fn begin_stream(self: &Arc<Self>) -> OpenStream {
        self.served.store(true, Ordering::Relaxed);
        self.open_streams.fetch_add(1, Ordering::Relaxed);
        self.state.enter(Phase::Handling);
        OpenStream(Arc::clone(self))
    }
}

/// Counts one open stream until it is dropped.
pub(super) struct OpenStream(Arc<ConnectionActivity>);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.idle_since.store(now(), Ordering::Relaxed);
        if self.0.open_streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.state.enter(Phase::Idle);
        }
    }
}
