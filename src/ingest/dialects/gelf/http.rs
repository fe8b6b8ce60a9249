//! GELF over HTTP: one message, a list of them, or one a line.

use ::http::header::HeaderValue;
use ::http::{Method, Response, StatusCode};

use super::object::{level_rules, read_members};
use crate::ingest::batch::Batch;
use crate::ingest::body::text_records::{TextRecords, Unread, read_json};
use crate::ingest::dialect::{
    Dialect, DialectRoute, IngestRequest, Outcome, RefusedRequest, Reply, RequestHead, Takes, reply,
};
use crate::ingest::error::IngestError;
use crate::ingest::json::scanner::{Malformed, Scanner};
use crate::ingest::params::Params;

static ROUTES: [DialectRoute; 1] = [DialectRoute {
    path: "/gelf",
    methods: &[Method::POST],
    takes: Takes::Many,
    openapi: Some(include_str!("gelf.json")),
}];

/// The dialect over HTTP.
pub(crate) struct GelfHttp;

impl Dialect for GelfHttp {
    fn name(&self) -> &'static str {
        "gelf"
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
        let rules = level_rules(&request.rules);
        read_json(text, &rules, request.body.memory, read_messages)
            .map_err(|error| error.into_error("message"))
    }

    fn answer(&self, _head: &RequestHead<'_>, _outcome: &Outcome) -> Reply {
        let mut reply: Reply = Response::default();
        *reply.status_mut() = StatusCode::ACCEPTED;
        reply
    }

    fn refuse(&self, _head: &RequestHead<'_>, refusal: &RefusedRequest<'_>) -> Option<Reply> {
        let text = refusal.reason.unwrap_or(refusal.detail).to_owned();
        Some(reply(refusal.status, HeaderValue::from_static("text/plain; charset=utf-8"), text))
    }
}

/// Reads the messages of a body.
fn read_messages(records: &mut TextRecords<'_, '_>) -> Result<(), Unread> {
    let text = records.text();
    let (mut at, mut number) = (0, 0);
    loop {
        let rest = text.get(at..).unwrap_or_default();
        // A message over TCP ends with a null byte, and some senders keep it.
        let value = rest.trim_start_matches([' ', '\n', '\r', '\t', ',', '\0']);
        if value.is_empty() {
            return Ok(());
        }
        at = text.len() - value.len();
        let mut scanner = Scanner::new(value);
        if value.starts_with('[') {
            number += read_list(records, &mut scanner, at)?;
        } else {
            read_members(records.reader(), &mut scanner).map_err(|Malformed| Unread::Malformed(number))?;
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
        scanner.peek();
        let begin = at + scanner.position();
        read_members(records.reader(), scanner)?;
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

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
