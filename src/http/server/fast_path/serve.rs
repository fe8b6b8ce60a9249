//! Serves a connection on the fast path.
//!
//! It appends the record of each request that [`recognize`] recognizes to the current batch,
//! without hyper. A saved record then costs a third less.
//!
//! Other requests, and requests whose content is refused, go to hyper and the pipeline untouched,
//! before any counter changes. A client cannot tell the two paths apart.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::WaitForCancellationFuture;

use super::disk_reply::{Answer, DiskReplier, DiskReply};
use super::recognize::{Recognized, RequestLimits, recognize};
use super::record::{AppendStart, CachedKey, Record};
use crate::guard::{ClientAddr, Quota};
use crate::http::app::App;
use crate::http::connection::phase::Phase;
use crate::http::connection::state::ConnectionState;
use crate::http::connection::stream::ConnectionStream;
use crate::http::policy::Policy;
use crate::http::response::head_writer::write_response;
use crate::http::response::prepared_heads::{PreparedHeads, ReplyExtras};
use crate::http::response::problem::Problem;
use crate::http::response::success::saved_json;
use crate::http::server::connection_context::ConnectionContext;
use crate::http::server::connection_context::buffer_release_at;
use crate::net::deadline::{LazyDeadline, timer};
use crate::net::deadline::{Millis, now};
use crate::net::transport::Transport;
use crate::store::{Cursor, Saved};

/// Size of the read buffer, and maximum length of a request on the fast path.
const BUFFER_BYTES: usize = 16 * 1024;

/// Time for which the fast path waits for a body. Many clients send head and body in two writes
/// right after each other. A slower client goes to the slow path, which enforces the configured
/// timeouts.
const REST_OF_BODY_TIMEOUT: Millis = 50;

/// Says how the fast path left a connection.
pub(crate) enum FastPathOutcome<S> {
    /// The next bytes are for the slow path.
    SlowPath(ConnectionStream<S>),
    /// The connection is idle.
    Idle(ConnectionStream<S>),
    /// The connection has ended.
    Ended,
}

/// Reports whether connections of this peer may use the fast path.
pub(crate) const fn is_eligible(peer: ClientAddr) -> bool {
    matches!(peer, ClientAddr::Ip(_))
}

/// Serves requests until one of them is for the slow path.
pub(crate) async fn serve_records<S: Transport, H>(
    mut stream: ConnectionStream<S>,
    state: &ConnectionState,
    context: &ConnectionContext<H>,
) -> FastPathOutcome<S> {
    let app = &context.app;
    let (deadline, _) = state.deadline();
    let timer = pin!(timer(deadline));
    let draining = pin!(context.shutdown.drain.cancelled());
    let hurrying = pin!(context.shutdown.hurry.cancelled());
    let mut waiter = Waiter { lazy_deadline: LazyDeadline::new(deadline, timer), draining, hurrying };
    let mut bytes = BytesMut::with_capacity(BUFFER_BYTES);
    bytes.extend_from_slice(&stream.take_unread());
    let peer = context.peer.text();
    let mut cached_key: Option<CachedKey> = None;
    let mut out = Vec::with_capacity(512);
    let mut replier = DiskReplier::default();
    let mut body_until: Option<Millis> = None;
    loop {
        let policy = app.policy();
        let Some(heads) = policy.fast_path.as_ref().filter(|_| !context.shutdown.drain.is_cancelled()) else {
            return to_slow_path(stream, bytes);
        };
        let (request, is_part) = match recognize(&bytes, request_limits(&policy)) {
            Recognized::Whole(request) => (Some(request), false),
            Recognized::Part => (None, true),
            Recognized::Other if bytes.is_empty() => (None, false),
            Recognized::Other => return to_slow_path(stream, bytes),
        };
        let Some(request) = request else {
            if bytes.len() >= BUFFER_BYTES {
                return to_slow_path(stream, bytes);
            }
            bytes.reserve(BUFFER_BYTES - bytes.len());
            let deadline = if is_part {
                *body_until.get_or_insert_with(|| now() + REST_OF_BODY_TIMEOUT)
            } else {
                state.deadline().0.min(buffer_release_at(now(), app))
            };
            match waiter.read(&mut stream, &mut bytes, deadline).await {
                ReadEvent::Bytes => continue,
                ReadEvent::Silence if bytes.is_empty() => return FastPathOutcome::Idle(stream),
                ReadEvent::Silence | ReadEvent::Drain => return to_slow_path(stream, bytes),
                ReadEvent::End if bytes.is_empty() => {
                    drop(stream.shutdown().await);
                    return FastPathOutcome::Ended;
                }
                ReadEvent::End => return to_slow_path(stream, bytes),
                ReadEvent::Broken => return FastPathOutcome::Ended,
            }
        };
        let Some(record) = Record::of(&request, app, &policy, context.peer, &mut cached_key) else {
            return to_slow_path(stream, bytes);
        };
        body_until = None;
        state.request_begins(false);
        let (wants_json, len) = (request.wants_json, request.len);
        let (start, quota) = record.save(app, &policy, context.peer, peer.as_str());
        let success = Success { app, heads, wants_json };
        let mut disk_reply = None;
        let outcome = match start {
            AppendStart::Pending(ticket) => {
                if super::disk_reply::is_worthwhile(&ticket, app, &policy) {
                    disk_reply =
                        replier.register(stream.inner(), &ticket, success.to_disk_answer(quota.as_ref()));
                }
                waiter.outcome(ticket, state, disk_reply.as_ref()).await
            }
            AppendStart::Filtered => Ok(None),
            AppendStart::Refused(problem) => Err(problem),
            // Boxed, so that the future of the common record stays small.
            AppendStart::Full => {
                let room = Box::pin(record.save_when_there_is_room(len, app, &policy, peer.as_str()));
                waiter.outcome(room, state, None).await
            }
        };
        let written = disk_reply.as_ref().and_then(DiskReply::written);
        let closes = written.map_or_else(|| context.shutdown.drain.is_cancelled(), |answer| answer.closes);
        let extras = ReplyExtras { quota: quota.as_ref(), closes };
        out.clear();
        match (written, outcome) {
            (Some(answer), _) => out.extend_from_slice(&answer.bytes),
            (None, Err(problem)) => {
                app.count(&problem);
                write_response(&mut out, &policy.refusal(problem), extras.quota, extras.closes);
            }
            (None, Ok(cursor)) => success.write(&mut out, extras, cursor),
        }
        if bytes.len() == len {
            bytes.clear();
        } else {
            drop(bytes.split_to(len));
        }
        if !waiter.write(&mut stream, &out, state).await {
            return FastPathOutcome::Ended;
        }
        state.enter(Phase::Idle);
        state.mark_flushed();
        if closes {
            // The client has its answer, so an error of the shutdown does not matter.
            drop(stream.shutdown().await);
            return FastPathOutcome::Ended;
        }
    }
}

/// Puts `bytes` back for the slow path.
fn to_slow_path<S: Transport>(mut stream: ConnectionStream<S>, bytes: BytesMut) -> FastPathOutcome<S> {
    stream.unread(bytes.freeze());
    FastPathOutcome::SlowPath(stream)
}

/// Returns the limits of a request under `policy`.
fn request_limits(policy: &Policy) -> RequestLimits {
    let http = &policy.files.http;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    RequestLimits {
        head: size(http.max_header_size),
        fields: http.max_headers as usize,
        body: size(http.request_max_size.min(http.max_body_memory)),
    }
}

/// Writes the answer to a record that was saved or filtered.
struct Success<'a> {
    app: &'a Arc<App>,
    heads: &'a Arc<PreparedHeads>,
    wants_json: bool,
}

impl Success<'_> {
    /// Writes the answer to `out`. `cursor` is `None` when the record was filtered.
    fn write(&self, out: &mut Vec<u8>, extras: ReplyExtras<'_>, cursor: Option<Cursor>) {
        if !self.wants_json {
            return self.heads.success(out, extras);
        }
        let (saved, filtered, end) = match cursor {
            Some(cursor) => (1, 0, cursor),
            None => (0, 1, self.app.store.end()),
        };
        let body = saved_json(saved, filtered, &self.app.store.cursor_key().encode(end));
        self.heads.json(out, extras, &body);
    }

    /// Returns a function that the disk thread calls to make the answer.
    fn to_disk_answer(&self, quota: Option<&Quota>) -> impl FnOnce(Saved) -> Answer + Send + use<> {
        let (app, heads, wants_json) = (Arc::clone(self.app), Arc::clone(self.heads), self.wants_json);
        let quota = quota.cloned();
        move |saved| {
            let mut bytes = Vec::with_capacity(512);
            let closes = app.draining.is_cancelled();
            let extras = ReplyExtras { quota: quota.as_ref(), closes };
            Success { app: &app, heads: &heads, wants_json }.write(&mut bytes, extras, Some(saved.cursor));
            Answer { bytes, closes }
        }
    }
}

/// Waits for the socket and the store, until the deadline or a step of a stop ends the wait.
struct Waiter<'t, 's> {
    lazy_deadline: LazyDeadline<'t>,
    draining: Pin<&'t mut WaitForCancellationFuture<'s>>,
    hurrying: Pin<&'t mut WaitForCancellationFuture<'s>>,
}

/// Says which event ended a wait for a request.
enum ReadEvent {
    /// Bytes were read.
    Bytes,
    /// The deadline has passed.
    Silence,
    /// The service stops.
    Drain,
    /// The client has closed its half of the connection.
    End,
    /// The connection is broken.
    Broken,
}

impl Waiter<'_, '_> {
    /// Reads more bytes.
    async fn read<S: Transport>(
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
                return Poll::Ready(ReadEvent::Drain);
            }
            self.lazy_deadline.poll_expired(deadline, cx).map(|()| ReadEvent::Silence)
        })
        .await
    }

    /// Waits until the record is stored, but not past the time limit of an answer. If the disk
    /// thread has begun to write the answer at that time, the function waits until it has finished.
    async fn outcome<E: Into<Problem>>(
        &mut self,
        work: impl Future<Output = Result<Saved, E>>,
        state: &ConnectionState,
        disk_reply: Option<&DiskReply>,
    ) -> Result<Option<Cursor>, Problem> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = work.as_mut().poll(cx) {
                return Poll::Ready(outcome.map(|saved| Some(saved.cursor)).map_err(Into::into));
            }
            let is_overdue = self.hurrying.as_mut().poll(cx).is_ready()
                || self.lazy_deadline.poll_expired(state.deadline().0, cx).is_ready();
            if is_overdue && disk_reply.is_none_or(DiskReply::cancel) {
                Poll::Ready(Err(Problem::late()))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Writes an answer. Returns false when the connection is broken or the client does not read.
    async fn write<S: Transport>(
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
                    state.on_written();
                    Poll::Ready(out.is_empty())
                }
                Poll::Ready(Err(_)) => Poll::Ready(false),
                Poll::Pending => {
                    state.on_write_blocked();
                    self.lazy_deadline.poll_expired(state.deadline().0, cx).map(|()| false)
                }
            }
        })
        .await
    }
}
