//! Answers as bytes: what stands in every head is made ready with the configuration.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderName, HeaderValue};

use super::head_writer::write_fields;
use super::success;
use crate::guard::Quota;

/// Ready-made heads, for a configuration under which requests may take the short way.
#[derive(Debug)]
pub(crate) struct PreparedHeads {
    text: Vec<u8>,
    json: Vec<u8>,
}

/// Configured headers that say how an answer is framed or when it was made are hyper's business.
const FRAMING: [HeaderName; 4] =
    [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::DATE];

impl PreparedHeads {
    /// Prepares the heads of successful answers. `apply_headers` adds the fields that stand on every answer. Returns
    /// `None` when a configured header field frames the message: only hyper handles such fields.
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

    /// `success.`
    pub(crate) fn success(&self, out: &mut Vec<u8>, more: ReplyExtras<'_>) {
        out.extend_from_slice(&self.text);
        finish(out, more, b"success.");
    }

    /// A JSON text.
    pub(crate) fn json(&self, out: &mut Vec<u8>, more: ReplyExtras<'_>, body: &str) {
        out.extend_from_slice(&self.json);
        finish(out, more, body.as_bytes());
    }
}

/// What differs from answer to answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyExtras<'a> {
    /// what is left of the key's limits
    pub(crate) quota: Option<&'a Quota>,
    /// it is the last one of its connection
    pub(crate) closes: bool,
}

/// Appends a whole answer, a refusal.
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

fn finish(out: &mut Vec<u8>, more: ReplyExtras<'_>, body: &[u8]) {
    if let Some(quota) = more.quota.filter(|quota| !quota.is_empty()) {
        out.extend_from_slice(b"ratelimit: ");
        quota.write_rate_limit(out);
        out.extend_from_slice(b"\r\nratelimit-policy: ");
        quota.write_rate_limit_policy(out);
        out.extend_from_slice(b"\r\n");
    }
    if more.closes {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
    out.extend_from_slice(b"\r\ndate: ");
    write_date(out);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// RFC 9110, section 6.6.1; written anew once a second on each thread.
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
