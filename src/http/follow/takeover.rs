//! Connections of HTTP/1 that hyper hands over to a follower.

use std::sync::{Arc, Mutex, PoisonError};

use http::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use http::{StatusCode, Version, response};

pub(crate) use super::follower::Follower;
use crate::config::HttpSettings;
use crate::http::observe::request_trace::AccessLogGuard;

/// A follower that was let in.
pub(crate) struct Start {
    pub(crate) follower: Follower,
    pub(crate) protocol: Protocol,
    pub(crate) version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Events,
    WebSocket,
}

/// Stands in the extensions of the answer that begins to follow.
#[derive(Clone)]
pub(crate) struct Following(Arc<Mutex<Option<Start>>>);

impl Following {
    pub(crate) fn new(start: Start) -> Self {
        Self(Arc::new(Mutex::new(Some(start))))
    }

    /// Takes it from an answer, where there is one.
    pub(crate) fn take<B>(response: &mut http::Response<B>) -> Option<Start> {
        let this = response.extensions_mut().remove::<Self>()?;
        this.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Start {
    /// What takes the connection over, with the head of its answer.
    pub(crate) fn into_takeover<B>(
        self,
        response: http::Response<B>,
        settings: &HttpSettings,
        end: Option<Box<AccessLogGuard>>,
    ) -> Takeover {
        Takeover { start: self, head: response.into_parts().0, settings: Times::of(settings), end }
    }
}

/// A connection of HTTP/1 that is no matter of hyper any more.
pub(crate) struct Takeover {
    pub(crate) start: Start,
    pub(crate) head: response::Parts,
    pub(crate) settings: Times,
    /// where somebody wants to know
    pub(crate) end: Option<Box<AccessLogGuard>>,
}

impl std::fmt::Debug for Takeover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Takeover").field("protocol", &self.start.protocol).finish_non_exhaustive()
    }
}

/// What of the configuration steers a connection that follows, in milliseconds and bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) stall: u64,
    pub(crate) max_message: u64,
    pub(crate) max_queue: usize,
    pub(crate) read_limit: usize,
    pub(crate) write_limit: usize,
    /// 0 = none
    pub(crate) ping_interval: u64,
    /// 0 = none
    pub(crate) ping_timeout: u64,
}

impl Times {
    fn of(http: &HttpSettings) -> Self {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4);
        let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        Self {
            stall: millis(http.response_timeout),
            max_message: http.websocket_max_size,
            max_queue: size(http.websocket_max_queue),
            read_limit: size(http.websocket_read_limit),
            write_limit: size(http.websocket_write_limit),
            ping_interval: millis(http.websocket_ping_interval),
            ping_timeout: millis(http.websocket_ping_timeout),
        }
    }
}

/// The head of an answer of HTTP/1.1 (RFC 9112, section 4).
pub(crate) fn raw_head(head: &mut response::Parts, chunked: bool) -> Vec<u8> {
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if chunked {
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let reason = head.status.canonical_reason().unwrap_or_default();
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let mut raw = format!("HTTP/1.1 {} {reason}\r\ndate: {date}\r\n", head.status.as_u16()).into_bytes();
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            raw.extend_from_slice(part);
        }
    }
    raw.extend_from_slice(b"\r\n");
    raw
}

/// The takeover that waits for a connection of HTTP/1, if one does.
#[derive(Debug, Default)]
pub(crate) struct TakeoverSlot(Mutex<Option<Box<Takeover>>>);

impl TakeoverSlot {
    /// Puts a takeover in.
    pub(crate) fn put(&self, takeover: Takeover) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(takeover));
    }

    /// Takes the takeover out.
    pub(crate) fn take(&self) -> Option<Box<Takeover>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
