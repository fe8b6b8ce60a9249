//! Sends Server-Sent Events (WHATWG HTML, section 9.2) on an HTTP/1 connection that was taken over,
//! or as the body of an HTTP/2 answer.

use std::future::{self, poll_fn};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, unfold};
use http::Version;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::block::http_chunk;
use super::follower::{FollowEvent, Follower};
use super::socket_writer::SocketWriter;
use super::takeover::Takeover;
use crate::http::connection::stream::ConnectionStream;
use crate::http::observe::request_trace::AccessLogGuard;
use crate::http::response::head_writer::Framing;
use crate::http::response::success::streaming;
use crate::net::connection_driver::{ConnectionWork, drive};
use crate::net::deadline::Millis;
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;
use crate::store::StoreError;

/// Maximum time without an event, in milliseconds, before a heartbeat is sent. Otherwise a proxy
/// would close the idle connection.
const HEARTBEAT_INTERVAL_MS: Millis = 15_000;

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
    let is_chunked = takeover.new_follower.version == Version::HTTP_11;
    let mut head = takeover.head_bytes(if is_chunked { Framing::Chunked } else { Framing::UntilClose });
    head.extend_from_slice(&framed(SSE_PREAMBLE, is_chunked));
    let mut connection = EventConnection {
        writer: SocketWriter::new(stream, head, usize::MAX),
        events: pin!(takeover.new_follower.follower.events()),
        is_chunked,
        stall_timeout: takeover.settings.stall_timeout,
        access_log: takeover.access_log,
        is_draining: false,
        is_last: false,
    };
    connection.count_sent(SSE_PREAMBLE.len());
    if drive(&stopping, &mut connection).await == StreamEnd::Complete {
        drop(timeout(CLOSE_TIMEOUT, poll_fn(|cx| connection.writer.poll_shutdown(cx))).await);
    }
}

/// A connection of HTTP/1 that carries a stream of events.
struct EventConnection<'c, S, E> {
    writer: SocketWriter<S>,
    events: Pin<&'c mut E>,
    is_chunked: bool,
    /// Maximum time in milliseconds in which the client accepts no bytes.
    stall_timeout: Millis,
    access_log: Option<Box<AccessLogGuard>>,
    /// Set when the service stops. The stream then ends after the bytes that are being written.
    is_draining: bool,
    /// Set when the bytes that are being written are the last ones.
    is_last: bool,
}

/// The end of a stream of events.
#[derive(Debug, PartialEq, Eq)]
enum StreamEnd {
    /// The client has received the whole stream.
    Complete,
    /// The stream is cut: the client is gone or does not read, or the log cannot be read.
    Cut,
}

/// A time limit of a stream of events.
enum StreamLimit {
    /// The client accepts no bytes.
    Stalled,
    /// No event has come for the interval of a heartbeat.
    Silent,
}

impl<S, E> ConnectionWork for EventConnection<'_, S, E>
where
    S: AsyncRead + AsyncWrite + Unpin,
    E: Stream<Item = FollowEvent>,
{
    type Output = StreamEnd;
    type Limit = StreamLimit;

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<StreamEnd> {
        loop {
            if ready!(self.writer.poll_write_all(cx)).is_err() {
                return Poll::Ready(StreamEnd::Cut);
            }
            if self.is_last {
                return Poll::Ready(StreamEnd::Complete);
            }
            if self.writer.has_disconnected(cx) {
                return Poll::Ready(StreamEnd::Cut);
            }
            let event = if self.is_draining {
                Some(FollowEvent::Refused)
            } else {
                ready!(self.events.as_mut().poll_next(cx))
            };
            if self.put_event(event).is_break() {
                return Poll::Ready(StreamEnd::Cut);
            }
        }
    }

    fn deadline(&self) -> (Millis, StreamLimit) {
        match self.writer.blocked_since() {
            Some(blocked_since) => (blocked_since + self.stall_timeout, StreamLimit::Stalled),
            None => (self.writer.written_at + HEARTBEAT_INTERVAL_MS, StreamLimit::Silent),
        }
    }

    fn on_expired(&mut self, limit: StreamLimit) -> ControlFlow<StreamEnd> {
        match limit {
            StreamLimit::Stalled => ControlFlow::Break(StreamEnd::Cut),
            StreamLimit::Silent => {
                self.writer.put(framed(HEARTBEAT, self.is_chunked));
                self.count_sent(HEARTBEAT.len());
                ControlFlow::Continue(())
            }
        }
    }

    fn on_drain(&mut self, _: Millis) {
        self.is_draining = true;
    }

    fn on_hurry(&mut self) -> ControlFlow<StreamEnd> {
        ControlFlow::Break(StreamEnd::Cut)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, E> EventConnection<'_, S, E> {
    /// Puts the bytes of an event into the writer, which is empty. Breaks when the stream has no
    /// regular end.
    fn put_event(&mut self, event: Option<FollowEvent>) -> ControlFlow<()> {
        let last_chunk = if self.is_chunked { LAST_CHUNK } else { b"" };
        let (bytes, sent) = match event {
            Some(FollowEvent::Block(block)) => {
                let sent = block.all_lines().len();
                (if self.is_chunked { block.chunk() } else { block.all_lines() }, sent)
            }
            Some(FollowEvent::Last(bytes)) => {
                self.is_last = true;
                let framed = framed(&bytes, self.is_chunked);
                (Bytes::from([&framed[..], last_chunk].concat()), bytes.len())
            }
            Some(FollowEvent::Refused) => {
                self.is_last = true;
                (Bytes::from_static(last_chunk), 0)
            }
            Some(FollowEvent::Failed) | None => return ControlFlow::Break(()),
        };
        self.writer.put(bytes);
        self.count_sent(sent);
        ControlFlow::Continue(())
    }

    /// Counts bytes of the body for the access log.
    fn count_sent(&mut self, len: usize) {
        if let Some(access_log) = &mut self.access_log {
            access_log.bytes += len as u64;
        }
    }
}

/// Returns bytes of the body as they are sent.
fn framed(bytes: &[u8], is_chunked: bool) -> Bytes {
    if is_chunked { http_chunk(bytes).0 } else { Bytes::copy_from_slice(bytes) }
}

/// Returns an answer whose body is the stream of events.
///
/// The stream also ends when the instance stops, because HTTP/2 can end one stream and keep the
/// connection.
pub(crate) fn body(follower: Follower) -> warp::reply::Response {
    let stopping = follower.stopping();
    let preamble = stream::once(future::ready(Ok(Bytes::from_static(SSE_PREAMBLE))));
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
                FollowEvent::Block(block) => Some((Ok(block.all_lines()), Some(events))),
                FollowEvent::Last(bytes) => Some((Ok(bytes), None)),
                FollowEvent::Refused => None,
                FollowEvent::Failed => {
                    let error = StoreError::read(std::io::Error::other("no chunk for a follower"));
                    Some((Err(error), None))
                }
            }
        }
    });
    streaming(preamble.chain(body))
}
