//! The short way of a record: from the bytes of a connection into the batch in hand, without hyper, for the requests
//! that [`request`] recognises. That makes a saved record a third cheaper. Whatever else comes, and whatever would be
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

pub(crate) use super::disk_reply::FEW;
use super::disk_reply::{Answer, Early, EarlyAnswer};
use super::recognize::{Bounds, Look, look};
use super::record::{Begun, Known, Record};
use crate::guard::{ClientAddr, Quota};
use crate::http::app::App;
use crate::http::connection::state::{ConnState, Millis, Phase, now};
use crate::http::connection::stream::ConnStream;
use crate::http::policy::Policy;
pub(crate) use crate::http::response::prepared_heads::Heads;
use crate::http::response::prepared_heads::More;
use crate::http::response::problem::Problem;
use crate::http::routes::ingest;
use crate::http::server::http1::{Client, parked_at};
use crate::net::deadline::{Alarm, timer};
use crate::net::transport::Wire;
use crate::store::{Cursor, Saved};

/// What is read at once, and the longest request for the short way.
const BUFFER: usize = 16 * 1024;

/// Many clients send head and body in two pieces, one right after the other. Who is slower is for the long way, which
/// knows how slow one may be.
const REST_OF_BODY: Millis = 50;

/// What became of a connection.
pub(crate) enum Left<S> {
    /// what comes next is for the long way
    Other(ConnStream<S>),
    /// nothing came for a while
    Silent(ConnStream<S>),
    Ended,
}

/// Whether a connection of this client may take the short way at all.
pub(crate) const fn serves(peer: ClientAddr) -> bool {
    matches!(peer, ClientAddr::Ip(_))
}

/// Serves records as long as nothing else comes.
pub(crate) async fn records<S: Wire, H>(
    mut stream: ConnStream<S>,
    state: &ConnState,
    client: &Client<H>,
) -> Left<S> {
    let app = &client.app;
    let (deadline, _) = state.deadline();
    let timer = pin!(timer(deadline));
    let draining = pin!(client.stopping.drain.cancelled());
    let hurrying = pin!(client.stopping.hurry.cancelled());
    let mut watch = Watch { alarm: Alarm::new(deadline, timer), draining, hurrying };
    let mut bytes = BytesMut::with_capacity(BUFFER);
    bytes.extend_from_slice(&stream.take_unread());
    let peer = client.peer.text();
    let mut known: Option<Known> = None;
    let mut out = Vec::with_capacity(512);
    let mut early = Early::default();
    let mut rest_until: Option<Millis> = None;
    loop {
        let policy = app.policy();
        let Some(heads) = policy.express.as_ref().filter(|_| !client.stopping.drain.is_cancelled()) else {
            return other(stream, bytes);
        };
        let (post, is_part) = match look(&bytes, bounds(&policy)) {
            Look::Whole(post) => (Some(post), false),
            Look::Part => (None, true),
            Look::Other if bytes.is_empty() => (None, false),
            Look::Other => return other(stream, bytes),
        };
        let Some(post) = post else {
            if bytes.len() >= BUFFER {
                return other(stream, bytes);
            }
            bytes.reserve(BUFFER - bytes.len());
            let deadline = if is_part {
                *rest_until.get_or_insert_with(|| now() + REST_OF_BODY)
            } else {
                state.deadline().0.min(parked_at(now(), app))
            };
            match watch.more(&mut stream, &mut bytes, deadline).await {
                Next::Bytes => continue,
                Next::Silence if bytes.is_empty() => return Left::Silent(stream),
                Next::Silence | Next::Stop => return other(stream, bytes),
                Next::End if bytes.is_empty() => {
                    drop(stream.shutdown().await);
                    return Left::Ended;
                }
                Next::End => return other(stream, bytes),
                Next::Broken => return Left::Ended,
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
            Begun::Waits(ticket) => {
                if super::disk_reply::is_of_use(&ticket, app, &policy) {
                    promised = early.promise(stream.inner(), &ticket, success.owned(quota.as_ref()));
                }
                watch.outcome(ticket, state, promised.as_ref()).await
            }
            Begun::Filtered => Ok(None),
            Begun::Refused(problem) => Err(problem),
            // Boxed, so that the usual record does not carry its future along.
            Begun::Full => {
                let room = Box::pin(record.save_when_there_is_room(len, app, &policy, peer.as_str()));
                watch.outcome(room, state, None).await
            }
        };
        let given = promised.as_ref().and_then(EarlyAnswer::given);
        let closes = given.map_or_else(|| client.stopping.drain.is_cancelled(), |answer| answer.closes);
        let more = More { quota: quota.as_ref(), closes };
        out.clear();
        match (given, outcome) {
            (Some(answer), _) => out.extend_from_slice(&answer.bytes),
            (None, Err(problem)) => {
                app.count(&problem);
                crate::http::response::prepared_heads::refuse(&mut out, more, problem, &policy);
            }
            (None, Ok(cursor)) => success.write(&mut out, more, cursor),
        }
        if bytes.len() == len {
            bytes.clear();
        } else {
            drop(bytes.split_to(len));
        }
        if !watch.written(&mut stream, &out, state).await {
            return Left::Ended;
        }
        state.enter(Phase::Idle);
        state.flushed();
        if closes {
            // The client has its answer; how the connection ends is its business.
            drop(stream.shutdown().await);
            return Left::Ended;
        }
    }
}

fn other<S: Wire>(mut stream: ConnStream<S>, bytes: BytesMut) -> Left<S> {
    stream.unread(bytes.freeze());
    Left::Other(stream)
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
    heads: &'a Arc<Heads>,
    wants_json: bool,
}

impl Success<'_> {
    /// No cursor = the record was filtered.
    fn write(&self, out: &mut Vec<u8>, more: More<'_>, cursor: Option<Cursor>) {
        if !self.wants_json {
            return self.heads.success(out, more);
        }
        let body = match cursor {
            Some(cursor) => ingest::describe(self.app, 1, 0, cursor),
            None => ingest::describe(self.app, 0, 1, self.app.store.end()),
        };
        self.heads.json(out, more, &body);
    }

    /// The same for another thread.
    fn owned(&self, quota: Option<&Quota>) -> impl FnOnce(Saved) -> Answer + Send + use<> {
        let (app, heads, wants_json) = (Arc::clone(self.app), Arc::clone(self.heads), self.wants_json);
        let quota = quota.cloned();
        move |saved| {
            let mut bytes = Vec::with_capacity(512);
            let closes = app.draining.is_cancelled();
            let more = More { quota: quota.as_ref(), closes };
            Success { app: &app, heads: &heads, wants_json }.write(&mut bytes, more, Some(saved.cursor));
            Answer { bytes, closes }
        }
    }
}

/// What may happen while a connection waits.
struct Watch<'t, 's> {
    alarm: Alarm<'t>,
    draining: Pin<&'t mut WaitForCancellationFuture<'s>>,
    hurrying: Pin<&'t mut WaitForCancellationFuture<'s>>,
}

/// What came while a connection waited for a request.
enum Next {
    Bytes,
    Silence,
    /// the service stops
    Stop,
    /// the client says no more
    End,
    Broken,
}

impl Watch<'_, '_> {
    /// Waits for bytes.
    async fn more<S: Wire>(
        &mut self,
        stream: &mut ConnStream<S>,
        bytes: &mut BytesMut,
        deadline: Millis,
    ) -> Next {
        poll_fn(|cx| {
            match poll_read_buf(Pin::new(stream.inner_mut()), cx, bytes) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Next::End),
                Poll::Ready(Ok(_)) => return Poll::Ready(Next::Bytes),
                Poll::Ready(Err(_)) => return Poll::Ready(Next::Broken),
                Poll::Pending => {}
            }
            if self.draining.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Next::Stop);
            }
            self.alarm.poll_passed(deadline, cx).map(|()| Next::Silence)
        })
        .await
    }

    /// Waits until the record is stored, but not past the time that an answer may take, unless one is given already.
    async fn outcome<E: Into<Problem>>(
        &mut self,
        work: impl Future<Output = Result<Saved, E>>,
        state: &ConnState,
        promised: Option<&EarlyAnswer>,
    ) -> Result<Option<Cursor>, Problem> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = work.as_mut().poll(cx) {
                return Poll::Ready(outcome.map(|saved| Some(saved.cursor)).map_err(Into::into));
            }
            let overdue = self.hurrying.as_mut().poll(cx).is_ready()
                || self.alarm.poll_passed(state.deadline().0, cx).is_ready();
            if overdue && promised.is_none_or(EarlyAnswer::take_back) {
                Poll::Ready(Err(Problem::late()))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Writes an answer; false when the connection is broken or the client takes nothing.
    async fn written<S: Wire>(
        &mut self,
        stream: &mut ConnStream<S>,
        mut out: &[u8],
        state: &ConnState,
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
                    self.alarm.poll_passed(state.deadline().0, cx).map(|()| false)
                }
            }
        })
        .await
    }
}
