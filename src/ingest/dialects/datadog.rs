//! The log intake of Datadog, for its agent and its API clients.

use http::header::HeaderValue;
use http::{Method, StatusCode};

use crate::ingest::batch::Batch;
use crate::ingest::body::text_records::{TextRecords, Unread, add_native, object_text, read_json};
use crate::ingest::dialect::{
    Dialect, DialectRoute, IngestRequest, Outcome, RefusedRequest, Reply, RequestHead, Takes, reply,
};
use crate::ingest::error::IngestError;
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{Malformed, Scanner};
use crate::ingest::level_names::{Scale, read_level};
use crate::ingest::params::Params;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The prefix of a member of the envelope whose message has one of the same name.
const PREFIX: &str = "datadog";

const ITEM: &str = include_str!("datadog/logs.json");

const fn route(
    path: &'static str,
    methods: &'static [Method],
    takes: Takes,
    openapi: Option<&'static str>,
) -> DialectRoute {
    DialectRoute { path, methods, takes, openapi }
}

static ROUTES: [DialectRoute; 4] = [
    route("/api/v2/logs", &[Method::POST], Takes::Many, Some(ITEM)),
    route("/v1/input", &[Method::POST], Takes::Many, None),
    route("/v1/input/*", &[Method::POST], Takes::Many, None),
    route("/api/v1/validate", &[Method::GET, Method::HEAD], Takes::Nothing, None),
];

/// The dialect.
pub(crate) struct Datadog;

impl Dialect for Datadog {
    fn name(&self) -> &'static str {
        "datadog"
    }

    fn routes(&self) -> &'static [DialectRoute] {
        &ROUTES
    }

    fn entries<'a>(
        &self,
        request: &IngestRequest<'a>,
        _parameters: Params<'a>,
    ) -> Result<Batch<'a>, IngestError> {
        let text = request.body.any_text()?;
        if !text.text.trim_ascii_start().starts_with(['{', '[']) && !request.body.kind.is_json() {
            let mut records = TextRecords::new(text, &request.rules, request.body.memory);
            records.push_lines(|_| {})?;
            return Ok(records.into_batch());
        }
        read_json(text, &request.rules, request.body.memory, read_logs)
            .map_err(|error| error.into_error("log"))
    }

    fn answer(&self, _head: &RequestHead<'_>, _outcome: &Outcome) -> Reply {
        reply(StatusCode::ACCEPTED, JSON, &b"{}"[..])
    }

    fn probe(&self, _head: &RequestHead<'_>) -> Reply {
        reply(StatusCode::OK, JSON, &b"{\"valid\":true}"[..])
    }

    fn key_in_path<'a>(&self, head: &RequestHead<'a>) -> Option<&'a str> {
        let key = head.path.trim_end_matches('/').rsplit('/').next();
        key.filter(|_| head.route.path == "/v1/input/*")
    }

    fn refuse(&self, _head: &RequestHead<'_>, refusal: &RefusedRequest<'_>) -> Option<Reply> {
        let error = serde_json::json!({
            "status": refusal.status.as_str(),
            "title": refusal.status.canonical_reason().unwrap_or("Error"),
            "detail": refusal.reason.unwrap_or(refusal.detail),
        });
        let body = serde_json::json!({ "errors": [error] });
        Some(reply(refusal.status, JSON, body.to_string()))
    }
}

/// Reads the logs of a body: a list of objects, or objects behind each other. An object without members
/// asks whether the server is there.
fn read_logs(records: &mut TextRecords<'_, '_>) -> Result<(), Unread> {
    let text = records.text();
    let (mut at, mut number) = (0, 0);
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let value = rest.trim_start_matches([' ', '\n', '\r', '\t', ',']);
        if value.is_empty() {
            return Ok(());
        }
        at = text.len() - value.len();
        let mut scanner = Scanner::new(value);
        if value.starts_with('[') {
            number += read_list(records, &mut scanner, at)?;
        } else {
            read_log(records, &mut scanner).map_err(|Malformed| Unread::Malformed(number))?;
            records.finish(at..at + scanner.position())?;
            number += 1;
        }
        at += scanner.position();
    }
}

/// Reads a list that begins at this place of the text. Returns the number of its elements.
fn read_list<'a>(
    records: &mut TextRecords<'a, '_>,
    scanner: &mut Scanner<'a>,
    at: usize,
) -> Result<usize, Unread> {
    let (mut number, mut refused) = (0, None);
    let read = scanner.list(|scanner| {
        let is_object = scanner.peek() == Some(b'{');
        let begin = at + scanner.position();
        if is_object {
            read_log(records, scanner)?;
        } else if let Some(value) = scanner.value()? {
            records.reader().set_message(value.into_text());
        }
        number += 1;
        records.finish(begin..at + scanner.position()).map_err(|error| {
            refused = Some(error);
            Malformed
        })
    });
    match (read, refused) {
        (_, Some(error)) => Err(error.into()),
        (Ok(()), None) => Ok(number),
        (Err(Malformed), None) => Err(Unread::Malformed(number)),
    }
}

/// Reads one log. A message that is an object is a record of its own, and the other members stand around
/// it.
fn read_log<'a>(records: &mut TextRecords<'a, '_>, scanner: &mut Scanner<'a>) -> Result<(), Malformed> {
    let object = scanner.raw()?.get();
    let reader = records.reader();
    let (mut status, mut inner) = (None, None);
    Scanner::new(object).object(|scanner, name| {
        let value = scanner.value()?;
        match &*name {
            "status" => status = value,
            "message" => inner = value.as_ref().and_then(object_text),
            _ => {}
        }
        Ok(())
    })?;
    let read = status.as_ref().and_then(level_of);
    let is_level = |name: &str| name == "status" && read.is_some();
    match inner {
        Some(inner) => {
            add_native(reader, inner)?;
            Scanner::new(object).object(|scanner, name| {
                let value = scanner.value()?;
                if let Some(value) = value.filter(|_| name != "message" && !is_level(&name)) {
                    reader.add_outer(name, value, PREFIX);
                }
                Ok(())
            })?;
        }
        None => Scanner::new(object).object(|scanner, name| {
            let value = scanner.value()?;
            if !is_level(&name) {
                reader.add(name, value);
            }
            Ok(())
        })?,
    }
    if let (Some(status), Some(scale)) = (status, read) {
        if inner.is_some() {
            // The level of the message itself comes first.
            reader.add_outer("level".into(), Value::Text(status.into_text()), PREFIX);
            return Ok(());
        }
        let words = status.into_text();
        let level = read_level(&words, scale);
        reader.set_read_level(level.level, level.is_kept.then_some(words));
    }
    Ok(())
}

/// Returns the scale on which a status is a level. Numbers are severities of syslog.
fn level_of(status: &Value<'_>) -> Option<Scale> {
    let text = match status {
        Value::Text(text) => &**text,
        Value::Number(text) => text,
        Value::Other(_) => return None,
    };
    read_level(text, Scale::Syslog).is_known.then_some(Scale::Syslog)
}

#[cfg(test)]
#[path = "datadog/tests.rs"]
mod tests;
