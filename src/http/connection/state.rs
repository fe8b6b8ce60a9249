//! Holds the state of an HTTP/1 connection or an HTTP/2 stream, from which its deadline follows.
//!
//! The byte stream, the pipeline and the timer share one atomic word. Entering a phase costs one
//! read of the clock and one store, and does not touch the timer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hyper::body::Incoming;

use super::framing::{RequestPart, fields, head_end};
use super::phase::{Expired, Phase, Timeouts};
use crate::net::deadline::{Millis, now};
use crate::net::open_connection::Silence;

/// Duration of a search after which a client that closed its half of the connection counts as gone.
/// The server cannot tell whether such a client has left or still waits for its answer.
const HALF_CLOSED_SEARCH_TIMEOUT: Millis = 1_000;

/// Maximum silence of a refused client while the server discards the rest of its request. If the
/// server closed at once, the kernel would reset the connection and the client could not read the
/// refusal.
pub(crate) const LINGER_TIMEOUT: Millis = 2_000;

/// Holds the state that the byte stream, the pipeline and the timer of a connection share.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// The phase in the lowest byte, and the time at which it began in the other bytes.
    word: AtomicU64,
    /// Time at which the last byte of a body arrived.
    last_read: AtomicU64,
    /// Time since which the client has accepted no bytes, or 0 while it accepts them.
    blocked_since: AtomicU64,
    /// The expired time limit as `1 + Expired`, or [`NOT_EXPIRED`].
    expired: AtomicU64,
    /// Set while a part of the request's body is unread.
    unread_body: AtomicBool,
    /// Set when every byte of the answers is written.
    flushed: AtomicBool,
    /// The head of the current request as it was received, for [`Self::head_names`].
    head: Mutex<Vec<u8>>,
    /// True for an HTTP/2 stream, where only the reader of a body sees its chunks arrive.
    is_stream: bool,
    /// The body that no handler reads any more (HTTP/2 only).
    kept_body: Mutex<Option<Box<Incoming>>>,
    /// Time at which the search of this request began, or 0 while there is none.
    searching_since: AtomicU64,
    timeouts: Timeouts,
}

impl Silence for ConnectionState {
    fn silent_since(&self) -> Option<Millis> {
        let (phase, since) = unpack(self.word.load(Ordering::Relaxed));
        let is_silent = matches!(phase, Phase::New | Phase::Head | Phase::Idle)
            && self.blocked_since.load(Ordering::Relaxed) == 0;
        is_silent.then_some(since)
    }
}

/// The value of `expired` while no time limit has expired.
const NOT_EXPIRED: u64 = 0;

impl ConnectionState {
    /// Returns the state of a connection that was accepted now.
    pub(crate) fn new(timeouts: Timeouts) -> Self {
        Self {
            word: AtomicU64::new(pack(Phase::New, now())),
            last_read: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            expired: AtomicU64::new(NOT_EXPIRED),
            unread_body: AtomicBool::new(false),
            flushed: AtomicBool::new(true),
            head: Mutex::new(Vec::new()),
            is_stream: false,
            kept_body: Mutex::new(None),
            searching_since: AtomicU64::new(0),
            timeouts,
        }
    }

    /// Returns the state of an HTTP/2 stream whose head arrived now.
    pub(crate) fn for_stream(timeouts: Timeouts) -> Self {
        Self { word: AtomicU64::new(pack(Phase::Head, now())), is_stream: true, ..Self::new(timeouts) }
    }

    /// Returns the current phase.
    pub(crate) fn phase(&self) -> Phase {
        unpack(self.word.load(Ordering::Relaxed)).0
    }

    /// Enters `phase`, which begins now.
    pub(crate) fn enter(&self, phase: Phase) {
        self.word.store(pack(phase, now()), Ordering::Relaxed);
    }

    /// Records that the head is complete. The time limit of the request still counts from its first
    /// byte.
    pub(crate) fn request_begins(&self, has_body: bool) {
        self.expired.store(NOT_EXPIRED, Ordering::Relaxed);
        self.unread_body.store(has_body, Ordering::Relaxed);
        self.flushed.store(false, Ordering::Relaxed);
        if !has_body {
            return self.enter(Phase::Handling);
        }
        let (phase, since) = unpack(self.word.load(Ordering::Relaxed));
        let began = if phase == Phase::Head { since } else { now() };
        self.last_read.store(now(), Ordering::Relaxed);
        self.word.store(pack(Phase::Body, began), Ordering::Relaxed);
    }

    /// Records progress of an answer that has not begun. Its time limit begins again.
    pub(crate) fn goes_on(&self) {
        if self.phase() == Phase::Handling {
            self.enter(Phase::Handling);
        }
    }

    /// Records that a search begins for this request.
    pub(crate) fn search_begins(&self) {
        self.searching_since.store(now().max(1), Ordering::Relaxed);
    }

    /// Records that the search has ended.
    pub(crate) fn search_ends(&self) {
        self.searching_since.store(0, Ordering::Relaxed);
    }

    /// Reports whether the search takes so long that a half-closed client counts as gone.
    pub(crate) fn has_long_search(&self) -> bool {
        let since = self.searching_since.load(Ordering::Relaxed);
        since != 0 && now() > since + HALF_CLOSED_SEARCH_TIMEOUT
    }

    /// Records that the whole body was read.
    pub(crate) fn body_read(&self) {
        self.unread_body.store(false, Ordering::Relaxed);
        self.enter(Phase::Handling);
    }

    /// Records that the server does not read the body at the moment, so the client waits for it.
    pub(crate) fn enter_pause(&self) {
        self.enter(Phase::Paused);
    }

    /// Records that a handler reads the body on while it arrives. From now on the body may take any time,
    /// as long as it makes progress.
    pub(crate) fn upload_goes_on(&self) {
        self.last_read.store(now(), Ordering::Relaxed);
        self.enter(Phase::Uploading);
    }

    /// Takes the body that no handler reads any more. An HTTP/2 stream keeps it until the client
    /// has received its answer. Many clients lose the answer when their stream is reset in the
    /// middle of a body.
    pub(crate) fn keep_unread_body(&self, body: Incoming) {
        if self.is_stream && self.has_unread_body() {
            *self.kept_body.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(body));
        }
    }

    /// Returns the body that [`Self::keep_unread_body`] kept.
    pub(crate) fn take_unread_body(&self) -> Option<Box<Incoming>> {
        self.kept_body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns the seconds between two requests that answers on this connection announce.
    pub(crate) const fn keep_alive_hint(&self) -> Option<u64> {
        self.timeouts.keep_alive_hint
    }

    /// Reports whether this is the state of an HTTP/2 stream.
    pub(crate) const fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Reports whether a follower may take the connection over. All bytes before the takeover must
    /// be written.
    pub(crate) fn is_ready_for_takeover(&self) -> bool {
        self.phase() == Phase::Following && self.blocked_since.load(Ordering::Relaxed) == 0
    }

    /// Records that a chunk of a body was read.
    pub(crate) fn piece_read(&self) {
        if self.is_stream {
            self.last_read.store(now(), Ordering::Relaxed);
        }
    }

    /// Expires a request that has no answer yet. Its client gets 408 or 503.
    pub(crate) fn expire_unanswered(&self) {
        match self.phase() {
            Phase::Head => self.expire(Expired::Head),
            Phase::Body | Phase::Uploading | Phase::Paused => self.expire(Expired::Body),
            Phase::Handling => self.expire(Expired::Answer),
            _ => {}
        }
    }

    /// Returns the time since which the connection has had no request and no byte to write. Returns
    /// `None` while it has one.
    pub(crate) fn idle_since(&self) -> Option<Millis> {
        let (phase, since) = unpack(self.word.load(Ordering::Relaxed));
        let idle =
            phase == Phase::Idle && self.is_flushed() && self.blocked_since.load(Ordering::Relaxed) == 0;
        idle.then_some(since)
    }

    /// Records that every byte of the answers is written.
    pub(crate) fn mark_flushed(&self) {
        self.flushed.store(true, Ordering::Relaxed);
    }

    /// Reports whether every byte of the answers is written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed.load(Ordering::Relaxed)
    }

    /// Reports whether a part of the request's body is unread.
    pub(crate) fn has_unread_body(&self) -> bool {
        self.unread_body.load(Ordering::Relaxed)
    }

    /// Records bytes of a head.
    pub(crate) fn on_head_received(&self, bytes: &[u8]) -> HeadProgress {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        match self.phase() {
            Phase::Head => {}
            Phase::New | Phase::Idle => {
                head.clear();
                self.enter(Phase::Head);
            }
            _ => {
                head.clear();
                return HeadProgress { taken: 0, part: Some(RequestPart::Unknown), is_too_long: false };
            }
        }
        // Blank lines before a request line are no part of it (RFC 9112, section 2.2).
        let blank = if head.is_empty() {
            bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
        } else {
            0
        };
        let before = head.len();
        let max_kept = 2 * self.timeouts.max_head_bytes.max(READ_BUFFER_BYTES);
        let kept = max_kept.saturating_sub(before).min(bytes.len() - blank);
        head.extend_from_slice(&bytes[blank..blank + kept]);
        match head_end(&head, before.saturating_sub(2)) {
            Some(end) => {
                head.truncate(end);
                let part = Some(RequestPart::after_head(&head));
                HeadProgress { taken: blank + end - before, part, is_too_long: false }
            }
            None => HeadProgress {
                taken: bytes.len(),
                part: None,
                is_too_long: head.len() > self.timeouts.max_head_bytes,
            },
        }
    }

    /// Records bytes of a body, or of the rest of a refused request.
    pub(crate) fn on_body_received(&self) {
        if matches!(self.phase(), Phase::Body | Phase::Uploading | Phase::Lingering) {
            self.last_read.store(now(), Ordering::Relaxed);
        }
    }

    /// Reports whether the head of the current request has a field of this name. Returns `None` when
    /// the head is not known as it was received.
    pub(crate) fn head_names(&self, name: &[u8]) -> Option<bool> {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        head_end(&head, 0).map(|_| field(&head, name).is_some())
    }

    /// Returns the status for a head that hyper rejects as too large: 413, 414 or 431.
    pub(crate) fn too_large_status(&self) -> http::StatusCode {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        if !head.is_empty() && memchr::memchr(b'\n', &head).is_none() {
            return http::StatusCode::URI_TOO_LONG;
        }
        let content_length = field(&head, b"content-length");
        // hyper rejects a Content-Length that overflows an integer in the same way as a head that
        // is too large. Then the body is too large.
        if content_length.is_some_and(|digits| digits.len() >= 19 && digits.iter().all(u8::is_ascii_digit)) {
            http::StatusCode::PAYLOAD_TOO_LARGE
        } else {
            http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        }
    }

    /// Drops the received head, so that no check of the next request reads it.
    pub(crate) fn forget_head(&self) {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        head.clear();
        if head.capacity() > 1024 {
            head.shrink_to(0);
        }
    }

    /// Records that the client accepts no bytes.
    pub(crate) fn on_write_blocked(&self) {
        if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(now().max(1), Ordering::Relaxed);
        }
    }

    /// Records that the client accepts bytes.
    pub(crate) fn on_written(&self) {
        if self.blocked_since.load(Ordering::Relaxed) != 0 {
            self.blocked_since.store(0, Ordering::Relaxed);
            if self.phase() == Phase::Idle {
                self.enter(Phase::Idle);
            }
        }
    }

    /// Returns the deadline of the current phase, and the time limit that expires then.
    pub(crate) fn deadline(&self) -> (Millis, Expired) {
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        if blocked != 0 {
            return (blocked + self.timeouts.response, Expired::Stalled);
        }
        let (phase, since) = unpack(self.word.load(Ordering::Relaxed));
        match phase {
            Phase::New => (since + self.timeouts.request, Expired::Silence),
            Phase::Head => (since + self.timeouts.request, Expired::Head),
            Phase::Body => {
                let silence = self.last_read.load(Ordering::Relaxed) + self.timeouts.body_silence;
                (silence.min(since + self.timeouts.request), Expired::Body)
            }
            Phase::Uploading => {
                (self.last_read.load(Ordering::Relaxed) + self.timeouts.body_silence, Expired::Body)
            }
            // The client waits for the server.
            Phase::Paused => (now() + self.timeouts.response, Expired::Body),
            Phase::Handling => (since + self.timeouts.response, Expired::Answer),
            // The answer streams as fast as the client reads it. `blocked` detects a client that
            // does not read.
            Phase::Answering | Phase::Following => (now() + self.timeouts.response, Expired::Stalled),
            Phase::Idle => (since + self.timeouts.keep_alive, Expired::Silence),
            Phase::Offering => (since + self.timeouts.response, Expired::Stalled),
            Phase::Lingering => {
                let silence = self.last_read.load(Ordering::Relaxed).max(since) + LINGER_TIMEOUT;
                (silence.min(since + self.timeouts.request), Expired::Stalled)
            }
        }
    }

    /// Records that a time limit has expired.
    pub(crate) fn expire(&self, limit: Expired) {
        self.expired.store(1 + limit as u64, Ordering::Relaxed);
    }

    /// Notes that a time limit has expired, and reports whether its client still gets a refusal.
    ///
    /// At the first expiry the stream or the pipeline refuses the request. The connection or the
    /// stream is cut at the second one, and at once when the client is silent or does not read.
    pub(crate) fn may_refuse(&self, limit: Expired) -> bool {
        let is_first = !self.is_expired(limit);
        self.expire(limit);
        is_first && !matches!(limit, Expired::Silence | Expired::Stalled)
    }

    /// Reports whether any time limit has expired.
    pub(crate) fn is_overdue(&self) -> bool {
        self.expired.load(Ordering::Relaxed) != NOT_EXPIRED
    }

    /// Reports whether this time limit has expired.
    pub(crate) fn is_expired(&self, limit: Expired) -> bool {
        self.expired.load(Ordering::Relaxed) == 1 + limit as u64
    }
}

/// Returns the value of a field of a received head.
fn field<'h>(head: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    fields(head).find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Size of hyper's read buffer. A batch that arrives in one read is parsed without a copy, which
/// saves a fifth of its time.
pub(crate) const READ_BUFFER_BYTES: usize = 32 * 1024;

/// What received bytes mean for a head.
#[derive(Debug)]
pub(crate) struct HeadProgress {
    /// Number of bytes that belong to the head.
    pub(crate) taken: usize,
    /// The part of the request that follows, once the head is whole.
    pub(crate) part: Option<RequestPart>,
    /// Set when the head exceeds its maximum size before its end.
    pub(crate) is_too_long: bool,
}

/// Packs a phase and the time at which it began into one word.
const fn pack(phase: Phase, since: Millis) -> u64 {
    (since << 8) | phase as u64
}

/// Returns the phase and the time at which it began.
fn unpack(word: u64) -> (Phase, Millis) {
    let phase = Phase::ALL.get((word & 0xff) as usize).copied().unwrap_or(Phase::New);
    (phase, word >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpSettings;

    #[test]
    fn client_gets_one_refusal_before_its_connection_is_cut() {
        let state = ConnectionState::new(Timeouts::new(&HttpSettings::default()));
        for limit in [Expired::Head, Expired::Body, Expired::Answer] {
            assert!(state.may_refuse(limit), "{limit:?}");
            assert!(state.is_expired(limit) && !state.may_refuse(limit), "{limit:?}");
        }
        for limit in [Expired::Silence, Expired::Stalled] {
            assert!(!state.may_refuse(limit) && state.is_overdue(), "{limit:?}");
        }
    }

    #[test]
    fn too_long_head_is_detected_before_its_end() {
        let http = HttpSettings { max_header_size: 300, ..HttpSettings::default() };
        let new = || ConnectionState::new(Timeouts::new(&http));
        let state = new();
        assert!(!state.on_head_received(b"GET / HTTP/1.1\r\n").is_too_long);
        assert!(!state.on_head_received(&[b'a'; 200]).is_too_long);
        assert!(state.on_head_received(&[b'a'; 200]).is_too_long);
        let whole = [&b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &[b'a'; 1000]].concat();
        assert!(!new().on_head_received(&whole).is_too_long, "bytes after the head do not count");
        let state = new();
        let (first, second) = whole.split_at(27);
        assert!(!state.on_head_received(first).is_too_long);
        assert!(!state.on_head_received(second).is_too_long, "the blank line arrived in two reads");
    }

    #[test]
    fn a_head_is_known_as_it_was_received_at_every_cut() {
        let blank = "\r\n\n\r\n";
        let head = format!("{blank}POST / HTTP/1.1\r\nContent-Length: 3\r\nX: y\r\n\r\n");
        let bytes = format!("{head}abcPOST");
        for cut in 0..bytes.len() {
            let state = ConnectionState::new(Timeouts::new(&HttpSettings::default()));
            let first = state.on_head_received(&bytes.as_bytes()[..cut]);
            if cut >= head.len() {
                assert_eq!((first.taken, first.part), (head.len(), Some(RequestPart::Body(3))));
            } else {
                assert_eq!((first.taken, first.part), (cut, None));
                assert_eq!(state.head_names(b"content-length"), None);
                let second = state.on_head_received(&bytes.as_bytes()[cut..]);
                assert_eq!((second.taken, second.part), (head.len() - cut, Some(RequestPart::Body(3))));
            }
            assert_eq!(state.head_names(b"content-length"), Some(true), "{cut}");
            assert_eq!(state.head_names(b"transfer-encoding"), Some(false), "{cut}");
            state.forget_head();
            assert_eq!(state.head_names(b"content-length"), None);
        }
    }

    #[test]
    fn packed_phase_round_trips() {
        for phase in Phase::ALL {
            assert_eq!(unpack(pack(phase, 123_456_789_012)), (phase, 123_456_789_012));
        }
    }
}
