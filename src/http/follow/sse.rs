//! Sends Server-Sent Events (WHATWG HTML, section 9.2) on an HTTP/1 connection that was taken over,
//! or as the body of an HTTP/2 answer.

use std::future::{poll_fn, ready};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, unfold};
use http::Version;
use tokio::time::{sleep, timeout};

use super::block::http_chunk;
use super::follower::{FollowEvent, Follower};
use super::socket_writer::SocketWriter;
use super::takeover::Takeover;
use crate::http::connection::stream::ConnectionStream;
use crate::http::response::head_writer::Framing;
use crate::http::response::success::streaming;
use crate::net::deadline::{LazyDeadline, now, timer};
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;
use crate::store::StoreError;

/// Maximum time without an event, in milliseconds, before a heartbeat is sent. Otherwise a proxy
/// would close the idle connection.
const HEARTBEAT_INTERVAL_MS: u64 = 15_000;

/// A comment of the event stream, which clients ignore.
const HEARTBEAT: &[u8] = b":\n\n";

/// The first bytes of a stream. They make the client reconnect one second after the stream has
/// ended.
const SSE_PREAMBLE: &[u8] = b"retry: 1000\n\n";

/// The end of a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Maximum time for closing the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves an HTTP/1 connection until it ends.
///
/// A client that has closed its half of the connection counts as gone. There is no other sign that
/// it no longer listens.
pub(crate) async fn serve<S: Transport>(stream: ConnectionStream<S>, takeover: Takeover, stopping: Shutdown) {
    let chunked = takeover.new_follower.version == Version::HTTP_11;
    let framed = |bytes: &[u8]| if chunked { http_chunk(bytes).0 } else { Bytes::copy_from_slice(bytes) };
    let last_chunk: &'static [u8] = if chunked { LAST_CHUNK } else { b"" };
    let mut head = takeover.head_bytes(if chunked { Framing::Chunked } else { Framing::UntilClose });
    head.extend_from_slice(&framed(SSE_PREAMBLE));
    let mut writer = SocketWriter::new(stream, head, usize::MAX);
    let (stall_timeout, mut access_log) = (takeover.settings.stall_timeout, takeover.access_log);
    if let Some(access_log) = &mut access_log {
        access_log.bytes += SSE_PREAMBLE.len() as u64;
    }
    let mut events = pin!(takeover.new_follower.follower.events());
    let mut draining = pin!(stopping.drain.cancelled());
    let mut hurrying = pin!(stopping.hurry.cancelled());
    let timer = pin!(timer(now() + HEARTBEAT_INTERVAL_MS));
    let mut deadline = LazyDeadline::new(now() + HEARTBEAT_INTERVAL_MS, timer);
    let mut is_last = false;
    let is_complete = poll_fn(|cx| {
        if hurrying.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        loop {
            match writer.poll_write_all(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => {
                    let blocked_since = writer.blocked_since().unwrap_or_else(now);
                    return deadline.poll_expired(blocked_since + stall_timeout, cx).map(|()| false);
                }
            }
            if is_last {
                return Poll::Ready(true);
            }
            if writer.has_disconnected(cx) {
                return Poll::Ready(false);
            }
            let next = if draining.as_mut().poll(cx).is_ready() {
                Poll::Ready(Some(FollowEvent::Refused))
            } else {
                events.as_mut().poll_next(cx)
            };
            let (bytes, sent) = match next {
                Poll::Ready(Some(FollowEvent::Block(block))) if chunked => {
                    (block.chunk(), block.all_records().len())
                }
                Poll::Ready(Some(FollowEvent::Block(block))) => {
                    (block.all_records(), block.all_records().len())
                }
                Poll::Ready(Some(FollowEvent::Last(bytes))) => {
                    is_last = true;
                    (Bytes::from([&framed(&bytes)[..], last_chunk].concat()), bytes.len())
                }
                Poll::Ready(Some(FollowEvent::Refused)) => {
                    is_last = true;
                    (Bytes::from_static(last_chunk), 0)
                }
                Poll::Ready(Some(FollowEvent::Failed) | None) => return Poll::Ready(false),
                Poll::Pending => {
                    if deadline.poll_expired(writer.written_at + HEARTBEAT_INTERVAL_MS, cx).is_pending() {
                        return Poll::Pending;
                    }
                    (framed(HEARTBEAT), HEARTBEAT.len())
                }
            };
            writer.put(bytes);
            if let Some(access_log) = &mut access_log {
                access_log.bytes += sent as u64;
            }
        }
    })
    .await;
    if is_complete {
        drop(timeout(CLOSE_TIMEOUT, poll_fn(|cx| writer.poll_shutdown(cx))).await);
    }
}

/// Returns an answer whose body is the stream of events.
///
/// The stream also ends when the instance stops, because HTTP/2 can end one stream and keep the
/// connection.
pub(crate) fn body(follower: Follower) -> warp::reply::Response {
    let stopping = follower.stopping();
    let preamble = stream::once(ready(Ok(Bytes::from_static(SSE_PREAMBLE))));
    let body = unfold(Some(Box::pin(follower.events())), move |events| {
        let stopping = stopping.clone();
        async move {
            let mut events = events?;
            let next = tokio::select! {
                next = events.next() => next?,
                () = stopping.cancelled() => return None,
                () = sleep(Duration::from_millis(HEARTBEAT_INTERVAL_MS)) => {
                    return Some((Ok(Bytes::from_static(HEARTBEAT)), Some(events)));
                }
            };
            match next {
                FollowEvent::Block(block) => Some((Ok(block.all_records()), Some(events))),
                FollowEvent::Last(bytes) => Some((Ok(bytes), None)),
                FollowEvent::Refused => None,
                FollowEvent::Failed => {
                    let error = StoreError::Read("a chunk for a follower".to_owned());
                    Some((Err(error), None))
                }
            }
        }
    });
    streaming(preamble.chain(body))
}
