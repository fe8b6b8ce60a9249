//! Conditional requests (RFC 9110, section 13).

use http::HeaderMap;
use http::header::IF_NONE_MATCH;

/// Whether `If-None-Match` names this entity tag; the weak comparison of RFC 9110, section 13.1.2.
pub(crate) fn names_tag(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
    })
}
