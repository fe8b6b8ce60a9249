//! Writes errors in the form of Elasticsearch.

use http::StatusCode;

use super::items::push_string;
use crate::ingest::dialect::{RefusalCause, RefusedRequest};

/// Returns the body of the answer to a refused request.
pub(super) fn error_body(refusal: &RefusedRequest<'_>) -> String {
    let reason = match refusal.reason {
        Some(reason) => format!("{} {reason}", refusal.detail),
        None => refusal.detail.to_owned(),
    };
    let mut error = String::from("{\"type\":");
    push_string(&mut error, kind(refusal.cause, refusal.status));
    error.push_str(",\"reason\":");
    push_string(&mut error, &reason);
    let root = format!("{error}}}");
    format!(
        "{{\"error\":{{\"root_cause\":[{root}],{}}},\"status\":{}}}",
        &error[1..],
        refusal.status.as_u16()
    )
}

/// Returns the name that Elasticsearch gives to an error of this kind.
const fn kind(cause: RefusalCause, status: StatusCode) -> &'static str {
    match (cause, status) {
        (RefusalCause::MissingKey | RefusalCause::UnknownKey | RefusalCause::KeyRefused, _)
        | (_, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => "security_exception",
        (RefusalCause::TooManyRequests, _) | (_, StatusCode::TOO_MANY_REQUESTS) => {
            "es_rejected_execution_exception"
        }
        (RefusalCause::TooLarge, _) | (_, StatusCode::PAYLOAD_TOO_LARGE) => "content_too_long_exception",
        (RefusalCause::Unavailable, _) | (_, StatusCode::SERVICE_UNAVAILABLE) => {
            "unavailable_shards_exception"
        }
        (RefusalCause::Malformed, _) | (_, StatusCode::BAD_REQUEST) => "parse_exception",
        (_, StatusCode::UNSUPPORTED_MEDIA_TYPE) => "media_type_header_exception",
        _ => "illegal_argument_exception",
    }
}
