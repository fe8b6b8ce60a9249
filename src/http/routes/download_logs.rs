//! `download-logs`: the file as an attachment, whole or in part (RFC 9110, sections 8.8, 13 and 14).

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
use crate::http::response::conditional::names_tag;
use crate::http::response::headers::{TEXT, keep_private};
use crate::http::response::problem::Problem;
use crate::http::response::record_format::RecordFormat;
use crate::http::response::success::{Answer, streaming};
use crate::store::Snapshot;

/// Sends the file, or the range of it that was asked for.
pub(crate) async fn download_logs(call: &Arc<AdmittedRequest>) -> Answer {
    let asked = query_response::ask(call).await?;
    if !asked.is_nothing() {
        return selected(call, asked).await;
    }
    let snapshot = call.app.store.snapshot().await?;
    let headers = &call.parts.headers;
    if not_modified(headers, &snapshot) {
        let mut response = warp::reply::Response::new(Bytes::new().into());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        validators(response.headers_mut(), &snapshot);
        keep_private(response.headers_mut());
        return Ok(response);
    }
    let wanted = match headers.get(header::RANGE) {
        Some(range) if range_applies(headers, &snapshot) => parse_range(range, snapshot.len),
        _ => Wanted::Whole,
    };
    let (status, range) = match wanted {
        Wanted::Whole => (StatusCode::OK, 0..snapshot.len),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => {
            let value = HeaderValue::from_str(&format!("bytes */{}", snapshot.len));
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "The log has no such range.");
            return Err(match value {
                Ok(value) => problem.with(header::CONTENT_RANGE, value),
                Err(_) => problem,
            });
        }
    };
    let mut response = if call.is_head() {
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
    out.extend(disposition(call, "").map(|value| (header::CONTENT_DISPOSITION, value)));
    validators(out, &snapshot);
    keep_private(out);
    cursor_header(call, &mut response, snapshot.end);
    Ok(response)
}

/// A selection as an attachment. It is made for this answer: it has no parts and no tag to ask for it again.
async fn selected(call: &Arc<AdmittedRequest>, asked: ReadRequest) -> Answer {
    let extension = match asked.output {
        None | Some(RecordFormat::Text) => "",
        Some(RecordFormat::Json) => ".json",
        Some(RecordFormat::Ndjson) => ".ndjson",
    };
    let mut response = query_response::records(call, asked, EVERYTHING).await?;
    let out = response.headers_mut();
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    out.extend(disposition(call, extension).map(|value| (header::CONTENT_DISPOSITION, value)));
    Ok(response)
}

fn validators(headers: &mut HeaderMap, snapshot: &Snapshot) {
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let date = httpdate::fmt_http_date(snapshot.modified);
    headers.extend(HeaderValue::from_str(&date).ok().map(|value| (header::LAST_MODIFIED, value)));
    headers.extend(HeaderValue::from_str(&snapshot.etag).ok().map(|value| (header::ETAG, value)));
}

fn not_modified(headers: &HeaderMap, snapshot: &Snapshot) -> bool {
    names_tag(headers, &snapshot.etag)
}

/// `If-Range`: a range of another state of the log would be nonsense. A date is only as good as its second.
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

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part(Range<u64>),
    Nothing,
}

/// One range; several, or what is no range of bytes, are answered with the whole, as the RFC allows.
fn parse_range(value: &HeaderValue, len: u64) -> Wanted {
    let spec = value.to_str().ok().and_then(|text| {
        let (unit, spec) = text.split_once('=')?;
        unit.trim().eq_ignore_ascii_case("bytes").then(|| spec.trim())
    });
    let Some((first, last)) = spec.and_then(|spec| spec.split_once('-')) else { return Wanted::Whole };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than a number holds is beyond every end.
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let range = match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            None => return Wanted::Whole,
            Some(count) => len.saturating_sub(count)..len,
        },
        (first, "") => match number(first) {
            None => return Wanted::Whole,
            Some(first) => first..len,
        },
        (first, last) => match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(len),
            _ => return Wanted::Whole,
        },
    };
    if range.is_empty() { Wanted::Nothing } else { Wanted::Part(range) }
}

/// For the fuzz targets.
#[cfg(any(fuzzing, test))]
pub(crate) fn part_of(value: &HeaderValue, len: u64) -> Option<Range<u64>> {
    match parse_range(value, len) {
        Wanted::Part(range) => Some(range),
        Wanted::Whole | Wanted::Nothing => None,
    }
}

/// RFC 6266: an ASCII name for everybody, the real one for those who read RFC 8187.
fn disposition(call: &AdmittedRequest, extension: &str) -> Option<HeaderValue> {
    const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    let name = call.policy.log.file.file_name()?.to_string_lossy() + extension;
    let ascii: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '_' })
        .collect();
    let mut text = format!("attachment; filename=\"{ascii}\"");
    if ascii != name {
        text.push_str("; filename*=UTF-8''");
        text.extend(utf8_percent_encode(&name, PLAIN));
    }
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> Wanted {
        parse_range(&HeaderValue::from_str(text).unwrap(), 100)
    }

    #[test]
    fn ranges() {
        assert_eq!(range("bytes=0-9"), Wanted::Part(0..10));
        assert_eq!(range("bytes=90-"), Wanted::Part(90..100));
        assert_eq!(range("bytes=-5"), Wanted::Part(95..100));
        assert_eq!(range("bytes=-500"), Wanted::Part(0..100));
        assert_eq!(range("Bytes = 99-5000"), Wanted::Part(99..100));
        assert_eq!(range("bytes=100-"), Wanted::Nothing);
        assert_eq!(range("bytes=-0"), Wanted::Nothing);
        assert_eq!(range("bytes=99999999999999999999999-"), Wanted::Nothing);
        for whole in ["bytes=9-0", "bytes=a-b", "bytes=1", "lines=1-2", "bytes=0-1,5-6", "", "bytes=--1"] {
            assert_eq!(range(whole), Wanted::Whole, "{whole}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_inside(text in "bytes=[0-9,\\- ]{0,30}", len: u64) {
            if let Wanted::Part(range) = parse_range(&HeaderValue::from_str(&text).unwrap(), len) {
                prop_assert!(range.start < range.end && range.end <= len);
            }
        }
    }
}
