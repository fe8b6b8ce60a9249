//! Doors for the fuzz targets in `fuzz/`; part of no build but theirs. Each panics where a promise is broken.

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

use super::request::params::{BodyKind, Params};
use super::request::read_params::{NAMES, ReadRequest};
use super::response::problem::Problem;
use super::route::Route;
use super::routes::download_logs;
use crate::config::LogName;
use crate::ingest::multipart;
use crate::record::parse_line;
use crate::store::CursorKey;

/// All parameters of a request with this query and body are read or refused.
pub fn parameters(content_type: &[u8], query: &str, body: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.extend(HeaderValue::from_bytes(content_type).ok().map(|value| (CONTENT_TYPE, value)));
    let Ok(params) = Params::without_body(Some(query), &headers) else { return };
    let kind = BodyKind::of(&headers);
    let params = match kind {
        BodyKind::Multipart => multipart::fields(&headers, body).map(|parts| params.with_parts(parts)),
        _ => params.with_body(kind, body),
    };
    let Ok(params) = params else { return };
    drop((params.api_key(), params.root_pass(), params.level(), params.text("x")));
    if let Ok(message) = params.message() {
        assert!(message.chars().count() <= 8192);
    }
    if let Ok(batch) = params.logs()
        && let Ok(entries) = batch.entries()
    {
        assert!(entries.len() <= 1024);
    }
}

/// What a reader asks for is read or refused, and a refusal names a parameter; what is read judges any line.
pub fn selection(query: &str, body: &[u8], line: &[u8]) {
    let headers = HeaderMap::new();
    let key = CursorKey::fixed();
    for kind in [BodyKind::Json, BodyKind::Form] {
        let params =
            Params::without_body(Some(query), &headers).and_then(|params| params.with_body(kind, body));
        let Ok(params) = params else { continue };
        match ReadRequest::read(&params, &key) {
            Ok(asked) => {
                if let Ok(record) = parse_line(line) {
                    let admitted = asked.selection.admits(&record);
                    assert!(admitted || !asked.selection.is_all());
                }
            }
            Err(problem) => assert!(NAMES.iter().any(|name| problem.words().starts_with(name))),
        }
    }
}

/// A multipart body is read or refused, and its fields hold no more than it does.
pub fn multipart(body: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("multipart/form-data; boundary=B"));
    if let Ok(fields) = multipart::fields(&headers, body) {
        // a byte that is no UTF-8 becomes a character of three
        assert!(fields.iter().map(|(_, value)| value.len()).sum::<usize>() <= 3 * body.len());
    }
}

/// A range lies inside of what there is.
pub fn range(value: &[u8], len: u64) {
    if let Ok(value) = HeaderValue::from_bytes(value)
        && let Some(part) = download_logs::part_of(&value, len)
    {
        assert!(part.start < part.end && part.end <= len);
    }
}

/// A path means a route or none.
pub fn route(path: &str) {
    if let Ok(log) = "a b".parse::<LogName>()
        && let Some(route) = Route::of(path, &log)
    {
        assert!(path.to_ascii_lowercase().contains('%') || path.contains(route.name()));
    }
}

/// Whatever a refusal says, it is JSON.
pub fn problem(detail: &str, reason: &str) {
    let problem = Problem::bad_request(detail.to_owned()).because(reason);
    let document: serde_json::Value =
        serde_json::from_slice(problem.into_response().body()).unwrap_or_default();
    assert_eq!((document["detail"].as_str(), document["reason"].as_str()), (Some(detail), Some(reason)));
}
