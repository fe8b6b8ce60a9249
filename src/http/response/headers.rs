//! Defines header values and header rules that several answers share.

use http::header::{ACCEPT, CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Method};

/// `Keep-Alive`, which announces how long a connection stays open (RFC 2068, section 19.7.1).
pub(crate) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
pub(crate) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Adds the headers for an answer with text from clients. Because of them, no cache stores the
/// answer and no browser renders a message as a page.
pub(crate) fn keep_private(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
}

/// Forbids caches to store the answer to a request that changes something. Otherwise a cache could
/// repeat a stored answer to GET (RFC 9111, section 3), and the server would not see the request.
pub(crate) fn forbid_caching(headers: &mut HeaderMap, method: &Method) {
    if *method != Method::POST {
        headers.insert(CACHE_CONTROL, NO_STORE);
    }
}

/// Returns whether `Accept` names JSON.
pub(crate) fn wants_json(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(names_json))
}

/// Returns whether `Accept` names HTML, as browsers do that open a page.
pub(crate) fn accepts_html(headers: &HeaderMap) -> bool {
    let names_html = |accept: &str| accept.to_ascii_lowercase().contains("text/html");
    headers.get_all(ACCEPT).iter().any(|value| value.to_str().is_ok_and(names_html))
}

/// Returns whether one value of `Accept` names JSON. `*/*` does not name it.
pub(crate) fn names_json(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';');
        let is_json = parts.next().is_some_and(|range| range.trim().eq_ignore_ascii_case("application/json"));
        is_json && !parts.any(|parameter| matches!(parameter.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}
