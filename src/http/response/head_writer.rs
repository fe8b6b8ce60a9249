//! Writes HTTP/1.1 answers as bytes (RFC 9112), for connections that hyper does not serve.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{HeaderMap, Response};

/// Returns a whole answer that closes its connection.
pub(crate) fn closing_response(response: &Response<Bytes>) -> Vec<u8> {
    let status = response.status();
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut bytes = format!(
        "HTTP/1.1 {} {}\r\nconnection: close\r\ncontent-length: {}\r\ndate: {date}\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error"),
        response.body().len()
    )
    .into_bytes();
    let mut headers = response.headers().clone();
    headers.remove(CONNECTION);
    write_fields(&mut bytes, &headers);
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(response.body());
    bytes
}

/// Appends header fields, each with its line end.
pub(crate) fn write_fields(out: &mut Vec<u8>, headers: &HeaderMap<HeaderValue>) {
    for (name, value) in headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}
