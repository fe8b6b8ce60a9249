//! gRPC over HTTP/2: one message in a frame of five bytes, and a status in the trailers.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64_NOPAD;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use prost::Message;

use super::status::Code;
use super::wire;
use crate::ingest::body::media_type::content_type;
use crate::ingest::dialect::{Framed, Reply, Trailers, reply};
use crate::ingest::error::IngestError;

/// The path of the only method.
pub(super) const PATH: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The characters of a message that are percent-encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

/// Length of what stands before a message: a flag and the length of the message.
const PREFIX_BYTES: usize = 5;

/// Returns whether the headers announce gRPC.
pub(super) fn is_announced(headers: &HeaderMap) -> bool {
    let essence = content_type(headers).split(';').next().unwrap_or_default().trim();
    let rest = essence.get(..16).filter(|name| name.eq_ignore_ascii_case("application/grpc"));
    rest.is_some() && matches!(essence.as_bytes().get(16), None | Some(b'+'))
}

/// Finds the message in a body, and its coding.
///
/// # Errors
/// Fails when the body does not hold exactly one message, and for a coding that is not supported.
pub(super) fn framed(headers: &HeaderMap, body: &[u8]) -> Result<Framed, IngestError> {
    if !is_announced(headers) {
        return Err(refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            None,
            "The content type must be application/grpc.",
        ));
    }
    let malformed = |why| refused(StatusCode::BAD_REQUEST, None, why);
    let Some((prefix, message)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(malformed("The body holds no message."));
    };
    let [flag, len @ ..] = *prefix;
    if u32::from_be_bytes(len) as usize != message.len() {
        return Err(malformed("The body must hold exactly one whole message."));
    }
    let coding = match (flag, headers.get(ENCODING).map(HeaderValue::as_bytes)) {
        (0, _) => None,
        (1, Some(b"gzip")) => Some("gzip"),
        (1, Some(b"deflate")) => Some("deflate"),
        (1, Some(b"zstd")) => Some("zstd"),
        (1, None | Some(b"identity")) => return Err(malformed("A compressed message needs grpc-encoding.")),
        (1, Some(_)) => {
            let code = Some(Code::Unimplemented as u16);
            return Err(refused(StatusCode::BAD_REQUEST, code, "This grpc-encoding is not supported."));
        }
        _ => return Err(malformed("The flag of the message is unknown.")),
    };
    Ok(Framed { message: PREFIX_BYTES..body.len(), coding })
}

fn refused(status: StatusCode, code: Option<u16>, why: &'static str) -> IngestError {
    IngestError::Dialect { status, code, why: why.into() }
}

/// Returns the answer with this message.
pub(super) fn success(message: &[u8]) -> Reply {
    let len = u32::try_from(message.len()).unwrap_or_default();
    let body = [&[0], &len.to_be_bytes()[..], message].concat();
    let mut reply = reply(StatusCode::OK, MEDIA_TYPE, body);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(STATUS, HeaderValue::from_static("0"));
    reply.extensions_mut().insert(Trailers(trailers));
    reply
}

/// Returns the answer to a refused request: a head without a body.
pub(super) fn refusal(code: Code, message: String, retry_after: Option<Duration>) -> Reply {
    let mut reply = reply(StatusCode::OK, MEDIA_TYPE, Bytes::new());
    let headers = reply.headers_mut();
    headers.insert(STATUS, HeaderValue::from(code as i32));
    let encoded = utf8_percent_encode(&message, ENCODED).to_string();
    headers.extend(HeaderValue::try_from(encoded).ok().map(|value| (MESSAGE, value)));
    if code == Code::Unimplemented {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity, gzip, deflate, zstd"));
    }
    // Senders repeat a request after RESOURCE_EXHAUSTED only when it names a time.
    if let Some(after) = retry_after {
        let details = BASE64_NOPAD.encode(&details(code, message, after).encode_to_vec());
        headers.extend(HeaderValue::try_from(details).ok().map(|value| (DETAILS, value)));
    }
    reply
}

/// Returns a status that says when to send the request again.
fn details(code: Code, message: String, after: Duration) -> wire::Status {
    let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    let retry_info = wire::RetryInfo { retry_delay: Some(wire::Duration { seconds, nanos: 0 }) };
    let detail = wire::Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: retry_info.encode_to_vec(),
    };
    wire::Status { code: code as i32, message, details: vec![detail] }
}
