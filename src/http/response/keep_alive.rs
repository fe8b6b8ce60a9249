//! Announces on answers that hyper writes how long their connection stays open. Without the hint, a
//! client whose own timeout is as long as the server's sends requests into connections that the
//! server closes.

use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Response, Version};
use http_body::Body;

use super::headers::KEEP_ALIVE;

/// Adds `Keep-Alive: timeout=SECONDS` to an answer of HTTP/1, unless hyper closes the connection after
/// it. Answers of the fast path have the field at the same place.
pub(crate) fn announce_keep_alive(
    response: &mut Response<impl Body>,
    version: Version,
    request: &HeaderMap,
    seconds: u64,
) {
    let stays_open = asks_to_keep(version, request) && !names(response.headers(), "close");
    // Without a length, the end of the connection is the end of a body of HTTP/1.0.
    let has_length = version == Version::HTTP_11
        || response.headers().contains_key(CONTENT_LENGTH)
        || response.body().size_hint().exact().is_some();
    if stays_open && has_length {
        let hint = HeaderValue::try_from(format!("timeout={seconds}"));
        response.headers_mut().extend(hint.ok().map(|hint| (KEEP_ALIVE, hint)));
    }
}

/// Reports whether a request keeps its connection (RFC 9112, section 9.3).
fn asks_to_keep(version: Version, request: &HeaderMap) -> bool {
    !names(request, "close") && (version == Version::HTTP_11 || names(request, "keep-alive"))
}

/// Reports whether `Connection` names this option.
fn names(headers: &HeaderMap, option: &str) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case(option))
}
