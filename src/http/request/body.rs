//! Reading a body: never more than the cap of one request, never more in memory for all requests together than the
//! configured bound, and zero copies for a body that arrives in one piece.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Notify;

use crate::http::connection::phase::{Expired, Phase};
use crate::http::connection::state::ConnectionState;
use crate::http::response::problem::Problem;

/// What all bodies together hold in memory.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    used: AtomicU64,
    freed: Notify,
}

/// A part of the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }
}

impl Share {
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more of the budget, where that stays below `limit` with it.
    pub(crate) fn try_grow(&mut self, bytes: u64, limit: u64) -> bool {
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > limit {
            self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        self.bytes += bytes;
        true
    }

    /// Takes more of the budget while the body is still on its way.
    async fn grow(&mut self, bytes: u64, limit: u64, state: &ConnectionState) -> Result<(), Problem> {
        if self.try_grow(bytes, limit) {
            return Ok(());
        }
        // The client did its part: from here on it waits for us.
        state.enter(Phase::Handling);
        self.wait_for(bytes, limit).await?;
        state.request_begins(true);
        Ok(())
    }

    /// Takes more of the budget, and waits for it.
    ///
    /// # Errors
    /// 413 for what has no room even alone; 503 for a share that is large already: those who wait while they hold much
    /// would wait for each other.
    pub(crate) async fn wait_for(&mut self, bytes: u64, limit: u64) -> Result<(), Problem> {
        loop {
            let budget = Arc::clone(&self.budget);
            let freed = budget.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.try_grow(bytes, limit) {
                return Ok(());
            }
            // Waiting gives nothing, and neither does coming back.
            if self.bytes + bytes > limit {
                return Err(Problem::no_room(limit));
            }
            if self.bytes > MAX_HELD_WHILE_WAITING {
                return Err(Problem::overloaded("Too many large bodies at once."));
            }
            freed.await;
        }
    }

    /// Gives back what is more than this.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let surplus = self.bytes.saturating_sub(bytes);
        if surplus > 0 {
            self.bytes -= surplus;
            self.budget.used.fetch_sub(surplus, Ordering::Relaxed);
            self.budget.freed.notify_waiters();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// A whole body, and its share of the memory.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) bytes: Bytes,
    share: Share,
}

impl Collected {
    /// `share` is what `bytes` hold of the memory.
    pub(crate) const fn new(bytes: Bytes, share: Share) -> Self {
        Self { bytes, share }
    }

    pub(crate) fn into_parts(self) -> (Bytes, Share) {
        (self.bytes, self.share)
    }
}

/// A body that holds more than this does not wait for more.
const MAX_HELD_WHILE_WAITING: u64 = 1024 * 1024;

/// What a body of several pieces gets at first.
pub(crate) const FIRST_ROOM: u64 = 64 * 1024;

/// The bounds of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// of this body
    pub(crate) body: u64,
    /// of all bodies together
    pub(crate) memory: u64,
    /// the body of a caller who showed a good key: a part of the memory is for these alone
    pub(crate) keyed: bool,
}

impl BodyLimits {
    /// What a body can have room for at all.
    pub(crate) fn whole(&self) -> u64 {
        self.body.min(self.memory_for_this())
    }

    /// What all bodies may hold together with this one.
    pub(crate) const fn memory_for_this(&self) -> u64 {
        if self.keyed { self.memory } else { self.memory - self.memory / 8 }
    }
}

/// Reads the whole body.
pub(crate) async fn collect(
    body: &mut Incoming,
    caps: BodyLimits,
    budget: &Arc<Budget>,
    state: &ConnectionState,
) -> Result<Collected, Problem> {
    let mut share = budget.share();
    if body.is_end_stream() {
        return Ok(Collected { bytes: Bytes::new(), share });
    }
    // What can never have room is told at once.
    let cap = caps.whole();
    let announced = body.size_hint().lower();
    if announced > cap {
        return Err(Problem::too_large(cap));
    }
    let Some(first) = next_piece(body, state).await? else {
        state.body_read();
        return Ok(Collected { bytes: Bytes::new(), share });
    };
    let memory = caps.memory_for_this();
    share.grow(first.len() as u64, memory, state).await?;
    if body.is_end_stream() {
        state.body_read();
        return Ok(Collected { bytes: first, share });
    }
    let mut whole = BytesMut::new();
    let mut piece = first;
    loop {
        let len = (whole.len() + piece.len()) as u64;
        if len > cap {
            return Err(Problem::too_large(cap));
        }
        if whole.capacity() < whole.len() + piece.len() {
            // By what came, not by what is announced: an announcement costs the client nothing.
            let wanted = len.max(FIRST_ROOM).max(2 * whole.capacity() as u64).min(cap);
            let wanted = if announced > len { wanted.min(announced) } else { wanted };
            share.grow(wanted.saturating_sub(share.bytes), memory, state).await?;
            whole.reserve(wanted as usize - whole.len());
        }
        whole.extend_from_slice(&piece);
        if body.is_end_stream() {
            break;
        }
        let Some(next) = next_piece(body, state).await? else { break };
        piece = next;
    }
    state.body_read();
    Ok(Collected { bytes: whole.freeze(), share })
}

async fn next_piece(body: &mut Incoming, state: &ConnectionState) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending if state.is_expired(Expired::Body) => Poll::Ready(Some(Err(None))),
            Poll::Pending => Poll::Pending,
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Some))),
        });
        match frame.await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                // Trailers are no data.
                if let Ok(data) = frame.into_data() {
                    state.piece_read();
                    return Ok(Some(data));
                }
            }
            Some(Err(None)) => return Err(Problem::request_timeout()),
            Some(Err(Some(_))) => {
                return Err(Problem::bad_request("The body broke off or is malformed.").closing());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_bounded_together() {
        let budget = Arc::new(Budget::default());
        let mut one = budget.share();
        assert!(!one.try_grow(101, 100));
        assert!(one.try_grow(100, 100));
        let mut two = budget.share();
        assert!(!two.try_grow(1, 100));
        drop(one);
        assert!(two.try_grow(60, 100));
        let mut three = budget.share();
        assert!(three.try_grow(40, 100));
        assert!(!two.try_grow(1, 100));
        drop((two, three));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
