//! Says why a request failed, in the codes of gRPC and of HTTP.

use http::StatusCode;
use serde::Serialize;

use crate::ingest::dialect::RefusedRequest;

/// The codes of gRPC that answers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidArgument = 3,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// Returns the code of a refusal with this status of HTTP.
    pub(super) fn of(refusal: &RefusedRequest<'_>, status: StatusCode) -> Self {
        match status {
            _ if refusal.code == Some(Self::Unimplemented as u16) => Self::Unimplemented,
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::PermissionDenied,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => Self::ResourceExhausted,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Self::Unimplemented,
            StatusCode::NOT_IMPLEMENTED => Self::Unimplemented,
            status if status.is_server_error() => Self::Unavailable,
            _ => Self::InvalidArgument,
        }
    }
}

/// Returns the status of the answer over HTTP. Senders repeat a request after 429 and 503 only, and drop
/// its records after every other error.
pub(super) fn http_status(refusal: &RefusedRequest<'_>) -> StatusCode {
    match refusal.status {
        StatusCode::REQUEST_TIMEOUT => StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    }
}

/// Returns the text of a refusal.
pub(super) fn message(refusal: &RefusedRequest<'_>) -> String {
    match refusal.reason {
        Some(reason) => format!("{} {reason}", refusal.detail),
        None => refusal.detail.to_owned(),
    }
}

/// Returns a `google.rpc.Status` as JSON.
pub(super) fn json(code: Code, message: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Status<'a> {
        code: i32,
        message: &'a str,
    }
    serde_json::to_vec(&Status { code: code as i32, message }).unwrap_or_default()
}
