//! Adapts answers to HTTP/2: no connection fields, and bodies in frames of limited size.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use crate::http::connection::phase::Phase;
use crate::http::connection::state::ConnectionState;

/// Maximum size of a DATA frame. Each frame that the client accepts counts as progress.
const MAX_DATA_FRAME_BYTES: usize = 16 * 1024;

/// Removes `Connection` from a response and sends its body in paced frames, or no body for HEAD.
pub(crate) fn into_http2_response<B: Body<Data = Bytes>>(
    mut response: Response<B>,
    state: Arc<ConnectionState>,
    is_head: bool,
) -> Response<PacedBody<B>> {
    let headers = response.headers_mut();
    // HTTP/2 forbids this field (RFC 9113, section 8.2.2).
    headers.remove(header::CONNECTION);
    if is_head && let Some(length) = response.body().size_hint().exact() {
        let headers = response.headers_mut();
        headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    response.map(|body| PacedBody { body: (!is_head).then_some(body), rest: Bytes::new(), state })
}

/// Sends the body of an answer in frames of limited size, so that each accepted frame shows
/// progress.
pub(crate) struct PacedBody<B> {
    /// `None` when the request was HEAD.
    body: Option<B>,
    /// The rest of the current frame of `body`.
    rest: Bytes,
    state: Arc<ConnectionState>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for PacedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let paced = &mut *self;
        // hyper asks for the next frame when the client has accepted the last one.
        paced.state.enter(Phase::Answering);
        if paced.rest.is_empty() {
            let Some(body) = &mut paced.body else { return Poll::Ready(None) };
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => paced.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return Poll::Ready(other),
            }
        }
        let chunk = paced.rest.split_to(paced.rest.len().min(MAX_DATA_FRAME_BYTES));
        paced.state.enter(Phase::Offering);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let Some(body) = &self.body else { return SizeHint::with_exact(0) };
        let rest = self.rest.len() as u64;
        let hint = body.size_hint();
        let mut total = SizeHint::new();
        total.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            total.set_upper(upper + rest);
        }
        total
    }
}
