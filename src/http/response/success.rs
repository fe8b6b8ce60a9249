//! Successful answers.

use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::headers::{JSON, TEXT};
use super::problem::Problem;
use crate::store::StoreError;

/// What a handler gives.
pub(crate) type Answer = Result<warp::reply::Response, Problem>;

/// `success.`, the whole answer that clients of the seed know.
pub(crate) fn success() -> warp::reply::Response {
    text(Bytes::from_static(b"success."))
}

pub(crate) fn text(body: Bytes) -> warp::reply::Response {
    with_type(body, TEXT)
}

pub(crate) fn json(body: impl Into<Bytes>) -> warp::reply::Response {
    with_type(body.into(), JSON)
}

fn with_type(body: Bytes, media_type: HeaderValue) -> warp::reply::Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// A stream as an answer. Its failure breaks the connection off: half a log must not look like a whole one.
pub(crate) fn streaming(
    blocks: impl futures_util::Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
) -> warp::reply::Response {
    let blocks = sync_wrapper::SyncStream::new(blocks);
    warp::reply::Reply::into_response(warp::reply::stream(blocks))
}

/// The answer to a save in JSON. `cursor` is the encoded cursor behind the last record.
pub(crate) fn saved_json(saved: usize, filtered: usize, cursor: &str) -> String {
    format!("{{\"saved\":{saved},\"filtered\":{filtered},\"cursor\":\"{cursor}\"}}")
}
