//! Writes answers as bytes for the fast path. The constant part of a head is prepared when the
//! configuration is loaded.

use http::StatusCode;
use http::header::{self, HeaderValue};

use super::head_writer::{AfterAnswer, Framing, HeadWriter, WRITER_FIELDS};
use super::success;
use crate::guard::Quota;

/// Holds the prepared heads of a configuration that allows the fast path.
#[derive(Debug)]
pub(crate) struct PreparedHeads {
    text: Vec<u8>,
    json: Vec<u8>,
}

impl PreparedHeads {
    /// Prepares the heads of successful answers. `apply_headers` adds the headers that every answer
    /// carries. Returns `None` when a configured header belongs to [`WRITER_FIELDS`], because only
    /// hyper can write such answers.
    pub(crate) fn new(apply_headers: impl Fn(&mut warp::reply::Response)) -> Option<Self> {
        let head = |mut response: warp::reply::Response| {
            response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
            apply_headers(&mut response);
            let headers = response.headers();
            if WRITER_FIELDS.iter().any(|name| headers.contains_key(name)) {
                return None;
            }
            let mut head = Vec::new();
            HeadWriter::begin(&mut head, StatusCode::OK).fields(headers);
            Some(head)
        };
        Some(Self { text: head(success::success())?, json: head(success::json(""))? })
    }

    /// Appends the answer `success.`
    pub(crate) fn success(&self, out: &mut Vec<u8>, extras: ReplyExtras<'_>) {
        complete(&self.text, out, extras, b"success.");
    }

    /// Appends an answer with a JSON body.
    pub(crate) fn json(&self, out: &mut Vec<u8>, extras: ReplyExtras<'_>, body: &str) {
        complete(&self.json, out, extras, body.as_bytes());
    }
}

/// The part of a head that differs between answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyExtras<'a> {
    /// The remaining quota of the key.
    pub(crate) quota: Option<&'a Quota>,
    /// What becomes of the connection.
    pub(crate) after: AfterAnswer,
}

/// Appends the answer that begins with `prepared`.
fn complete(prepared: &[u8], out: &mut Vec<u8>, extras: ReplyExtras<'_>, body: &[u8]) {
    let head = HeadWriter::resume(out, prepared).quota(extras.quota);
    head.finish(Framing::Length(body.len()), extras.after);
    out.extend_from_slice(body);
}
