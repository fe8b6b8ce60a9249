//! The short way of a record: from the bytes of a connection into the batch in hand, without hyper, for the requests
//! that [`recognize`](super::recognize) recognises. That makes a saved record a third cheaper. Whatever else comes, and whatever would be
//! refused for what it says, is left to hyper and `service` as it came, with nothing counted or changed: for a client the two
//! ways are one.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::WaitForCancellationFuture;

use super::disk_reply::{Answer, DiskReplier, DiskReply};
use super::recognize::{Bounds, Recognized, recognize};
use super::record::{AppendStart, CachedKey, Record};
use crate::guard::{ClientAddr, Quota};
use crate::http::app::App;
use crate::http::connection::state::{ConnectionState, Phase};
use crate::http::connection::stream::ConnectionStream;
use crate::http::policy::Policy;
pub(crate) use crate::http::response::prepared_heads::PreparedHeads;
use crate::http::response::prepared_heads::{ReplyExtras, write_response};
use crate::http::response::problem::Problem;
use crate::http::response::success::saved_json;
use crate::http::server::client::Client;
use crate::http::server::client::buffer_release_at;
use crate::net::deadline::{LazyDeadline, timer};
use crate::net::deadline::{Millis, now};
use crate::net::transport::Transport;
use crate::store::{Cursor, Saved};

/// What is read at once, and the longest request for the short way.
const BUFFER_BYTES: usize = 16 * 1024;

/// Many clients send head and body in two pieces, one right after the other. Who is slower is for the long way, which
/// knows how slow one may be.
const REST_OF_BODY_TIMEOUT: Millis = 50;

/// What became of a connection.
pub(crate) enum FastPathOutcome<S> {
    /// what comes next is for the long way
    Other(ConnectionStream<S>),
    /// nothing came for a while
    Silent(ConnectionStream<S>),
    Ended,
}

/// Whether a connection of this client may take the short way at all.
pub(crate) const fn serves(peer: ClientAddr) -> bool {
    matches!(peer, ClientAddr::Ip(_))
}

/// Serves records as long as nothing else comes.
pub(crate) async fn records<S: Transport, H>(
    mut stream: ConnectionStream<S>,
    state: &ConnectionState,
    client: &Client<H>,
) -> FastPathOutcome<S> {
    let app = &client.app;
    let (deadline, _) = state.deadline();
    let timer = pin!(timer(deadline));
    let draining = pin!(client.stopping.drain.cancelled());
    let hurrying = pin!(client.stopping.hurry.cancelled());
    let mut watch = Waiter { alarm: LazyDeadline::new(deadline, timer), draining, hurrying };
    let mut bytes = BytesMut::with_capacity(BUFFER_BYTES);
    bytes.extend_from_slice(&stream.take_unread());
    let peer = client.peer.text();
    let mut known: Option<CachedKey> = None;
    let mut out = Vec::with_capacity(512);
    let mut early = DiskReplier::default();
    let mut rest_until: Option<Millis> = None;
    loop {
        let policy = app.policy();
        let Some(heads) = policy.fast_path.as_ref().filter(|_| !client.stopping.drain.is_cancelled()) else {
            return other(stream, bytes);
        };
        let (post, is_part) = match recognize(&bytes, bounds(&policy)) {
            Recognized::Whole(post) => (Some(post), false),
            Recognized::Part => (None, true),
            Recognized::Other if bytes.is_empty() => (None, false),
            Recognized::Other => return other(stream, bytes),
        };
        let Some(post) = post else {
            if bytes.len() >= BUFFER_BYTES {
                return other(stream, bytes);
            }
            bytes.reserve(BUFFER_BYTES - bytes.len());
            let deadline = if is_part {
                *rest_until.get_or_insert_with(|| now() + REST_OF_BODY_TIMEOUT)
            } else {
                state.deadline().0.min(buffer_release_at(now(), app))
            };
            match watch.more(&mut stream, &mut bytes, deadline).await {
                ReadEvent::Bytes => continue,
                ReadEvent::Silence if bytes.is_empty() => return FastPathOutcome::Silent(stream),
                ReadEvent::Silence | ReadEvent::Stop => return other(stream, bytes),
                ReadEvent::End if bytes.is_empty() => {
                    drop(stream.shutdown().await);
                    return FastPathOutcome::Ended;
                }
                ReadEvent::End => return other(stream, bytes),
                ReadEvent::Broken => return FastPathOutcome::Ended,
            }
        };
        let Some(record) = Record::of(&post, app, &policy, client.peer, &mut known) else {
            return other(stream, bytes);
        };
        rest_until = None;
        state.request_begins(false);
        let (wants_json, len) = (post.wants_json, post.len);
        let (begun, quota) = record.save(app, &policy, client.peer, peer.as_str());
        let success = Success { app, heads, wants_json };
        let mut promised = None;
        let outcome = match begun {
            AppendStart::Waits(ticket) => {
                if super::disk_reply::is_worthwhile(&ticket, app, &policy) {
                    promised = early.promise(stream.inner(), &ticket, success.owned(quota.as_ref()));
                }
                watch.outcome(ticket, state, promised.as_ref()).await
            }
            AppendStart::Filtered => Ok(None),
            AppendStart::Refused(problem) => Err(problem),
            // Boxed, so that the usual record does not carry its future along.
            AppendStart::Full => {
                let room = Box::pin(record.save_when_there_is_room(len, app, &policy, peer.as_str()));
                watch.outcome(room, state, None).await
            }
        };
        let given = promised.as_ref().and_then(DiskReply::given);
        let closes = given.map_or_else(|| client.stopping.drain.is_cancelled(), |answer| answer.closes);
        let more = ReplyExtras { quota: quota.as_ref(), closes };
        out.clear();
        match (given, outcome) {
            (Some(answer), _) => out.extend_from_slice(&answer.bytes),
            (None, Err(problem)) => {
                app.count(&problem);
                write_response(&mut out, more, &policy.refusal(problem));
            }
            (None, Ok(cursor)) => success.write(&mut out, more, cursor),
        }
        if bytes.len() == len {
            bytes.clear();
        } else {
            drop(bytes.split_to(len));
        }
        if !watch.written(&mut stream, &out, state).await {
            return FastPathOutcome::Ended;
        }
        state.enter(Phase::Idle);
        state.flushed();
        if closes {
            // The client has its answer; how the connection ends is its business.
            drop(stream.shutdown().await);
            return FastPathOutcome::Ended;
        }
    }
}

fn other<S: Transport>(mut stream: ConnectionStream<S>, bytes: BytesMut) -> FastPathOutcome<S> {
    stream.unread(bytes.freeze());
    FastPathOutcome::Other(stream)
}

fn bounds(policy: &Policy) -> Bounds {
    let http = &policy.files.http;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Bounds {
        head: size(http.max_header_size),
        fields: http.max_headers as usize,
        body: size(http.request_max_size.min(http.max_body_memory)),
    }
}

/// How a record that was taken is answered.
struct Success<'a> {
    app: &'a Arc<App>,
    heads: &'a Arc<PreparedHeads>,
    wants_json: bool,
}

impl Success<'_> {
    /// No cursor = the record was filtered.
    fn write(&self, out: &mut Vec<u8>, more: ReplyExtras<'_>, cursor: Option<Cursor>) {
        if !self.wants_json {
            return self.heads.success(out, more);
        }
        let (saved, filtered, end) = match cursor {
            Some(cursor) => (1, 0, cursor),
            None => (0, 1, self.app.store.end()),
        };
        let body = saved_json(saved, filtered, &self.app.store.cursor_key().encode(end));
        self.heads.json(out, more, &body);
    }

    /// The same for another thread.
    fn owned(&self, quota: Option<&Quota>) -> impl FnOnce(Saved) -> Answer + Send + use<> {
        let (app, heads, wants_json) = (Arc::clone(self.app), Arc::clone(self.heads), self.wants_json);
        let quota = quota.cloned();
        move |saved| {
            let mut bytes = Vec::with_capacity(512);
            let closes = app.draining.is_cancelled();
            let more = ReplyExtras { quota: quota.as_ref(), closes };
            Success { app: &app, heads: &heads, wants_json }.write(&mut bytes, more, Some(saved.cursor));
            Answer { bytes, closes }
        }
    }
}

/// What may happen while a connection waits.
struct Waiter<'t, 's> {
    alarm: LazyDeadline<'t>,
    draining: Pin<&'t mut WaitForCancellationFuture<'s>>,
    hurrying: Pin<&'t mut WaitForCancellationFuture<'s>>,
}

/// What came while a connection waited for a request.
enum ReadEvent {
    Bytes,
    Silence,
    /// the service stops
    Stop,
    /// the client says no more
    End,
    Broken,
}

impl Waiter<'_, '_> {
    /// Waits for bytes.
    async fn more<S: Transport>(
        &mut self,
        stream: &mut ConnectionStream<S>,
        bytes: &mut BytesMut,
        deadline: Millis,
    ) -> ReadEvent {
        poll_fn(|cx| {
            match poll_read_buf(Pin::new(stream.inner_mut()), cx, bytes) {
                Poll::Ready(Ok(0)) => return Poll::Ready(ReadEvent::End),
                Poll::Ready(Ok(_)) => return Poll::Ready(ReadEvent::Bytes),
                Poll::Ready(Err(_)) => return Poll::Ready(ReadEvent::Broken),
                Poll::Pending => {}
            }
            if self.draining.as_mut().poll(cx).is_ready() {
                return Poll::Ready(ReadEvent::Stop);
            }
            self.alarm.poll_expired(deadline, cx).map(|()| ReadEvent::Silence)
        })
        .await
    }

    /// Waits until the record is stored, but not past the time that an answer may take, unless one is given already.
    async fn outcome<E: Into<Problem>>(
        &mut self,
        work: impl Future<Output = Result<Saved, E>>,
        state: &ConnectionState,
        promised: Option<&DiskReply>,
    ) -> Result<Option<Cursor>, Problem> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = work.as_mut().poll(cx) {
                return Poll::Ready(outcome.map(|saved| Some(saved.cursor)).map_err(Into::into));
            }
            let overdue = self.hurrying.as_mut().poll(cx).is_ready()
                || self.alarm.poll_expired(state.deadline().0, cx).is_ready();
            if overdue && promised.is_none_or(DiskReply::take_back) {
                Poll::Ready(Err(Problem::late()))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Writes an answer; false when the connection is broken or the client takes nothing.
    async fn written<S: Transport>(
        &mut self,
        stream: &mut ConnectionStream<S>,
        mut out: &[u8],
        state: &ConnectionState,
    ) -> bool {
        poll_fn(|cx| {
            let mut inner = Pin::new(stream.inner_mut());
            let outcome = loop {
                if out.is_empty() {
                    break inner.as_mut().poll_flush(cx).map_ok(|()| 0);
                }
                match inner.as_mut().poll_write(cx, out) {
                    Poll::Ready(Ok(count)) if count > 0 => out = &out[count..],
                    outcome => break outcome,
                }
            };
            match outcome {
                Poll::Ready(Ok(_)) => {
                    state.written();
                    Poll::Ready(out.is_empty())
                }
                Poll::Ready(Err(_)) => Poll::Ready(false),
                Poll::Pending => {
                    state.write_blocked();
                    self.alarm.poll_expired(state.deadline().0, cx).map(|()| false)
                }
            }
        })
        .await
    }
}
