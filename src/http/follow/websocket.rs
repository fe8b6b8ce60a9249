//! Sends records as WebSocket messages (RFC 6455) on an HTTP/1.1 connection that was taken over.
//!
//! The frames of records are the same for all followers, because a server does not mask its frames.
//! The session writes its control frames between them. It reads and discards the messages of the
//! client.

use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::follower::FollowEvent;
use super::socket_writer::SocketWriter;
use super::takeover::Takeover;
use super::websocket_session::{CLOSE_TIMEOUT_MS, WebSocketSession};
use super::ws_frames::CloseCode;
use crate::http::connection::stream::ConnectionStream;
use crate::http::observe::request_trace::AccessLogGuard;
use crate::http::response::head_writer::Framing;
use crate::net::connection_driver::{ConnectionWork, drive};
use crate::net::deadline::Millis;
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;

/// Serves a connection until it ends.
pub(crate) async fn serve<S: Transport>(stream: ConnectionStream<S>, takeover: Takeover, stopping: Shutdown) {
    let settings = takeover.settings;
    let head = takeover.head_bytes(Framing::Upgrade);
    let follower = takeover.new_follower.follower.with_max_chunk_bytes(settings.max_write_bytes as u64);
    let mut connection = WebSocketConnection {
        session: WebSocketSession::new(SocketWriter::new(stream, head, settings.max_write_bytes), settings),
        events: pin!(follower.events()),
        access_log: takeover.access_log,
        is_draining: false,
    };
    drive(&stopping, &mut connection).await;
    drop(timeout(Duration::from_millis(CLOSE_TIMEOUT_MS), connection.session.close_socket()).await);
}

/// A connection that carries records as WebSocket messages.
struct WebSocketConnection<'c, S, E> {
    session: WebSocketSession<S>,
    events: Pin<&'c mut E>,
    access_log: Option<Box<AccessLogGuard>>,
    /// Set when the service stops. The session then closes between two messages.
    is_draining: bool,
}

impl<S, E> ConnectionWork for WebSocketConnection<'_, S, E>
where
    S: AsyncRead + AsyncWrite + Unpin,
    E: Stream<Item = FollowEvent>,
{
    type Output = ();
    type Limit = ();

    fn poll_work(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let written = self.session.writer.poll_write_all(cx);
            if matches!(written, Poll::Ready(Err(_))) || self.session.read_input(cx).is_err() {
                return Poll::Ready(());
            }
            if written.is_ready() && (self.session.put_control_frames() || self.poll_records(cx).is_ready()) {
                continue;
            }
            return if self.session.is_over() { Poll::Ready(()) } else { Poll::Pending };
        }
    }

    fn deadline(&self) -> (Millis, ()) {
        (self.session.deadline(), ())
    }

    fn on_expired(&mut self, (): ()) -> ControlFlow<()> {
        if self.session.handle_deadline() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn on_drain(&mut self, _: Millis) {
        self.is_draining = true;
    }

    fn on_hurry(&mut self) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, E: Stream<Item = FollowEvent>> WebSocketConnection<'_, S, E> {
    /// Puts the next records into the writer, which is empty, or a close frame when there will be no
    /// more. Pending while there is nothing to send.
    fn poll_records(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.session.is_open() {
            return Poll::Pending;
        }
        if self.is_draining {
            self.session.close(CloseCode::GoingAway);
            return Poll::Ready(());
        }
        let (bytes, code) = match ready!(self.events.as_mut().poll_next(cx)) {
            Some(FollowEvent::Block(block)) => (block.all_lines(), None),
            Some(FollowEvent::Last(bytes)) => (bytes, Some(CloseCode::Normal)),
            Some(FollowEvent::Refused) => (Bytes::new(), Some(CloseCode::PolicyViolation)),
            Some(FollowEvent::Failed) | None => (Bytes::new(), Some(CloseCode::InternalError)),
        };
        if let Some(access_log) = &mut self.access_log {
            access_log.bytes += bytes.len() as u64;
        }
        self.session.writer.put(bytes);
        if let Some(code) = code {
            self.session.close(code);
        }
        Poll::Ready(())
    }
}
