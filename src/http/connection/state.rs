//! Where a connection of HTTP/1, or a stream of HTTP/2, is in its life, and until when it may stay there. One word of
//! memory that the stream, the service and the timer share: changing the phase costs a clock reading and a store, no
//! timer is touched.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;

use crate::config::HttpSettings;
use crate::net::deadline::{Millis, now};

/// The phases of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// accepted, no byte received
    New = 0,
    /// bytes of a request's head received
    Head = 1,
    /// the head is complete, the body is not
    Body = 2,
    /// the request is complete, the answer has not begun
    Handling = 3,
    /// the answer has begun
    Answering = 4,
    /// between requests
    Idle = 5,
    /// the answer is written; what the client still sends is thrown away
    Lingering = 6,
    /// HTTP/2: a piece of the answer waits for the client to make room for it
    Offering = 7,
    /// the answer is written by who took the connection over
    Following = 8,
}

impl Phase {
    const ALL: [Self; 9] = [
        Self::New,
        Self::Head,
        Self::Body,
        Self::Handling,
        Self::Answering,
        Self::Idle,
        Self::Lingering,
        Self::Offering,
        Self::Following,
    ];
}

/// Which limit of time was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expired {
    /// nobody sent anything: close without a word
    Silence,
    /// part of a head came: 408
    Head,
    /// part of a body came: 408
    Body,
    /// no answer was ready: 503
    Answer,
    /// the client does not read its answer: close
    Stalled,
}

/// How long each phase may take, milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    request: Millis,
    body_silence: Millis,
    response: Millis,
    keep_alive: Millis,
    /// bytes of a head, request line included
    head: usize,
}

impl Timeouts {
    pub(crate) const fn request(&self) -> Millis {
        self.request
    }

    pub(crate) const fn response(&self) -> Millis {
        self.response
    }

    pub(crate) const fn keep_alive(&self) -> Millis {
        self.keep_alive
    }
}

/// A client that closed its half of the connection waits for its answer, or it left: nothing tells which. What is
/// searched for so long is not waited for.
const PATIENCE: Millis = 1_000;

/// How long a refused client may be silent while what it still sends is thrown away, so that it can read why.
pub(crate) const LINGER: Millis = 2_000;

impl Timeouts {
    pub(crate) fn new(http: &HttpSettings) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4);
        Self {
            request: millis(http.request_timeout),
            body_silence: millis(http.body_timeout),
            response: millis(http.response_timeout),
            keep_alive: millis(http.keep_alive_timeout),
            head: usize::try_from(http.max_header_size).unwrap_or(usize::MAX),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// phase in the lowest byte, its begin above
    word: AtomicU64,
    /// when the last byte of a body came
    last_read: AtomicU64,
    /// since when the client takes nothing of what is written; 0 = it does
    blocked_since: AtomicU64,
    /// the answer in hand is overdue, or its body never came
    expired: AtomicU64,
    unread_body: AtomicBool,
    /// every byte of our answers was written
    flushed: AtomicBool,
    /// the head of the request in hand as it was received, see [`Self::head_names`]
    head: Mutex<Vec<u8>>,
    /// of HTTP/2: nobody but the reader of a body sees its pieces come
    is_stream: bool,
    /// of HTTP/2: what the client still sends and nobody reads
    unread: Mutex<Option<Box<Incoming>>>,
    /// since when a search for this request is under way; 0 = there is none
    searching_since: AtomicU64,
    timeouts: Timeouts,
}

const NOT_EXPIRED: u64 = 0;

impl ConnectionState {
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
            unread: Mutex::new(None),
            searching_since: AtomicU64::new(0),
            timeouts,
        }
    }

    /// Of a stream of HTTP/2 whose head just came.
    pub(crate) fn of_stream(timeouts: Timeouts) -> Self {
        Self { word: AtomicU64::new(pack(Phase::Head, now())), is_stream: true, ..Self::new(timeouts) }
    }

    pub(crate) fn phase(&self) -> Phase {
        unpack(self.word.load(Ordering::Relaxed)).0
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.word.store(pack(phase, now()), Ordering::Relaxed);
    }

    /// The head is complete. The time that a request may take runs on from its first byte.
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

    /// Something was done for an answer that has not begun: the time it may take begins anew.
    pub(crate) fn goes_on(&self) {
        if self.phase() == Phase::Handling {
            self.enter(Phase::Handling);
        }
    }

    pub(crate) fn search_begins(&self) {
        self.searching_since.store(now().max(1), Ordering::Relaxed);
    }

    pub(crate) fn search_ends(&self) {
        self.searching_since.store(0, Ordering::Relaxed);
    }

    /// A search takes so long that a client who says nothing more is taken for one who left.
    pub(crate) fn searches_long(&self) -> bool {
        let since = self.searching_since.load(Ordering::Relaxed);
        since != 0 && now() > since + PATIENCE
    }

    pub(crate) fn body_read(&self) {
        self.unread_body.store(false, Ordering::Relaxed);
        self.enter(Phase::Handling);
    }

    /// Nobody reads this body any more. A stream keeps it until its answer is taken, since many clients lose the answer
    /// when they are stopped in the middle of a body.
    pub(crate) fn leave(&self, body: Incoming) {
        if self.is_stream && self.has_unread_body() {
            *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(body));
        }
    }

    /// What [`Self::leave`] kept.
    pub(crate) fn left(&self) -> Option<Box<Incoming>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether it is a stream of HTTP/2.
    pub(crate) const fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Reports whether a follower may take the connection over: everything before the takeover is written.
    pub(crate) fn is_ready_for_takeover(&self) -> bool {
        self.phase() == Phase::Following && self.blocked_since.load(Ordering::Relaxed) == 0
    }

    /// A piece of a body was read.
    pub(crate) fn piece_read(&self) {
        if self.is_stream {
            self.last_read.store(now(), Ordering::Relaxed);
        }
    }

    /// There is no more time: whoever waits for an answer gets the one that it came too late.
    pub(crate) fn hurry(&self) {
        match self.phase() {
            Phase::Head => self.expire(Expired::Head),
            Phase::Body => self.expire(Expired::Body),
            Phase::Handling => self.expire(Expired::Answer),
            _ => {}
        }
    }

    /// Since when nothing is in hand and nothing is left to write; `None` = something is.
    pub(crate) fn idle_since(&self) -> Option<Millis> {
        let (phase, since) = unpack(self.word.load(Ordering::Relaxed));
        let idle =
            phase == Phase::Idle && self.is_flushed() && self.blocked_since.load(Ordering::Relaxed) == 0;
        idle.then_some(since)
    }

    pub(crate) fn flushed(&self) {
        self.flushed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.flushed.load(Ordering::Relaxed)
    }

    /// The client still sends a body that nobody reads.
    pub(crate) fn has_unread_body(&self) -> bool {
        self.unread_body.load(Ordering::Relaxed)
    }

    /// Bytes came from the client; true when they are more of a head than there may be.
    pub(crate) fn received(&self, bytes: &[u8]) -> bool {
        match self.phase() {
            phase @ (Phase::New | Phase::Idle | Phase::Head) => {
                let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
                if phase != Phase::Head {
                    head.clear();
                    self.enter(Phase::Head);
                }
                let end = head_end(bytes);
                let room = HEAD_KEPT.saturating_sub(head.len()).min(end.unwrap_or(bytes.len()));
                head.extend_from_slice(&bytes[..room]);
                end.is_none() && head.len() > self.timeouts.head && head_end(&head).is_none()
            }
            Phase::Body | Phase::Lingering => {
                self.last_read.store(now(), Ordering::Relaxed);
                false
            }
            _ => false,
        }
    }

    /// Whether the head of the request in hand, as received, has a field of this lower-case name. `None` when the
    /// head was not received on its own: it came behind another request.
    pub(crate) fn head_names(&self, name: &[u8]) -> Option<bool> {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = memchr::memmem::find(head.trim_ascii_start(), b"\r\n\r\n").is_some();
        whole.then(|| field(&head, name).is_some())
    }

    /// What hyper means by a head that is too large: the status that says it.
    pub(crate) fn why_too_large(&self) -> http::StatusCode {
        let head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        if memchr::memchr(b'\n', &head).is_none() {
            return http::StatusCode::URI_TOO_LONG;
        }
        let announced = field(&head, b"content-length").map(<[u8]>::trim_ascii);
        // A length that no number holds is the body's fault.
        if announced.is_some_and(|digits| digits.len() >= 19 && digits.iter().all(u8::is_ascii_digit)) {
            http::StatusCode::PAYLOAD_TOO_LARGE
        } else {
            http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        }
    }

    /// The kept head belongs to this request only: a request behind it must not be judged by it.
    pub(crate) fn forget_head(&self) {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        head.clear();
        if head.capacity() > 1024 {
            head.shrink_to(0);
        }
    }

    pub(crate) fn write_blocked(&self) {
        if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(now().max(1), Ordering::Relaxed);
        }
    }

    pub(crate) fn written(&self) {
        if self.blocked_since.load(Ordering::Relaxed) != 0 {
            self.blocked_since.store(0, Ordering::Relaxed);
            if self.phase() == Phase::Idle {
                self.enter(Phase::Idle);
            }
        }
    }

    /// Until when the connection may go on like this, and what it means when that is passed.
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
            Phase::Handling => (since + self.timeouts.response, Expired::Answer),
            // The answer streams as fast as it is taken; a client that takes nothing is seen by `blocked`.
            Phase::Answering | Phase::Following => (now() + self.timeouts.response, Expired::Stalled),
            Phase::Idle => (since + self.timeouts.keep_alive, Expired::Silence),
            Phase::Offering => (since + self.timeouts.response, Expired::Stalled),
            Phase::Lingering => {
                let silence = self.last_read.load(Ordering::Relaxed).max(since) + LINGER;
                (silence.min(since + self.timeouts.request), Expired::Stalled)
            }
        }
    }

    pub(crate) fn expire(&self, what: Expired) {
        self.expired.store(1 + what as u64, Ordering::Relaxed);
    }

    /// Some limit of time was passed.
    pub(crate) fn is_overdue(&self) -> bool {
        self.expired.load(Ordering::Relaxed) != NOT_EXPIRED
    }

    pub(crate) fn is_expired(&self, what: Expired) -> bool {
        self.expired.load(Ordering::Relaxed) == 1 + what as u64
    }
}

/// The value of a field of a head as it was received. Blank lines before a request are no part of it (RFC 9112,
/// section 2.2).
fn field<'h>(head: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    let head = head.trim_ascii_start();
    let end = memchr::memmem::find(head, b"\r\n\r\n").unwrap_or(head.len());
    head[..end].split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        line[..colon].eq_ignore_ascii_case(name).then(|| &line[colon + 1..])
    })
}

/// Where the blank line behind a head ends. Also that of senders who end lines with LF alone.
fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|end| match bytes.get(end + 1..) {
        Some([b'\r', b'\n', ..]) => Some(end + 3),
        Some([b'\n', ..]) => Some(end + 2),
        _ => None,
    })
}

/// What hyper may read at once. A batch in one piece is parsed where it lies, which is worth a fifth of its time.
pub(crate) const READ_AT_ONCE: usize = 32 * 1024;

/// More of a head than this is not looked at again. Longer ones than [`READ_AT_ONCE`] are refused by hyper.
const HEAD_KEPT: usize = 2 * READ_AT_ONCE;

const fn pack(phase: Phase, since: Millis) -> u64 {
    (since << 8) | phase as u64
}

fn unpack(word: u64) -> (Phase, Millis) {
    let phase = Phase::ALL.get((word & 0xff) as usize).copied().unwrap_or(Phase::New);
    (phase, word >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_with_a_blank_line() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n";
        assert_eq!(head_end(head), Some(head.len() - 8));
        assert_eq!(head_end(b"GET / HTTP/1.1\nHost: a\n\nbody"), Some(24));
        assert_eq!(head_end(b"GET / HTTP/1.1\r\nHost: a\r\n\r"), None);
        assert_eq!(head_end(b""), None);
    }

    #[test]
    fn a_head_that_is_too_long_is_noticed_before_its_end() {
        let http = HttpSettings { max_header_size: 300, ..HttpSettings::default() };
        let state = ConnectionState::new(Timeouts::new(&http));
        assert!(!state.received(b"GET / HTTP/1.1\r\n"));
        assert!(!state.received(&[b'a'; 200]));
        assert!(state.received(&[b'a'; 200]));
        let state = ConnectionState::new(Timeouts::new(&http));
        let whole = [&b"POST / HTTP/1.1\r\nHost: a\r\n\r\n"[..], &[b'a'; 1000]].concat();
        assert!(!state.received(&whole), "what follows the head is none of it");
        let state = ConnectionState::new(Timeouts::new(&http));
        let (first, second) = whole.split_at(28);
        assert!(!state.received(first));
        assert!(!state.received(second), "the blank line came in two pieces");
    }

    #[test]
    fn words_round_trip() {
        for phase in Phase::ALL {
            assert_eq!(unpack(pack(phase, 123_456_789_012)), (phase, 123_456_789_012));
        }
    }
}
