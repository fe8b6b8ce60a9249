//! The HTTP Event Collector of Splunk, for Docker's `splunk` driver, the `splunk` handlers of many
//! libraries, Vector, Fluentd and appliances.
//!
//! Events stand behind each other without a separator, with any content type or none. The raw routes take
//! one record a line.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, HeaderValue};
use http::{Method, StatusCode};

use crate::ingest::batch::Batch;
use crate::ingest::body::text_records::{
    TextRecords, Unread, add_native, add_outer_members, object_text, read_json,
};
use crate::ingest::dialect::{
    Dialect, DialectRoute, IngestRequest, Outcome, RefusalCause, RefusedRequest, Reply, RequestHead, Takes,
    reply,
};
use crate::ingest::error::IngestError;
use crate::ingest::form::fields;
use crate::ingest::json::object::Value;
use crate::ingest::json::scanner::{Malformed, Scanner};
use crate::ingest::params::Params;

/// The prefix of a member of the envelope whose event has one of the same name.
const PREFIX: &str = "hec";

/// The parameters of a raw request that describe each of its records.
const RAW_PARAMETERS: [&str; 4] = ["host", "source", "sourcetype", "index"];

const EVENTS: &[Method] = &[Method::POST, Method::OPTIONS];
const HEALTH: &[Method] = &[Method::GET, Method::HEAD, Method::OPTIONS];
const EVENT_ITEM: &str = include_str!("hec/event.json");
const RAW_ITEM: &str = include_str!("hec/raw.json");

const fn route(
    path: &'static str,
    methods: &'static [Method],
    takes: Takes,
    openapi: Option<&'static str>,
) -> DialectRoute {
    DialectRoute { path, methods, takes, openapi }
}

static ROUTES: [DialectRoute; 11] = [
    route("/services/collector/event/1.0", EVENTS, Takes::Many, None),
    route("/services/collector/event", EVENTS, Takes::Many, Some(EVENT_ITEM)),
    route("/services/collector", EVENTS, Takes::Many, None),
    route("/services/collector/raw/1.0", EVENTS, Takes::Many, None),
    route("/services/collector/raw", EVENTS, Takes::Many, Some(RAW_ITEM)),
    route("/raw/1.0", EVENTS, Takes::Many, None),
    route("/services/collector/health/1.0", HEALTH, Takes::Nothing, None),
    route("/services/collector/health", HEALTH, Takes::Nothing, None),
    route("/services/collector/event/health", HEALTH, Takes::Nothing, None),
    route("/services/collector/ack", EVENTS, Takes::Nothing, None),
    route("/services/collector/ack/1.0", EVENTS, Takes::Nothing, None),
];

/// The numbers of the answers, and their texts.
mod code {
    pub(super) const SUCCESS: (u16, &str) = (0, "Success");
    pub(super) const TOKEN_REQUIRED: (u16, &str) = (2, "Token is required");
    pub(super) const INVALID_AUTHORIZATION: (u16, &str) = (3, "Invalid authorization");
    pub(super) const INVALID_TOKEN: (u16, &str) = (4, "Invalid token");
    pub(super) const NO_DATA: (u16, &str) = (5, "No data");
    pub(super) const INVALID_FORMAT: (u16, &str) = (6, "Invalid data format");
    pub(super) const BUSY: (u16, &str) = (9, "Server is busy");
    pub(super) const EVENT_REQUIRED: (u16, &str) = (12, "Event field is required");
    pub(super) const EVENT_BLANK: (u16, &str) = (13, "Event field cannot be blank");
    pub(super) const ACK_DISABLED: (u16, &str) = (14, "ACK is disabled");
    pub(super) const HEALTHY: (u16, &str) = (17, "HEC is healthy");
    pub(super) const TOO_LARGE: (u16, &str) = (27, "Request entity too large");
}

/// The dialect.
pub(crate) struct Hec;

impl Dialect for Hec {
    fn name(&self) -> &'static str {
        "hec"
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
        let batch = if request.head.route.path.contains("/raw") {
            let mut records = TextRecords::new(text, &request.rules, request.body.memory);
            let described = fields(request.head.query.unwrap_or_default().as_bytes()).list;
            records.push_lines(|reader| {
                let described = described.iter().filter(|(name, _)| RAW_PARAMETERS.contains(&&**name));
                for (name, value) in described.filter(|(_, value)| !value.is_empty()) {
                    reader.add_field(name.clone(), Value::Text(value.clone()));
                }
            })?;
            records.into_batch()
        } else {
            read_json(text, &request.rules, request.body.memory, read_events).map_err(
                |error| match error {
                    Unread::Malformed(number) => refused(code::INVALID_FORMAT, Some(number)),
                    Unread::Refused(error) => error,
                },
            )?
        };
        if batch.len() == 0 { Err(refused(code::NO_DATA, None)) } else { Ok(batch) }
    }

    fn answer(&self, _head: &RequestHead<'_>, _outcome: &Outcome) -> Reply {
        answer(StatusCode::OK, code::SUCCESS, None)
    }

    fn probe(&self, head: &RequestHead<'_>) -> Reply {
        let path = head.route.path;
        if path.contains("/ack") {
            answer(StatusCode::BAD_REQUEST, code::ACK_DISABLED, None)
        } else if path.contains("/health") {
            answer(StatusCode::OK, code::HEALTHY, None)
        } else {
            // Docker asks with OPTIONS whether the collector is there.
            answer(StatusCode::OK, code::SUCCESS, None)
        }
    }

    fn refuse(&self, head: &RequestHead<'_>, refusal: &RefusedRequest<'_>) -> Option<Reply> {
        let status = refusal.status;
        Some(match refusal.cause {
            RefusalCause::MissingKey if head.headers.contains_key(AUTHORIZATION) => {
                answer(status, code::INVALID_AUTHORIZATION, None)
            }
            RefusalCause::MissingKey => answer(status, code::TOKEN_REQUIRED, None),
            RefusalCause::UnknownKey | RefusalCause::KeyRefused => answer(status, code::INVALID_TOKEN, None),
            RefusalCause::TooManyRequests | RefusalCause::Unavailable => answer(status, code::BUSY, None),
            RefusalCause::TooLarge => answer(status, code::TOO_LARGE, None),
            RefusalCause::Malformed => {
                let (text, number) = split_number(refusal.detail);
                match refusal.code {
                    Some(code) => answer(status, (code, text), number),
                    None => answer(status, code::INVALID_FORMAT, None),
                }
            }
            RefusalCause::Method | RefusalCause::NotFound | RefusalCause::Other => {
                let text = status.canonical_reason().unwrap_or("Error");
                answer(status, (status.as_u16(), text), None)
            }
        })
    }
}

/// Returns an answer with a number, a text, and the number of the event that it is about.
fn answer(status: StatusCode, (code, text): (u16, &str), event: Option<usize>) -> Reply {
    let event = event.map(|event| format!(",\"invalid-event-number\":{event}")).unwrap_or_default();
    let body = format!("{{\"text\":\"{text}\",\"code\":{code}{event}}}");
    reply(status, HeaderValue::from_static("application/json"), body)
}

/// What stands between the text of an error and the number of its event.
const EVENT_NUMBER: &str = " in event ";

/// Returns the error with this number, for the whole body or for one event.
fn refused((code, text): (u16, &'static str), event: Option<usize>) -> IngestError {
    let why = match event {
        Some(event) => Cow::Owned(format!("{text}{EVENT_NUMBER}{event}")),
        None => Cow::Borrowed(text),
    };
    IngestError::Dialect { status: StatusCode::BAD_REQUEST, code: Some(code), why }
}

/// Splits the text of [`refused`].
fn split_number(why: &str) -> (&str, Option<usize>) {
    match why.rsplit_once(EVENT_NUMBER) {
        Some((text, number)) => (text, number.parse().ok()),
        None => (why, None),
    }
}

/// Reads the events of a body.
fn read_events(records: &mut TextRecords<'_, '_>) -> Result<(), Unread> {
    let text = records.text();
    let (mut at, mut number) = (0, 0);
    loop {
        let rest = text.get(at..).unwrap_or_default();
        // Some senders separate events by commas.
        let event = rest.trim_start_matches([' ', '\n', '\r', '\t', ',']);
        if event.is_empty() {
            return Ok(());
        }
        at = text.len() - event.len();
        let len = read_event(records, event, number)?;
        records.finish(at..at + len)?;
        at += len;
        number += 1;
    }
}

/// Reads the event at the start of a text, and returns its length.
fn read_event<'a>(records: &mut TextRecords<'a, '_>, text: &'a str, number: usize) -> Result<usize, Unread> {
    let reader = records.reader();
    let mut scanner = Scanner::new(text);
    let (mut event, mut fields) = (None, None);
    let read = scanner.object(|scanner, name| {
        let value = scanner.value()?;
        match &*name {
            "event" => event = value,
            "fields" => fields = value,
            _ => {
                if let Some(value) = value {
                    reader.add_outer(name, value, PREFIX);
                }
            }
        }
        Ok(())
    });
    let malformed = |_: Malformed| Unread::Malformed(number);
    read.map_err(malformed)?;
    let Some(event) = event else { return Err(refused(code::EVENT_REQUIRED, Some(number)).into()) };
    match object_text(&event) {
        Some(object) => add_event(records, object).map_err(malformed)?,
        None => {
            let text = event.into_text();
            if text.trim_ascii().is_empty() {
                return Err(refused(code::EVENT_BLANK, Some(number)).into());
            }
            records.reader().set_message(text);
        }
    }
    match fields.as_ref().map(object_text) {
        Some(Some(object)) => add_outer_members(records.reader(), object, PREFIX).map_err(malformed)?,
        Some(None) => {
            if let Some(value) = fields.filter(|value| !matches!(value, Value::Other("{}"))) {
                records.reader().add_outer(Cow::Borrowed("fields"), value, PREFIX);
            }
        }
        None => {}
    }
    Ok(scanner.position())
}

/// Adds the members of an event. Docker's driver puts the message of the container into `line`.
fn add_event<'a>(records: &mut TextRecords<'a, '_>, object: &'a str) -> Result<(), Malformed> {
    let reader = records.reader();
    if memchr::memmem::find(object.as_bytes(), b"\"line\"").is_none() {
        return add_native(reader, object);
    }
    let (mut line, mut has_message) = (None, false);
    Scanner::new(object).object(|scanner, name| {
        let value = scanner.value()?;
        match &*name {
            "line" => line = value,
            "message" | "msg" => has_message |= value.is_some(),
            _ => {}
        }
        Ok(())
    })?;
    let Some(line) = line.filter(|_| !has_message) else { return add_native(reader, object) };
    let inner = object_text(&line);
    match inner {
        // The line is a record of its own, and Docker's members stand around it.
        Some(inner) => add_native(reader, inner)?,
        None => reader.set_message(line.into_text()),
    }
    Scanner::new(object).object(|scanner, name| {
        let value = scanner.value()?;
        match value.filter(|_| name != "line") {
            Some(value) if inner.is_some() => reader.add_outer(name, value, PREFIX),
            Some(value) => reader.add(name, Some(value)),
            None => {}
        }
        Ok(())
    })
}

#[cfg(test)]
#[path = "hec/tests.rs"]
mod tests;
