//! A connection on the fast path: reads requests, waits for the store, and writes answers.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio_util::io::poll_read_buf;

use super::disk_reply::DiskReply;
use crate::http::app::App;
use crate::http::connection::phase::Phase;
use crate::http::connection::state::ConnectionState;
use crate::http::connection::stream::ConnectionStream;
use crate::http::response::problem::Problem;
use crate::http::server::connection_context::buffer_release_at;
use crate::net::connection_driver::ConnectionDriver;
use crate::net::deadline::{Millis, now};
use crate::net::transport::Transport;
use crate::store::{Cursor, Saved};

/// Time for which the fast path waits for a body. Many clients send head and body in two writes
/// right after each other. A slower client goes to the slow path, which enforces the configured
/// timeouts.
const REST_OF_BODY_TIMEOUT: Millis = 50;

/// A connection on the fast path. It asks its driver only while it waits.
pub(crate) struct FastPathConnection<'c, 's, S> {
    pub(crate) stream: ConnectionStream<S>,
    pub(crate) driver: Pin<&'c mut ConnectionDriver<'s>>,
    state: &'c ConnectionState,
    /// The time until which the rest of a body may arrive.
    body_until: Option<Millis>,
}

/// The event that ended a wait for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadEvent {
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

/// Says how the fast path left a connection.
pub(crate) enum FastPathOutcome<S> {
    /// The next bytes are for the slow path.
    SlowPath(ConnectionStream<S>),
    /// The connection is idle.
    Idle(ConnectionStream<S>),
    /// The connection has ended.
    Ended,
}

impl<'c, 's, S: Transport> FastPathConnection<'c, 's, S> {
    /// Returns a connection without a request.
    pub(crate) const fn new(
        stream: ConnectionStream<S>,
        state: &'c ConnectionState,
        driver: Pin<&'c mut ConnectionDriver<'s>>,
    ) -> Self {
        Self { stream, driver, state, body_until: None }
    }

    /// Returns the time until which the fast path waits for more bytes. `is_part` is true when it
    /// waits for the rest of a body.
    pub(crate) fn read_deadline(&mut self, is_part: bool, app: &App) -> Millis {
        if is_part {
            *self.body_until.get_or_insert_with(|| {
                // The connection is not silent while a body arrives.
                self.state.enter(Phase::Body);
                now() + REST_OF_BODY_TIMEOUT
            })
        } else {
            self.state.deadline().0.min(buffer_release_at(now(), app))
        }
    }

    /// Notes that a whole request is there.
    pub(crate) fn request_begins(&mut self) {
        self.body_until = None;
        self.state.request_begins(false);
    }

    /// Notes that the answer is written.
    pub(crate) fn request_ends(&self) {
        self.state.enter(Phase::Idle);
        self.state.mark_flushed();
    }

    /// Reads more bytes.
    pub(crate) async fn read(&mut self, bytes: &mut BytesMut, deadline: Millis) -> ReadEvent {
        poll_fn(|cx| {
            match poll_read_buf(Pin::new(self.stream.inner_mut()), cx, bytes) {
                Poll::Ready(Ok(0)) => return Poll::Ready(ReadEvent::End),
                Poll::Ready(Ok(_)) => return Poll::Ready(ReadEvent::Bytes),
                Poll::Ready(Err(_)) => return Poll::Ready(ReadEvent::Broken),
                Poll::Pending => {}
            }
            if self.driver.as_mut().poll_stop(cx).is_ready() {
                return Poll::Ready(ReadEvent::Drain);
            }
            self.driver.as_mut().poll_expired(deadline, cx).map(|()| ReadEvent::Silence)
        })
        .await
    }

    /// Waits until the record is stored, but not past the time limit of an answer. Waits on when
    /// the disk thread has begun to write the answer.
    pub(crate) async fn outcome<E: Into<Problem>>(
        &mut self,
        work: impl Future<Output = Result<Saved, E>>,
        disk_reply: Option<&DiskReply>,
    ) -> Result<Option<Cursor>, Problem> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = work.as_mut().poll(cx) {
                return Poll::Ready(outcome.map(|saved| Some(saved.cursor)).map_err(Into::into));
            }
            let is_overdue = self.driver.as_mut().poll_hurry(cx).is_ready()
                || self.driver.as_mut().poll_expired(self.state.deadline().0, cx).is_ready();
            if is_overdue && disk_reply.is_none_or(DiskReply::cancel) {
                Poll::Ready(Err(Problem::late()))
            } else {
                Poll::Pending
            }
        })
        .await
    }

    /// Writes an answer. Returns false when the connection is broken or the client does not read.
    pub(crate) async fn write(&mut self, mut out: &[u8]) -> bool {
        poll_fn(|cx| {
            let mut inner = Pin::new(self.stream.inner_mut());
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
                    self.state.on_written();
                    Poll::Ready(out.is_empty())
                }
                Poll::Ready(Err(_)) => Poll::Ready(false),
                Poll::Pending => {
                    self.state.on_write_blocked();
                    self.driver.as_mut().poll_expired(self.state.deadline().0, cx).map(|()| false)
                }
            }
        })
        .await
    }

    /// Leaves the fast path. The slow path reads `bytes` first.
    pub(crate) fn into_slow_path(mut self, bytes: BytesMut) -> FastPathOutcome<S> {
        if self.body_until.is_some() {
            // The slow path begins with the head.
            self.state.enter(Phase::Idle);
        }
        self.stream.unread(bytes.freeze());
        FastPathOutcome::SlowPath(self.stream)
    }

    /// Leaves the fast path after a read without bytes. `bytes` are those of an incomplete request.
    pub(crate) async fn into_outcome(self, event: ReadEvent, bytes: BytesMut) -> FastPathOutcome<S> {
        match event {
            ReadEvent::Broken => FastPathOutcome::Ended,
            ReadEvent::Silence if bytes.is_empty() => FastPathOutcome::Idle(self.stream),
            ReadEvent::End if bytes.is_empty() => self.close().await,
            ReadEvent::Bytes | ReadEvent::Silence | ReadEvent::Drain | ReadEvent::End => {
                self.into_slow_path(bytes)
            }
        }
    }

    /// Closes the connection. An error does not matter, because the client has all its answers.
    pub(crate) async fn close(mut self) -> FastPathOutcome<S> {
        drop(self.stream.shutdown().await);
        FastPathOutcome::Ended
    }
}
