//! Hands an HTTP/1 connection over from hyper to a follower.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Version, response};

pub(crate) use super::follower::Follower;
use crate::config::HttpSettings;
use crate::http::observe::request_trace::AccessLogGuard;
use crate::http::response::head_writer::{AfterAnswer, Framing, HeadWriter};

/// Holds a follower that was admitted and that no connection serves yet.
pub(crate) struct NewFollower {
    pub(crate) follower: Follower,
    pub(crate) protocol: Protocol,
    pub(crate) version: Version,
}

/// Names the protocol that carries the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Events,
    WebSocket,
}

/// Carries a new follower in the extensions of the answer that begins the stream.
#[derive(Clone)]
pub(crate) struct FollowExtension(Arc<Mutex<Option<NewFollower>>>);

impl FollowExtension {
    pub(crate) fn new(new_follower: NewFollower) -> Self {
        Self(Arc::new(Mutex::new(Some(new_follower))))
    }

    /// Takes the follower out of an answer. Returns `None` for any other answer.
    pub(crate) fn take<B>(response: &mut http::Response<B>) -> Option<NewFollower> {
        let this = response.extensions_mut().remove::<Self>()?;
        this.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl NewFollower {
    /// Returns the takeover that serves this follower, with the head of its answer.
    pub(crate) fn into_takeover<B>(
        self,
        response: http::Response<B>,
        settings: &HttpSettings,
        access_log: Option<Box<AccessLogGuard>>,
    ) -> Takeover {
        Takeover {
            new_follower: self,
            head: response.into_parts().0,
            settings: FollowSettings::new(settings),
            access_log,
        }
    }
}

/// Describes how a follower takes over an HTTP/1 connection that hyper no longer serves.
pub(crate) struct Takeover {
    pub(crate) new_follower: NewFollower,
    /// The head of the answer, which is not written yet.
    pub(crate) head: response::Parts,
    /// The part of the configuration that applies to this connection.
    pub(crate) settings: FollowSettings,
    /// Writes the line of the access log when the connection ends. `None` while the access log is
    /// off.
    pub(crate) access_log: Option<Box<AccessLogGuard>>,
}

impl Takeover {
    /// Returns the head of the answer as bytes. The answer is the last one of HTTP on its connection.
    pub(crate) fn head_bytes(&self, framing: Framing) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        HeadWriter::begin(&mut out, self.head.status)
            .fields(&self.head.headers)
            .finish(framing, AfterAnswer::Close);
        out
    }
}

impl fmt::Debug for Takeover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Takeover").field("protocol", &self.new_follower.protocol).finish_non_exhaustive()
    }
}

/// Holds the part of the configuration that applies to connections of followers. Times are in
/// milliseconds, sizes in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FollowSettings {
    /// Maximum time for which the client may accept no bytes.
    pub(crate) stall_timeout: u64,
    /// Maximum size of a message of the client.
    pub(crate) max_message_bytes: u64,
    /// Maximum number of pings of the client that wait for an answer.
    pub(crate) max_pending_pings: usize,
    /// Maximum size of one read.
    pub(crate) max_read_bytes: usize,
    /// Maximum size of one write, and of a chunk of records.
    pub(crate) max_write_bytes: usize,
    /// Time between two pings. 0 means no pings.
    pub(crate) ping_interval: u64,
    /// Maximum time until the client answers a ping. 0 means no limit.
    pub(crate) ping_timeout: u64,
}

impl FollowSettings {
    fn new(http: &HttpSettings) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4);
        let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        Self {
            stall_timeout: millis(http.response_timeout),
            max_message_bytes: http.websocket_max_size,
            max_pending_pings: size(http.websocket_max_queue),
            max_read_bytes: size(http.websocket_read_limit),
            max_write_bytes: size(http.websocket_write_limit),
            ping_interval: millis(http.websocket_ping_interval),
            ping_timeout: millis(http.websocket_ping_timeout),
        }
    }
}

/// Passes a takeover from the request to its HTTP/1 connection.
#[derive(Debug, Default)]
pub(crate) struct TakeoverSlot(Mutex<Option<Box<Takeover>>>);

impl TakeoverSlot {
    /// Stores a takeover.
    pub(crate) fn put(&self, takeover: Takeover) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(takeover));
    }

    /// Takes the stored takeover out.
    pub(crate) fn take(&self) -> Option<Box<Takeover>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
