//! Loki's push API, as promtail, Alloy, Fluent Bit, Docker's driver and the libraries use it: protobuf in
//! snappy, or JSON.
//!
//! These clients drop a batch after 400 and send it again after 429 and 5xx.

mod json;
mod labels;
mod protobuf;
mod snappy;
mod streams;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Method, Response, StatusCode};

use self::json::JsonError;
use self::protobuf::ProtobufError;
use self::snappy::{Unpacked, unpack};
use self::streams::Streams;
use crate::ingest::batch::Batch;
use crate::ingest::body::media_type::named_encoding;
use crate::ingest::body::received::ReceivedBody;
use crate::ingest::body::records::Records;
use crate::ingest::dialect::{
    Dialect, DialectRoute, IngestRequest, Outcome, RefusedRequest, Reply, RequestHead, Takes, reply,
};
use crate::ingest::error::IngestError;
use crate::ingest::params::Params;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The coding that clients may name in `Content-Encoding` and may leave out.
const SNAPPY: &str = "snappy";

static ROUTES: [DialectRoute; 3] = [
    DialectRoute { path: "/loki/api/v1/push", methods: &[Method::POST], takes: Takes::Many, openapi: None },
    DialectRoute { path: "/api/prom/push", methods: &[Method::POST], takes: Takes::Many, openapi: None },
    DialectRoute {
        path: "/ready",
        methods: &[Method::GET, Method::HEAD],
        takes: Takes::Nothing,
        openapi: None,
    },
];

/// The push API of Loki.
pub(crate) struct Loki;

impl Dialect for Loki {
    fn name(&self) -> &'static str {
        "loki"
    }

    fn routes(&self) -> &'static [DialectRoute] {
        &ROUTES
    }

    fn own_coding(&self) -> Option<&'static str> {
        Some(SNAPPY)
    }

    fn entries<'a>(
        &self,
        request: &IngestRequest<'a>,
        _parameters: Params<'a>,
    ) -> Result<Batch<'a>, IngestError> {
        let body = &request.body;
        let mut streams = Streams::new(Records::new(&request.rules, body.memory));
        match format_of(body, request.head.headers)? {
            Format::Json(body) => {
                let text = body.text(named_encoding(body.media_type).ok().flatten())?;
                json::read(text, &mut streams).map_err(|error| match error {
                    JsonError::Malformed(why) => malformed(why),
                    JsonError::Records(error) => error,
                })?;
            }
            Format::Protobuf(bytes) => {
                protobuf::read(bytes, &mut streams).map_err(|error| match error {
                    ProtobufError::Malformed => malformed("the body is no PushRequest in protobuf"),
                    ProtobufError::Records(error) => error,
                })?;
            }
        }
        Ok(streams.into_records().into_batch())
    }

    fn probe(&self, _head: &RequestHead<'_>) -> Reply {
        reply(StatusCode::OK, TEXT, &b"ready"[..])
    }

    fn answer(&self, _head: &RequestHead<'_>, _outcome: &Outcome) -> Reply {
        let mut reply = Response::new(Bytes::new());
        *reply.status_mut() = StatusCode::NO_CONTENT;
        reply
    }

    fn refuse(&self, _head: &RequestHead<'_>, refusal: &RefusedRequest<'_>) -> Option<Reply> {
        let text = match refusal.reason {
            Some(reason) => format!("{} {reason}\n", refusal.detail),
            None => format!("{}\n", refusal.detail),
        };
        let mut reply = reply(refusal.status, TEXT, text);
        reply.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Some(reply)
    }
}

/// A body in one of the formats.
enum Format<'a> {
    Json(ReceivedBody<'a>),
    Protobuf(&'a [u8]),
}

/// Finds out the format of a body. The content type is a hint, and may be missing or wrong.
fn format_of<'a>(body: &ReceivedBody<'a>, headers: &HeaderMap) -> Result<Format<'a>, IngestError> {
    let is_coded = names_snappy(headers);
    if !is_coded && (body.kind.is_json() || !names_protobuf(body.media_type) && looks_like_json(body.bytes)) {
        return Ok(Format::Json(*body));
    }
    let bytes = match unpack(body)? {
        Unpacked::Bytes(bytes) => bytes,
        // Some proxies decode a body and leave its headers as they are.
        Unpacked::Corrupt if looks_like_json(body.bytes) || begins_like_protobuf(body.bytes) => body.bytes,
        Unpacked::Corrupt => return Err(malformed("the body is no snappy block")),
    };
    let unpacked = ReceivedBody { bytes, ..*body };
    let is_json = looks_like_json(bytes) && !begins_like_protobuf(bytes);
    Ok(if is_json { Format::Json(unpacked) } else { Format::Protobuf(bytes) })
}

fn names_snappy(headers: &HeaderMap) -> bool {
    let values = headers.get_all(CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case(SNAPPY))
}

fn names_protobuf(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.to_ascii_lowercase().contains("protobuf")
}

/// Returns whether the bytes begin an object. No snappy block of a push begins in this way: its second
/// byte would begin a copy of bytes that are not there.
fn looks_like_json(bytes: &[u8]) -> bool {
    let inside = bytes.trim_ascii_start().strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    matches!(inside, Some([b'"' | b'}', ..]))
}

/// Returns whether the bytes begin with the field of the streams.
fn begins_like_protobuf(bytes: &[u8]) -> bool {
    const STREAMS: u8 = 1 << 3 | 2;
    bytes.first() == Some(&STREAMS)
}

fn malformed(why: &'static str) -> IngestError {
    IngestError::Dialect { status: StatusCode::BAD_REQUEST, code: None, why: why.into() }
}

#[cfg(test)]
#[path = "loki/tests.rs"]
mod tests;
