//! Recognizes a client that speaks HTTP/2 without TLS by prior knowledge (RFC 9113, section 3.3).

use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio_util::io::poll_read_buf;

use super::http2::PREFACE;
use crate::http::connection::phase::Phase;
use crate::http::connection::state::ConnectionState;
use crate::http::connection::stream::ConnectionStream;
use crate::net::connection_driver::{ConnectionWork, drive};
use crate::net::deadline::Millis;
use crate::net::shutdown::{HEAD_GRACE, Shutdown};
use crate::net::transport::Transport;

/// Reports whether the first bytes of a connection are the preface of HTTP/2. Reads until they are,
/// or until they differ from it, and puts all bytes back.
pub(crate) async fn has_preface<S: Transport>(
    stream: &mut ConnectionStream<S>,
    state: &ConnectionState,
    shutdown: &Shutdown,
) -> bool {
    let mut bytes = BytesMut::from(stream.take_unread());
    let mut work =
        Preface { transport: stream.inner_mut(), bytes: &mut bytes, state, grace_end: Millis::MAX };
    let is_http2 = match work.verdict() {
        Some(is_http2) => is_http2,
        None => drive(shutdown, &mut work).await,
    };
    stream.unread(bytes.freeze());
    is_http2
}

/// The read of the first bytes of a connection.
struct Preface<'c, S> {
    transport: &'c mut S,
    bytes: &'c mut BytesMut,
    state: &'c ConnectionState,
    /// The end of the time that a silent connection has once the server stops.
    grace_end: Millis,
}

impl<S> Preface<'_, S> {
    /// Returns whether the bytes begin with the preface, or `None` when more bytes decide it.
    fn verdict(&self) -> Option<bool> {
        if self.bytes.len() >= PREFACE.len() {
            return Some(self.bytes.starts_with(PREFACE));
        }
        (!PREFACE.starts_with(self.bytes)).then_some(false)
    }
}

impl<S: Transport> ConnectionWork for Preface<'_, S> {
    type Output = bool;
    type Limit = ();

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            if let Some(is_http2) = self.verdict() {
                return Poll::Ready(is_http2);
            }
            // The rest of a preface has the time of a head. HTTP/1 refuses a client that is too
            // slow, and handles the end of the stream and errors.
            if !self.bytes.is_empty() && self.state.phase() == Phase::New {
                self.state.enter(Phase::Head);
            }
            match poll_read_buf(Pin::new(&mut *self.transport), cx, &mut *self.bytes) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn deadline(&self) -> (Millis, ()) {
        let deadline = self.state.deadline().0;
        let further = if self.bytes.is_empty() { 0 } else { HEAD_GRACE };
        (deadline.min(self.grace_end.saturating_add(further)), ())
    }

    fn on_expired(&mut self, (): ()) -> ControlFlow<bool> {
        ControlFlow::Break(false)
    }

    fn on_drain(&mut self, grace_end: Millis) {
        self.grace_end = grace_end;
    }

    fn on_hurry(&mut self) -> ControlFlow<bool> {
        ControlFlow::Break(false)
    }
}
