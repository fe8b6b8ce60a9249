//! Serves `download-logs`, which sends the file, or one range of it, as an attachment (RFC 9110,
//! sections 8.8, 13 and 14).

use crate::guard::Access;
use crate::http::response::methods::Methods;
use crate::http::route::{Place, Route, RouteFilter, named};
use futures_util::FutureExt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::http::admitted_request::AdmittedRequest;
use crate::http::query_response::{self, EVERYTHING, cursor_header};
use crate::http::request::read_params::ReadRequest;
use crate::http::response::conditional::if_none_match_names;
use crate::http::response::headers::{TEXT, keep_private};
use crate::http::response::problem::Problem;
use crate::http::response::record_format::RecordFormat;
use crate::http::response::success::{Answer, streaming};
use crate::store::Snapshot;

/// Describes `download-logs`.
pub(crate) static ROUTE: Route = Route {
    name: "download-logs",
    place: Place::OfLog,
    methods: Methods::USUAL,
    access: Access::KeyAndRootPassword,
    handler: |request| async move { download_logs(&request).await }.boxed(),
    endpoint: None,
    openapi: Some(include_str!("openapi/download_logs.json")),
};

/// Matches the path of `download-logs`.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

/// Sends the file, the requested range of it, or the selected records. From an engine without a file
/// all records, without ranges.
async fn download_logs(request: &Arc<AdmittedRequest>) -> Answer {
    let requested = query_response::ask(request).await?;
    if !requested.is_empty() {
        return selected(request, requested).await;
    }
    let Some(raw_file) = request.app.store.raw_file() else {
        return selected(request, requested).await;
    };
    let snapshot = raw_file.snapshot().await?;
    let headers = &request.parts.headers;
    if not_modified(headers, &snapshot) {
        let mut response = warp::reply::Response::new(Bytes::new().into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        validators(response.headers_mut(), &snapshot);
        keep_private(response.headers_mut());
        return Ok(response);
    }
    let requested_range = match headers.get(header::RANGE) {
        Some(range) if range_applies(headers, &snapshot) => parse_range(range, snapshot.len),
        _ => RequestedRange::Whole,
    };
    let (status, range) = match requested_range {
        RequestedRange::Whole => (StatusCode::OK, 0..snapshot.len),
        RequestedRange::Satisfiable(range) => (StatusCode::PARTIAL_CONTENT, range),
        RequestedRange::Unsatisfiable => {
            let value = HeaderValue::from_str(&format!("bytes */{}", snapshot.len));
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "The log has no such range.");
            return Err(match value {
                Ok(value) => problem.with(header::CONTENT_RANGE, value),
                Err(_) => problem,
            });
        }
    };
    let mut response = if request.is_head() {
        warp::reply::Response::new(Bytes::new().into())
    } else {
        streaming(snapshot.bytes.stream(range.clone()))
    };
    *response.status_mut() = status;
    let out = response.headers_mut();
    if status == StatusCode::PARTIAL_CONTENT {
        let text = format!("bytes {}-{}/{}", range.start, range.end - 1, snapshot.len);
        out.extend(HeaderValue::from_str(&text).ok().map(|value| (header::CONTENT_RANGE, value)));
    }
    out.insert(header::CONTENT_TYPE, TEXT);
    out.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    out.extend(disposition(request, "").map(|value| (header::CONTENT_DISPOSITION, value)));
    validators(out, &snapshot);
    keep_private(out);
    cursor_header(request, &mut response, snapshot.end);
    Ok(response)
}

/// Sends selected records as an attachment. The selection exists for this answer only, so it has no
/// ranges and no entity tag.
async fn selected(request: &Arc<AdmittedRequest>, requested: ReadRequest) -> Answer {
    let extension = match requested.output {
        None | Some(RecordFormat::Text) => "",
        Some(RecordFormat::Json) => ".json",
        Some(RecordFormat::Ndjson) => ".ndjson",
    };
    let mut response = query_response::records(request, requested, EVERYTHING).await?;
    let out = response.headers_mut();
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    out.extend(disposition(request, extension).map(|value| (header::CONTENT_DISPOSITION, value)));
    Ok(response)
}

fn validators(headers: &mut HeaderMap, snapshot: &Snapshot) {
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let date = httpdate::fmt_http_date(snapshot.modified);
    headers.extend(HeaderValue::from_str(&date).ok().map(|value| (header::LAST_MODIFIED, value)));
    headers.extend(HeaderValue::from_str(&snapshot.etag).ok().map(|value| (header::ETAG, value)));
}

fn not_modified(headers: &HeaderMap, snapshot: &Snapshot) -> bool {
    if_none_match_names(headers, &snapshot.etag)
}

/// Reports whether `If-Range` allows a range, which it does if the client knows this state of the
/// log. A date has a resolution of one second, so it counts only for a file that has not changed
/// for two seconds.
fn range_applies(headers: &HeaderMap, snapshot: &Snapshot) -> bool {
    let Some(condition) = headers.get(header::IF_RANGE) else { return true };
    let Ok(condition) = condition.to_str() else { return false };
    if condition.starts_with('"') {
        return condition == snapshot.etag;
    }
    httpdate::parse_http_date(condition).is_ok_and(|date| {
        let settled = snapshot.modified.elapsed().is_ok_and(|age| age > Duration::from_secs(2));
        settled && seconds(date) == seconds(snapshot.modified)
    })
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Says which part of the file a client requests.
#[derive(Debug, PartialEq, Eq)]
enum RequestedRange {
    /// The whole file.
    Whole,
    /// One range that lies within the file, in bytes.
    Satisfiable(Range<u64>),
    /// A range that contains no byte of the file.
    Unsatisfiable,
}

/// Parses a `Range` with one byte range. The server ignores several ranges and any other value and
/// sends the whole file, as RFC 9110 allows.
fn parse_range(value: &HeaderValue, len: u64) -> RequestedRange {
    let spec = value.to_str().ok().and_then(|text| {
        let (unit, spec) = text.split_once('=')?;
        unit.trim().eq_ignore_ascii_case("bytes").then(|| spec.trim())
    });
    let Some((first, last)) = spec.and_then(|spec| spec.split_once('-')) else {
        return RequestedRange::Whole;
    };
    let position = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that overflows is a position after the end of every file.
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let range = match (first.trim(), last.trim()) {
        ("", suffix) => match position(suffix) {
            None => return RequestedRange::Whole,
            Some(count) => len.saturating_sub(count)..len,
        },
        (first, "") => match position(first) {
            None => return RequestedRange::Whole,
            Some(first) => first..len,
        },
        (first, last) => match (position(first), position(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(len),
            _ => return RequestedRange::Whole,
        },
    };
    if range.is_empty() { RequestedRange::Unsatisfiable } else { RequestedRange::Satisfiable(range) }
}

/// Returns the range of a file of `len` bytes, for the fuzz targets.
#[cfg(any(fuzzing, test))]
pub(crate) fn part_of(value: &HeaderValue, len: u64) -> Option<Range<u64>> {
    match parse_range(value, len) {
        RequestedRange::Satisfiable(range) => Some(range),
        RequestedRange::Whole | RequestedRange::Unsatisfiable => None,
    }
}

/// Returns `Content-Disposition` (RFC 6266). It has an ASCII file name for every client, and the
/// exact name for clients that support RFC 8187.
fn disposition(request: &AdmittedRequest, extension: &str) -> Option<HeaderValue> {
    const ENCODED_BYTES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let name = request.policy.log.file.file_name()?.to_string_lossy() + extension;
    let ascii: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '_' })
        .collect();
    let mut text = format!("attachment; filename=\"{ascii}\"");
    if ascii != name {
        text.push_str("; filename*=UTF-8''");
        text.extend(utf8_percent_encode(&name, ENCODED_BYTES));
    }
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> RequestedRange {
        parse_range(&HeaderValue::from_str(text).unwrap(), 100)
    }

    #[test]
    fn one_byte_range_is_parsed_and_other_values_mean_the_whole_file() {
        assert_eq!(range("bytes=0-9"), RequestedRange::Satisfiable(0..10));
        assert_eq!(range("bytes=90-"), RequestedRange::Satisfiable(90..100));
        assert_eq!(range("bytes=-5"), RequestedRange::Satisfiable(95..100));
        assert_eq!(range("bytes=-500"), RequestedRange::Satisfiable(0..100));
        assert_eq!(range("Bytes = 99-5000"), RequestedRange::Satisfiable(99..100));
        assert_eq!(range("bytes=100-"), RequestedRange::Unsatisfiable);
        assert_eq!(range("bytes=-0"), RequestedRange::Unsatisfiable);
        assert_eq!(range("bytes=99999999999999999999999-"), RequestedRange::Unsatisfiable);
        for whole in ["bytes=9-0", "bytes=a-b", "bytes=1", "lines=1-2", "bytes=0-1,5-6", "", "bytes=--1"] {
            assert_eq!(range(whole), RequestedRange::Whole, "{whole}");
        }
    }

    proptest! {
        #[test]
        fn any_satisfiable_range_lies_within_the_file(text in "bytes=[0-9,\\- ]{0,30}", len: u64) {
            if let RequestedRange::Satisfiable(range) = parse_range(&HeaderValue::from_str(&text).unwrap(), len) {
                prop_assert!(range.start < range.end && range.end <= len);
            }
        }
    }
}
