//! Server-Sent Events (WHATWG HTML, section 9.2), over a connection of HTTP/1 that was taken over and as the body of an
//! answer of HTTP/2.

use std::future::{poll_fn, ready};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, unfold};
use http::Version;
use tokio::time::{sleep, timeout};

use super::block::chunk;
use super::follower::{FollowEvent, Follower};
use super::socket_writer::SocketWriter;
use super::takeover::Takeover;
use super::takeover::raw_head;
use crate::http::connection::stream::ConnectionStream;
use crate::http::response::success::streaming;
use crate::net::deadline::now;
use crate::net::deadline::{LazyDeadline, timer};
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;
use crate::store::StoreError;

/// A stream that is silent for so long, milliseconds, says that it lives: else a proxy on the way would end it.
const HEARTBEAT_INTERVAL: u64 = 15_000;

/// A comment.
const HEARTBEAT: &[u8] = b":\n\n";

/// What a stream begins with: after its end the client comes back in a second.
const SSE_PREAMBLE: &[u8] = b"retry: 1000\n\n";

/// The end of a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How long the last bytes may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves a connection of HTTP/1 to its end.
///
/// A client that has closed its half has left: nobody else will ever tell that it does not listen any more.
pub(crate) async fn serve<S: Transport>(
    stream: ConnectionStream<S>,
    mut takeover: Takeover,
    stopping: Shutdown,
) {
    let chunked = takeover.start.version == Version::HTTP_11;
    let framed = |bytes: &[u8]| if chunked { chunk(bytes).0 } else { Bytes::copy_from_slice(bytes) };
    let last_chunk: &'static [u8] = if chunked { LAST_CHUNK } else { b"" };
    let mut begin = raw_head(&mut takeover.head, chunked);
    begin.extend_from_slice(&framed(SSE_PREAMBLE));
    let mut pipe = SocketWriter::new(stream, begin, usize::MAX);
    let (stall, mut end) = (takeover.settings.stall, takeover.end);
    if let Some(end) = &mut end {
        end.bytes += SSE_PREAMBLE.len() as u64;
    }
    let mut given = pin!(takeover.start.follower.given());
    let mut draining = pin!(stopping.drain.cancelled());
    let mut hurrying = pin!(stopping.hurry.cancelled());
    let timer = pin!(timer(now() + HEARTBEAT_INTERVAL));
    let mut alarm = LazyDeadline::new(now() + HEARTBEAT_INTERVAL, timer);
    let mut over = false;
    let whole = poll_fn(|cx| {
        if hurrying.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        loop {
            match pipe.poll_out(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => {
                    let since = pipe.blocked().unwrap_or_else(now);
                    return alarm.poll_expired(since + stall, cx).map(|()| false);
                }
            }
            if over {
                return Poll::Ready(true);
            }
            if pipe.has_left(cx) {
                return Poll::Ready(false);
            }
            let next = if draining.as_mut().poll(cx).is_ready() {
                Poll::Ready(Some(FollowEvent::Refused))
            } else {
                given.as_mut().poll_next(cx)
            };
            let (bytes, sent) = match next {
                Poll::Ready(Some(FollowEvent::Block(block))) if chunked => (block.chunk(), block.all().len()),
                Poll::Ready(Some(FollowEvent::Block(block))) => (block.all(), block.all().len()),
                Poll::Ready(Some(FollowEvent::Last(bytes))) => {
                    over = true;
                    (Bytes::from([&framed(&bytes)[..], last_chunk].concat()), bytes.len())
                }
                Poll::Ready(Some(FollowEvent::Refused)) => {
                    over = true;
                    (Bytes::from_static(last_chunk), 0)
                }
                Poll::Ready(Some(FollowEvent::Failed) | None) => return Poll::Ready(false),
                Poll::Pending => {
                    if alarm.poll_expired(pipe.wrote + HEARTBEAT_INTERVAL, cx).is_pending() {
                        return Poll::Pending;
                    }
                    (framed(HEARTBEAT), HEARTBEAT.len())
                }
            };
            pipe.put(bytes);
            if let Some(end) = &mut end {
                end.bytes += sent as u64;
            }
        }
    })
    .await;
    if whole {
        drop(timeout(CLOSE_TIMEOUT, poll_fn(|cx| pipe.poll_shutdown(cx))).await);
    }
}

/// Events as the body of an answer, until the instance stops: HTTP/2 lets streams end by themselves.
pub(crate) fn body(follower: Follower) -> warp::reply::Response {
    let stopping = follower.stopping();
    let hello = stream::once(ready(Ok(Bytes::from_static(SSE_PREAMBLE))));
    let events = unfold(Some(Box::pin(follower.given())), move |given| {
        let stopping = stopping.clone();
        async move {
            let mut given = given?;
            let next = tokio::select! {
                next = given.next() => next?,
                () = stopping.cancelled() => return None,
                () = sleep(Duration::from_millis(HEARTBEAT_INTERVAL)) => {
                    return Some((Ok(Bytes::from_static(HEARTBEAT)), Some(given)));
                }
            };
            match next {
                FollowEvent::Block(block) => Some((Ok(block.all()), Some(given))),
                FollowEvent::Last(bytes) => Some((Ok(bytes), None)),
                FollowEvent::Refused => None,
                FollowEvent::Failed => {
                    let error = StoreError::Read("a piece that follows".to_owned());
                    Some((Err(error), None))
                }
            }
        }
    });
    streaming(hello.chain(events))
}
