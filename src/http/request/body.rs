//! Reads a body within the size limit of one request and the memory limit of all requests together.
//! A body that arrives in one piece is not copied.

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
use crate::http::observe::counters::Reason;
use crate::http::response::problem::Problem;

/// Holds a whole body and its share of the memory budget.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) bytes: Bytes,
    share: MemoryShare,
}

impl Collected {
    /// Joins a body and its share. `share` covers the memory of `bytes`.
    pub(crate) const fn new(bytes: Bytes, share: MemoryShare) -> Self {
        Self { bytes, share }
    }

    /// Returns the body and its share.
    pub(crate) fn into_parts(self) -> (Bytes, MemoryShare) {
        (self.bytes, self.share)
    }
}

/// Size of the first buffer for a body that arrives in several pieces.
pub(crate) const INITIAL_BUFFER_BYTES: u64 = 64 * 1024;

/// Holds the limits of a body, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// Maximum size of this body.
    pub(crate) body: u64,
    /// Maximum memory of all bodies together.
    pub(crate) memory: u64,
    /// True when the client has presented a valid key. An eighth of the memory is reserved for such
    /// clients.
    pub(crate) keyed: bool,
}

impl BodyLimits {
    /// Returns the maximum size of this body when no other body is in memory.
    pub(crate) fn max_body_bytes(&self) -> u64 {
        self.body.min(self.memory_for_this())
    }

    /// Returns the maximum memory of all bodies, this one included.
    pub(crate) const fn memory_for_this(&self) -> u64 {
        if self.keyed { self.memory } else { self.memory - self.memory / 8 }
    }
}

/// Reads the whole body.
///
/// # Errors
/// Fails with 413 for a body beyond the limits, 408 for one that arrives too slowly, 400 for one
/// that breaks off or is malformed, and 503 while too many large bodies are in memory.
pub(crate) async fn collect(
    body: &mut Incoming,
    limits: BodyLimits,
    budget: &Arc<MemoryBudget>,
    state: &ConnectionState,
) -> Result<Collected, Problem> {
    let mut share = budget.share();
    if body.is_end_stream() {
        return Ok(Collected { bytes: Bytes::new(), share });
    }
    // A body whose announced length exceeds the limit is refused before it arrives.
    let max = limits.max_body_bytes();
    let announced = body.size_hint().lower();
    if announced > max {
        return Err(Problem::too_large(max));
    }
    let Some(first) = next_chunk(body, state).await? else {
        state.body_read();
        return Ok(Collected { bytes: Bytes::new(), share });
    };
    if first.len() as u64 > max {
        return Err(Problem::too_large(max));
    }
    let memory = limits.memory_for_this();
    share.grow(first.len() as u64, memory, state).await?;
    if body.is_end_stream() {
        state.body_read();
        return Ok(Collected { bytes: first, share });
    }
    let mut whole = BytesMut::new();
    let mut chunk = first;
    loop {
        let len = (whole.len() + chunk.len()) as u64;
        if len > max {
            return Err(Problem::too_large(max));
        }
        if whole.capacity() < whole.len() + chunk.len() {
            // The buffer grows with the received bytes and not with Content-Length, because a
            // client can announce any length at no cost. A client with a key that has sent a quarter
            // is believed: each further step would copy the body and leave its old place behind.
            let capacity = len.max(INITIAL_BUFFER_BYTES).max(2 * whole.capacity() as u64).min(max);
            let is_believed = limits.keyed && 4 * len >= announced;
            let capacity = match announced > len {
                true if is_believed => announced,
                true => capacity.min(announced),
                false => capacity,
            };
            share.grow(capacity.saturating_sub(share.bytes()), memory, state).await?;
            whole.reserve(capacity as usize - whole.len());
        }
        whole.extend_from_slice(&chunk);
        if body.is_end_stream() {
            break;
        }
        let Some(next) = next_chunk(body, state).await? else { break };
        chunk = next;
    }
    state.body_read();
    Ok(Collected { bytes: whole.freeze(), share })
}

/// Reads the next piece of a body. `None` is its end.
///
/// # Errors
/// Fails with 408 for a body that arrives too slowly, and 400 for one that breaks off or is malformed.
pub(crate) async fn next_chunk(
    body: &mut Incoming,
    state: &ConnectionState,
) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending if state.is_expired(Expired::Body) => Poll::Ready(Some(Err(None))),
            Poll::Pending => Poll::Pending,
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Some))),
        });
        match frame.await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                // Trailers are ignored.
                if let Ok(data) = frame.into_data() {
                    state.piece_read();
                    return Ok(Some(data));
                }
            }
            Some(Err(None)) => return Err(Problem::request_timeout()),
            Some(Err(Some(_))) => {
                let problem = Problem::bad_request("The body broke off or is malformed.");
                return Err(problem.counted_as(Reason::IncompleteBody).closing());
            }
        }
    }
}
