//! Evaluates conditional requests (RFC 9110, section 13).

use http::HeaderMap;
use http::header::IF_NONE_MATCH;

/// Returns whether `If-None-Match` names this entity tag. The comparison is weak (RFC 9110, section
/// 13.1.2).
pub(crate) fn if_none_match_names(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
    })
}
