//! Writes answers as bytes for the fast path. The constant part of a head is prepared when the
//! configuration is loaded.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderName, HeaderValue};

use super::head_writer::write_fields;
use super::success;
use crate::guard::Quota;

/// Holds the prepared heads of a configuration that allows the fast path.
#[derive(Debug)]
pub(crate) struct PreparedHeads {
    text: Vec<u8>,
    json: Vec<u8>,
}

/// The header fields of framing and date. A configuration that sets one of them has no fast path.
const FRAMING: [HeaderName; 4] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::DATE];

impl PreparedHeads {
    /// Prepares the heads of successful answers. `apply_headers` adds the headers that every answer
    /// carries. Returns `None` when a configured header belongs to [`FRAMING`], because only hyper
    /// can write such answers.
    pub(crate) fn new(apply_headers: impl Fn(&mut warp::reply::Response)) -> Option<Self> {
        let head = |mut response: warp::reply::Response| {
            response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
            apply_headers(&mut response);
            let headers = response.headers();
            let framed = FRAMING.iter().any(|name| headers.contains_key(name));
            (!framed).then(|| {
                let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
                write_fields(&mut head, headers);
                head
            })
        };
        Some(Self { text: head(success::success())?, json: head(success::json(""))? })
    }

    /// Appends the answer `success.`
    pub(crate) fn success(&self, out: &mut Vec<u8>, extras: ReplyExtras<'_>) {
        out.extend_from_slice(&self.text);
        finish(out, extras, b"success.");
    }

    /// Appends an answer with a JSON body.
    pub(crate) fn json(&self, out: &mut Vec<u8>, extras: ReplyExtras<'_>, body: &str) {
        out.extend_from_slice(&self.json);
        finish(out, extras, body.as_bytes());
    }
}

/// Holds the parts of a head that differ between answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyExtras<'a> {
    /// The remaining quota of the key.
    pub(crate) quota: Option<&'a Quota>,
    /// True when the connection closes after this answer.
    pub(crate) closes: bool,
}

/// Appends a whole answer, such as a refusal.
pub(crate) fn write_response(out: &mut Vec<u8>, extras: ReplyExtras<'_>, response: &Response<Bytes>) {
    let status = response.status();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("Error").as_bytes());
    out.extend_from_slice(b"\r\n");
    write_fields(out, response.headers());
    finish(out, extras, response.body());
}

fn finish(out: &mut Vec<u8>, extras: ReplyExtras<'_>, body: &[u8]) {
    if let Some(quota) = extras.quota.filter(|quota| !quota.is_empty()) {
        out.extend_from_slice(b"ratelimit: ");
        quota.write_rate_limit(out);
        out.extend_from_slice(b"\r\nratelimit-policy: ");
        quota.write_rate_limit_policy(out);
        out.extend_from_slice(b"\r\n");
    }
    if extras.closes {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
    out.extend_from_slice(b"\r\ndate: ");
    write_date(out);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Appends the date (RFC 9110, section 6.6.1). Each thread formats it once a second.
fn write_date(out: &mut Vec<u8>) {
    thread_local! {
        static NOW: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    NOW.with_borrow_mut(|(second, text)| {
        if *second != since.as_secs() || text.is_empty() {
            *second = since.as_secs();
            *text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(*second));
        }
        out.extend_from_slice(text.as_bytes());
    });
}
