//! Successful answers.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Response};

/// What a handler gives.
pub(super) type Answer = Result<warp::reply::Response, super::problem::Problem>;

pub(super) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// `success.`, the whole answer that clients of the seed know.
pub(super) fn success() -> warp::reply::Response {
    text(Bytes::from_static(b"success."))
}

pub(super) fn text(body: Bytes) -> warp::reply::Response {
    with_type(body, TEXT)
}

pub(super) fn json(body: impl Into<Bytes>) -> warp::reply::Response {
    with_type(body.into(), JSON)
}

fn with_type(body: Bytes, media_type: HeaderValue) -> warp::reply::Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// Whether the client asks for JSON by name; `*/*` is not by name.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| {
        value.to_str().is_ok_and(|text| {
            text.split(',').any(|range| {
                let mut parts = range.split(';');
                let named =
                    parts.next().is_some_and(|range| range.trim().eq_ignore_ascii_case("application/json"));
                named
                    && !parts
                        .any(|parameter| matches!(parameter.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
            })
        })
    })
}
