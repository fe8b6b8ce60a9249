//! OpenTelemetry logs: OTLP over HTTP in protobuf and JSON, and OTLP over gRPC.
//!
//! The body of a record is its message, and attributes are fields. Senders drop a batch after most
//! errors, so a record that can be stored in any form is stored.

mod any_value;
mod grpc;
#[cfg(test)]
mod messages;
mod read;
mod record;
mod status;
mod wire;

use http::header::HeaderValue;
use http::{HeaderMap, Method, StatusCode};
use prost::Message;

use self::read::{ReadError, read_json, read_wire};
use self::record::Entries;
use self::status::Code;
use self::wire::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use crate::ingest::batch::Batch;
use crate::ingest::body::media_type::{BodyKind, content_type, named_encoding};
use crate::ingest::body::received::ReceivedBody;
use crate::ingest::dialect::{
    Dialect, DialectRoute, Framed, IngestRequest, Outcome, RefusedRequest, Reply, RequestHead, Takes, reply,
};
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::error::IngestError;
use crate::ingest::params::Params;

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

static ROUTES: [DialectRoute; 3] = [
    DialectRoute {
        path: "/v1/logs",
        methods: &[Method::POST],
        takes: Takes::Many,
        openapi: Some(include_str!("otlp/logs.json")),
    },
    DialectRoute {
        path: "/otlp/v1/logs",
        methods: &[Method::POST],
        takes: Takes::Many,
        openapi: Some(include_str!("otlp/prefixed_logs.json")),
    },
    DialectRoute { path: grpc::PATH, methods: &[Method::POST], takes: Takes::Many, openapi: None },
];

/// OTLP.
pub(crate) struct Otlp;

/// The form of a request and of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
    Grpc,
}

impl Form {
    /// Returns the form that the headers announce.
    fn of(headers: &HeaderMap) -> Self {
        if grpc::is_announced(headers) {
            Self::Grpc
        } else if BodyKind::of(headers).is_json() {
            Self::Json
        } else {
            Self::Protobuf
        }
    }

    /// Returns the form of a body. A type that is neither of both says nothing, and a protobuf request
    /// never begins with a brace.
    fn of_body(headers: &HeaderMap, body: &[u8]) -> Self {
        let is_protobuf = content_type(headers).to_ascii_lowercase().contains("protobuf");
        match Self::of(headers) {
            Self::Protobuf if !is_protobuf && body.trim_ascii_start().starts_with(b"{") => Self::Json,
            form => form,
        }
    }
}

impl Dialect for Otlp {
    fn name(&self) -> &'static str {
        "otlp"
    }

    fn routes(&self) -> &'static [DialectRoute] {
        &ROUTES
    }

    fn claims(&self, headers: &HeaderMap) -> bool {
        grpc::is_announced(headers)
    }

    fn framed(&self, head: &RequestHead<'_>, body: &[u8]) -> Result<Option<Framed>, IngestError> {
        if head.route.path == grpc::PATH { grpc::framed(head.headers, body).map(Some) } else { Ok(None) }
    }

    fn entries<'a>(
        &self,
        request: &IngestRequest<'a>,
        _parameters: Params<'a>,
    ) -> Result<Batch<'a>, IngestError> {
        let IngestRequest { head, body, rules } = request;
        let form = Form::of_body(head.headers, body.bytes);
        let mut entries = Entries::new(rules, body.memory);
        if form != Form::Json {
            read_wire(body.bytes, &mut entries).map_err(not_readable)?;
        } else if !body.bytes.trim_ascii().is_empty() {
            entries = entries_of_json(body, rules)?;
        }
        let rejected = entries.rejected;
        let mut batch = entries.into_batch();
        if rejected > 0 {
            if batch.len() == 0 {
                return Err(malformed());
            }
            batch.set_reply(partial_success(form, rejected));
        } else if form == Form::Json {
            batch.set_reply(&b"{}"[..]);
        }
        Ok(batch)
    }

    fn answer(&self, head: &RequestHead<'_>, outcome: &Outcome) -> Reply {
        let body = outcome.prepared.clone().unwrap_or_default();
        match Form::of(head.headers) {
            Form::Grpc => grpc::success(&body),
            Form::Protobuf if body.starts_with(b"{") => reply(StatusCode::OK, JSON, body),
            Form::Protobuf => reply(StatusCode::OK, PROTOBUF, body),
            Form::Json => reply(StatusCode::OK, JSON, body),
        }
    }

    fn refuse(&self, head: &RequestHead<'_>, refusal: &RefusedRequest<'_>) -> Option<Reply> {
        let status = status::http_status(refusal);
        let code = Code::of(refusal, status);
        let message = status::message(refusal);
        Some(match Form::of(head.headers) {
            Form::Grpc => grpc::refusal(code, message, refusal.retry_after),
            Form::Json => reply(status, JSON, status::json(code, &message)),
            Form::Protobuf => {
                let body = wire::Status { code: code as i32, message, details: Vec::new() };
                reply(status, PROTOBUF, body.encode_to_vec())
            }
        })
    }
}

/// Reads a body in JSON. One that holds `NaN` or `Infinity` is read with these as strings.
fn entries_of_json<'a, 'r>(
    body: &ReceivedBody<'a>,
    rules: &ReadRules<'r>,
) -> Result<Entries<'a, 'r>, IngestError>
where
    'a: 'r,
{
    let text = body.text(named_encoding(body.media_type)?)?;
    let mut entries = Entries::new(rules, body.memory);
    match read_json(text, &mut entries) {
        Err(ReadError::Malformed) => {}
        read => return read.map(|()| entries).map_err(not_readable),
    }
    let mut entries = Entries::new(rules, body.memory);
    let Some(quoted) = body.quoted(text)? else { return Err(malformed()) };
    read_json(quoted, &mut entries).map(|()| entries).map_err(not_readable)
}

fn not_readable(error: ReadError) -> IngestError {
    match error {
        ReadError::Malformed => malformed(),
        ReadError::Refused(error) => error,
    }
}

/// Returns the error of a body that is no request of OTLP.
fn malformed() -> IngestError {
    IngestError::Dialect {
        status: StatusCode::BAD_REQUEST,
        code: None,
        why: "The body is not an ExportLogsServiceRequest.".into(),
    }
}

/// Returns the body of the answer when some records cannot be read.
fn partial_success(form: Form, rejected: usize) -> Vec<u8> {
    const WHY: &str = "These records are malformed and were not stored.";
    if form == Form::Json {
        let text = format!(
            "{{\"partialSuccess\":{{\"rejectedLogRecords\":\"{rejected}\",\"errorMessage\":\"{WHY}\"}}}}"
        );
        return text.into_bytes();
    }
    let rejected_log_records = i64::try_from(rejected).unwrap_or(i64::MAX);
    let partial_success = ExportLogsPartialSuccess { rejected_log_records, error_message: WHY.to_owned() };
    ExportLogsServiceResponse { partial_success: Some(partial_success) }.encode_to_vec()
}

#[cfg(test)]
#[path = "otlp/tests.rs"]
mod tests;
