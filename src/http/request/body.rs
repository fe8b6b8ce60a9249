//! Reading a body: never more than the cap of one request, never more in memory for all requests together than the
//! configured bound, and zero copies for a body that arrives in one piece.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use hyper::body::Incoming;

use super::memory_budget::{MemoryBudget, MemoryShare};
use crate::http::connection::phase::Expired;
use crate::http::connection::state::ConnectionState;
use crate::http::response::problem::Problem;

/// A whole body, and its share of the memory.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) bytes: Bytes,
    share: MemoryShare,
}

impl Collected {
    /// `share` is what `bytes` hold of the memory.
    pub(crate) const fn new(bytes: Bytes, share: MemoryShare) -> Self {
        Self { bytes, share }
    }

    pub(crate) fn into_parts(self) -> (Bytes, MemoryShare) {
        (self.bytes, self.share)
    }
}

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
    budget: &Arc<MemoryBudget>,
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
            share.grow(wanted.saturating_sub(share.bytes()), memory, state).await?;
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
