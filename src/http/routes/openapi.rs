//! Serves `openapi.json`, which describes the requests and answers of this service as an OpenAPI
//! 3.1 document. The document is the same for every log, contains no configuration, and needs no
//! key.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use crate::http::response::conditional::if_none_match_names;
use crate::http::response::success;

/// The document as it stands in the repository.
const SOURCE: &[u8] = include_bytes!("openapi.json");

/// The document as the service sends it, without line ends and indentation. A JSON string cannot
/// contain a line end, so no string changes.
static DOCUMENT: [u8; minify(SOURCE, &mut [])] = {
    let mut document = [0; minify(SOURCE, &mut [])];
    minify(SOURCE, &mut document);
    document
};

/// Hash of the document, from which the entity tag is made.
const TAG: u64 = fnv1a(SOURCE);

/// Writes `text` without line ends and indentation into `out` as far as it fits, and returns the
/// length of the whole result.
const fn minify(text: &[u8], out: &mut [u8]) -> usize {
    let (mut at, mut len, mut at_line_start) = (0, 0, true);
    while at < text.len() {
        let byte = text[at];
        at += 1;
        if byte == b'\n' || (at_line_start && byte == b' ') {
            at_line_start = true;
            continue;
        }
        at_line_start = false;
        if len < out.len() {
            out[len] = byte;
        }
        len += 1;
    }
    len
}

/// Answers with the document, or with 304 for a client that has it already.
pub(crate) fn document(headers: &HeaderMap) -> warp::reply::Response {
    let tag = format!("\"{TAG:016x}\"");
    let mut response = if if_none_match_names(headers, &tag) {
        let mut response = Response::new(Bytes::new().into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        success::json(Bytes::from_static(&DOCUMENT))
    };
    let out = response.headers_mut();
    out.extend(HeaderValue::try_from(tag).ok().map(|tag| (ETAG, tag)));
    // Caches must revalidate, because an update may change the document at any time.
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Returns the FNV-1a hash. It distinguishes versions of one text and is not cryptographic.
const fn fnv1a(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::header::IF_NONE_MATCH;
    use serde_json::Value;

    use super::*;
    use crate::http::route::Route;

    #[test]
    fn document_describes_exactly_the_routes() {
        let document: Value = serde_json::from_slice(&DOCUMENT).unwrap();
        let paths: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let routes = Route::keyed().chain([Route::Status, Route::OpenApi, Route::Page]);
        assert_eq!(paths, routes.map(|route| format!("/{}", route.name())).collect());
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn known_entity_tag_answers_304() {
        let first = document(&HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(document(&headers).status(), StatusCode::NOT_MODIFIED);
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
        assert_eq!(document(&headers).status(), StatusCode::OK);
    }
}
