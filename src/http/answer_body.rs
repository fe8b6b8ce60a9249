//! Sends the body of an answer, and ends its request.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::connection::phase::Phase;
use super::connection::state::ConnectionState;
use super::observe::request_trace::AccessLogGuard;

/// Sends the body of an answer. Dropping it ends the request, even if a part was not sent.
pub(crate) struct AnswerBody<B> {
    pub(crate) inner: B,
    /// Headers that follow the body. gRPC has its status there.
    pub(crate) trailers: Option<Box<HeaderMap>>,
    pub(crate) state: Arc<ConnectionState>,
    /// Set while the access log or `debug` is on.
    pub(crate) access_log_guard: Option<Box<AccessLogGuard>>,
}

impl<B> Drop for AnswerBody<B> {
    fn drop(&mut self) {
        // The rest of a body must not be read as the head of the next request.
        let lingers = !self.state.is_stream() && self.state.has_unread_body();
        self.state.enter(if lingers { Phase::Lingering } else { Phase::Idle });
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut frame = Pin::new(&mut self.inner).poll_frame(cx);
        if matches!(frame, Poll::Ready(None))
            && let Some(trailers) = self.trailers.take()
        {
            frame = Poll::Ready(Some(Ok(Frame::trailers(*trailers))));
        }
        if let Some(guard) = &mut self.access_log_guard
            && let Poll::Ready(Some(Ok(frame))) = &frame
        {
            guard.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.inner.size_hint();
        if self.trailers.is_none() {
            return hint;
        }
        // No length is announced, because the end of the body is not the end of the answer.
        let mut open = SizeHint::new();
        open.set_lower(hint.lower());
        open
    }
}
