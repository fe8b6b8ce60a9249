//! Checks of a request's head that hyper leaves to the server.

use http::header;
use http::{Request, StatusCode, Version};
use hyper::body::Incoming;

use crate::config::HttpSettings;
use crate::http::connection::state::ConnectionState;
use crate::http::response::problem::Problem;

/// What hyper lets pass but a server must not (RFC 9112, section 6.1: request smuggling), and the size of the head.
pub(crate) fn check_head(
    request: &Request<Incoming>,
    state: &ConnectionState,
    http: &HttpSettings,
) -> Result<(), Problem> {
    let headers = request.headers();
    if let Some(coding) = headers.get(header::TRANSFER_ENCODING) {
        // hyper takes Content-Length out where both stand, so the head is looked at as it came. One that can't be
        // seen, because it came in a row with another request, is refused: nobody pipelines chunked bodies.
        if state.head_names(b"content-length") != Some(false) {
            let detail = "Content-Length together with Transfer-Encoding.";
            return Err(Problem::bad_request(detail).closing());
        }
        // hyper undoes the last coding only, and hands on what is below as if it were the body.
        let one = headers.get_all(header::TRANSFER_ENCODING).iter().count() == 1;
        if !one || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
            let detail = "This Transfer-Encoding is not supported.";
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, detail).closing());
        }
    }
    state.forget_head();
    // RFC 9112, section 3.2.
    if request.version() == Version::HTTP_11 && headers.get_all(header::HOST).iter().count() != 1 {
        return Err(Problem::bad_request("Exactly one Host is needed.").closing());
    }
    if headers.get(header::HOST).is_some_and(|host| !is_host(host.as_bytes())) {
        return Err(Problem::bad_request("The Host is malformed.").closing());
    }
    if request.version() == Version::HTTP_2 {
        check_http2_head(request, http)?;
    }
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target as u64 > http.max_header_size {
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "The request target is too long.").closing());
    }
    let length: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if length as u64 > http.max_header_size {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::new(status, "The header section is too large.").closing());
    }
    Ok(())
}

/// Whether nothing stands in it that ends a host and its port in a URL, or comes before them.
pub(crate) fn is_host(value: &[u8]) -> bool {
    !value.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'/' | b'?' | b'#' | b'@' | b'\\'))
}

/// What hyper's HTTP/1 checks while it reads a head, and its HTTP/2 does not.
fn check_http2_head(request: &Request<Incoming>, http: &HttpSettings) -> Result<(), Problem> {
    let headers = request.headers();
    // RFC 9113, section 8.3.1: `:authority` stands for Host; where both come, they say the same.
    let mut hosts = headers.get_all(header::HOST).iter();
    let named = match (request.uri().authority(), hosts.next(), hosts.next()) {
        (Some(authority), Some(host), None) => host == authority.as_str(),
        (Some(_), None, None) | (None, Some(_), None) => true,
        _ => false,
    };
    if !named {
        return Err(Problem::bad_request("Exactly one Host is needed."));
    }
    if headers.len() > http.max_headers as usize {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::new(status, "The header section is too large."));
    }
    Ok(())
}
