//! Builds successful answers.

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::headers::{JSON, TEXT};
use super::problem::Problem;
use crate::store::StoreError;

/// The result of a handler.
pub(crate) type Answer = Result<warp::reply::Response, Problem>;

/// Returns the answer `success.`, which clients of version 1 expect.
pub(crate) fn success() -> warp::reply::Response {
    text(Bytes::from_static(b"success."))
}

/// Returns an answer with a plain text.
pub(crate) fn text(body: Bytes) -> warp::reply::Response {
    with_type(body, TEXT)
}

/// Returns an answer with a JSON text.
pub(crate) fn json(body: impl Into<Bytes>) -> warp::reply::Response {
    with_type(body.into(), JSON)
}

fn with_type(body: Bytes, media_type: HeaderValue) -> warp::reply::Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// Returns an answer that streams its body. An error in the stream aborts the connection, so that a
/// client notices that the log is incomplete.
pub(crate) fn streaming(
    blocks: impl futures_util::Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
) -> warp::reply::Response {
    let blocks = sync_wrapper::SyncStream::new(blocks);
    warp::reply::Reply::into_response(warp::reply::stream(blocks))
}
