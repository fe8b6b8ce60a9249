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
use super::follower::{Follower, Given};
use super::socket_writer::Pipe;
use super::takeover::Handover;
use super::takeover::raw_head;
use crate::http::connection::state::now;
use crate::http::connection::stream::ConnStream;
use crate::http::pipeline::WarpBody;
use crate::http::routes::get_logs::streaming;
use crate::http::server::http1::Stopping;
use crate::net::deadline::{Alarm, timer};
use crate::net::transport::Wire;
use crate::store::StoreError;

/// A stream that is silent for so long, milliseconds, says that it lives: else a proxy on the way would end it.
const HEARTBEAT: u64 = 15_000;

/// A comment.
const BEAT: &[u8] = b":\n\n";

/// What a stream begins with: after its end the client comes back in a second.
const HELLO: &[u8] = b"retry: 1000\n\n";

/// The end of a chunked body.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How long the last bytes may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Serves a connection of HTTP/1 to its end.
///
/// A client that has closed its half has left: nobody else will ever tell that it does not listen any more.
pub(crate) async fn serve<S: Wire>(stream: ConnStream<S>, mut handover: Handover, stopping: Stopping) {
    let chunked = handover.start.version == Version::HTTP_11;
    let framed = |bytes: &[u8]| if chunked { chunk(bytes).0 } else { Bytes::copy_from_slice(bytes) };
    let last_chunk: &'static [u8] = if chunked { LAST_CHUNK } else { b"" };
    let mut begin = raw_head(&mut handover.head, chunked);
    begin.extend_from_slice(&framed(HELLO));
    let mut pipe = Pipe::new(stream, begin, usize::MAX);
    let (stall, mut end) = (handover.settings.stall, handover.end);
    if let Some(end) = &mut end {
        end.bytes += HELLO.len() as u64;
    }
    let mut given = pin!(handover.start.follower.given());
    let mut draining = pin!(stopping.drain.cancelled());
    let mut hurrying = pin!(stopping.hurry.cancelled());
    let timer = pin!(timer(now() + HEARTBEAT));
    let mut alarm = Alarm::new(now() + HEARTBEAT, timer);
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
                    return alarm.poll_passed(since + stall, cx).map(|()| false);
                }
            }
            if over {
                return Poll::Ready(true);
            }
            if pipe.has_left(cx) {
                return Poll::Ready(false);
            }
            let next = if draining.as_mut().poll(cx).is_ready() {
                Poll::Ready(Some(Given::Refused))
            } else {
                given.as_mut().poll_next(cx)
            };
            let (bytes, sent) = match next {
                Poll::Ready(Some(Given::Block(block))) if chunked => (block.chunk(), block.all().len()),
                Poll::Ready(Some(Given::Block(block))) => (block.all(), block.all().len()),
                Poll::Ready(Some(Given::Last(bytes))) => {
                    over = true;
                    (Bytes::from([&framed(&bytes)[..], last_chunk].concat()), bytes.len())
                }
                Poll::Ready(Some(Given::Refused)) => {
                    over = true;
                    (Bytes::from_static(last_chunk), 0)
                }
                Poll::Ready(Some(Given::Failed) | None) => return Poll::Ready(false),
                Poll::Pending => {
                    if alarm.poll_passed(pipe.wrote + HEARTBEAT, cx).is_pending() {
                        return Poll::Pending;
                    }
                    (framed(BEAT), BEAT.len())
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
        drop(timeout(GOODBYE, poll_fn(|cx| pipe.poll_shutdown(cx))).await);
    }
}

/// Events as the body of an answer, until the instance stops: HTTP/2 lets streams end by themselves.
pub(crate) fn body(follower: Follower) -> WarpBody {
    let stopping = follower.stopping();
    let hello = stream::once(ready(Ok(Bytes::from_static(HELLO))));
    let events = unfold(Some(Box::pin(follower.given())), move |given| {
        let stopping = stopping.clone();
        async move {
            let mut given = given?;
            let next = tokio::select! {
                next = given.next() => next?,
                () = stopping.cancelled() => return None,
                () = sleep(Duration::from_millis(HEARTBEAT)) => {
                    return Some((Ok(Bytes::from_static(BEAT)), Some(given)));
                }
            };
            match next {
                Given::Block(block) => Some((Ok(block.all()), Some(given))),
                Given::Last(bytes) => Some((Ok(bytes), None)),
                Given::Refused => None,
                Given::Failed => {
                    let error = StoreError::Read("a piece that follows".to_owned());
                    Some((Err(error), None))
                }
            }
        }
    });
    streaming(hello.chain(events)).into_body()
}
