//! Checks the parts of a request's head that hyper does not check.

use http::header;
use http::request::Parts;
use http::{StatusCode, Version};

use crate::config::HttpSettings;
use crate::http::connection::state::ConnectionState;
use crate::http::observe::counters::Reason;
use crate::http::response::problem::Problem;

/// Checks the framing of the request against request smuggling (RFC 9112, section 6.1), the host,
/// and the size of the head. hyper accepts more than a server may.
///
/// # Errors
/// Fails with 400 for conflicting or malformed fields, 414 or 431 for a head that is too long, and
/// 501 for an unknown transfer coding.
pub(crate) fn check_head(parts: &Parts, state: &ConnectionState, http: &HttpSettings) -> Result<(), Problem> {
    let headers = &parts.headers;
    if let Some(coding) = headers.get(header::TRANSFER_ENCODING) {
        // hyper removes Content-Length when both fields are present, so the head is searched as it
        // was received.
        let refused = match state.head_names(b"content-length") {
            Some(false) => None,
            Some(true) => Some("Content-Length together with Transfer-Encoding."),
            None => Some("The Transfer-Encoding could not be checked."),
        };
        if let Some(detail) = refused {
            return Err(malformed(detail).closing());
        }
        // hyper decodes the last coding only. It would pass the bytes of the other codings on as
        // the body.
        let one = headers.get_all(header::TRANSFER_ENCODING).iter().count() == 1;
        if !one || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            let detail = "This Transfer-Encoding is not supported.";
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail).closing());
        }
    }
    state.forget_head();
    // RFC 9112, section 3.2, requires exactly one Host.
    if parts.version == Version::HTTP_11 && headers.get_all(header::HOST).iter().count() != 1 {
        return Err(malformed("Exactly one Host is needed.").closing());
    }
    if headers.get(header::HOST).is_some_and(|host| !is_host(host.as_bytes())) {
        return Err(malformed("The Host is malformed.").closing());
    }
    if parts.version == Version::HTTP_2 {
        check_http2_head(parts, http)?;
    }
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target as u64 > http.max_header_size {
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "The request target is too long.").closing());
    }
    let len: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if len as u64 > http.max_header_size {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::new(status, "The header section is too large.").closing());
    }
    Ok(())
}

/// Returns the refusal of a head that HTTP forbids.
fn malformed(detail: &'static str) -> Problem {
    Problem::bad_request(detail).counted_as(Reason::MalformedHttp)
}

/// Returns whether `value` is free of the characters that end a host and its port in a URL.
pub(crate) fn is_host(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'/' | b'?' | b'#' | b'@' | b'\\'))
}

/// Checks the parts of an HTTP/2 head that hyper checks in HTTP/1 only.
fn check_http2_head(parts: &Parts, http: &HttpSettings) -> Result<(), Problem> {
    let headers = &parts.headers;
    // RFC 9113, section 8.3.1: `:authority` replaces Host. If both are sent, they must be equal.
    let mut hosts = headers.get_all(header::HOST).iter();
    let has_one_host = match (parts.uri.authority(), hosts.next(), hosts.next()) {
        (Some(authority), Some(host), None) => host == authority.as_str(),
        (Some(_), None, None) | (None, Some(_), None) => true,
        _ => false,
    };
    if !has_one_host {
        return Err(malformed("Exactly one Host is needed."));
    }
    if headers.len() > http.max_headers as usize {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::new(status, "The header section is too large."));
    }
    Ok(())
}
