//! `openapi.json`: what this service understands and answers, as an OpenAPI 3.1 document for programs. It is the same
//! for every log, holds nothing of the configuration, and needs no key.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use crate::http::response::conditional::names_tag;
use crate::http::response::success;

/// As it is written.
const WRITTEN: &[u8] = include_bytes!("openapi.json");

/// As it is served: without line ends and what lines begin with, none of which can stand in a string of JSON.
static DOCUMENT: [u8; one_line(WRITTEN, &mut [])] = {
    let mut document = [0; one_line(WRITTEN, &mut [])];
    one_line(WRITTEN, &mut document);
    document
};

/// Changes when a byte of the document does.
const TAG: u64 = fnv1a(WRITTEN);

/// Puts `text` without line ends and indentation into `out`, where that has room, and gives its length.
const fn one_line(text: &[u8], out: &mut [u8]) -> usize {
    let (mut at, mut len, mut begins) = (0, 0, true);
    while at < text.len() {
        let byte = text[at];
        at += 1;
        if byte == b'\n' || (begins && byte == b' ') {
            begins = true;
            continue;
        }
        begins = false;
        if len < out.len() {
            out[len] = byte;
        }
        len += 1;
    }
    len
}

/// The document, or 304 for who has it already.
pub(crate) fn document(headers: &HeaderMap) -> warp::reply::Response {
    let tag = format!("\"{TAG:016x}\"");
    let mut response = if names_tag(headers, &tag) {
        let mut response = Response::new(Bytes::new().into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        success::json(Bytes::from_static(&DOCUMENT))
    };
    let out = response.headers_mut();
    out.extend(HeaderValue::try_from(tag).ok().map(|tag| (ETAG, tag)));
    // May be kept, and is asked for again: an update may change it at any time.
    out.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// FNV-1a: it tells versions of one text apart, nothing more.
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
    fn every_route_is_described_and_nothing_else() {
        let document: Value = serde_json::from_slice(&DOCUMENT).unwrap();
        let paths: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
        let routes = Route::keyed().chain([Route::Status, Route::OpenApi, Route::Page]);
        assert_eq!(paths, routes.map(|route| format!("/{}", route.name())).collect());
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn who_has_it_already_is_not_sent_it_again() {
        let first = document(&HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(document(&headers).status(), StatusCode::NOT_MODIFIED);
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
        assert_eq!(document(&headers).status(), StatusCode::OK);
    }
}
