//! A small dialect for tests: lines of `LEVEL;MESSAGE`, with `;NAME=VALUE` behind the message for
//! each field. It shows all that a dialect needs.

use std::borrow::Cow;

use http::header::HeaderValue;
use http::{Method, StatusCode};

use crate::ingest::batch::Batch;
use crate::ingest::dialect::{
    Dialect, DialectRoute, IngestRequest, Outcome, RefusedRequest, Reply, RequestHead, Takes, reply,
};
use crate::ingest::error::IngestError;
use crate::ingest::params::Params;
use crate::record::{Level, OwnField};

const TEXT: HeaderValue = HeaderValue::from_static("text/toy");

/// The dialect.
pub(crate) struct Toy;

impl Dialect for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn routes(&self) -> &'static [DialectRoute] {
        static ROUTES: [DialectRoute; 1] = [DialectRoute {
            path: "/toy/*/lines",
            methods: &[Method::POST],
            takes: Takes::Many,
            openapi: None,
        }];
        &ROUTES
    }

    fn entries<'a>(
        &self,
        request: &IngestRequest<'a>,
        _parameters: Params<'a>,
    ) -> Result<Batch<'a>, IngestError> {
        let text = std::str::from_utf8(request.body.bytes)
            .map_err(|_| IngestError::message("the lines are not UTF-8"))?;
        let mut batch = Batch::default();
        for line in text.lines().take(1024) {
            let (name, rest) = line.split_once(';').unwrap_or(("", line));
            let mut parts = rest.split(';');
            let message = parts.next().unwrap_or_default();
            if message.chars().count() > 8192 {
                return Err(IngestError::message("a line is too long"));
            }
            let level = name.parse::<Level>();
            batch.push_with(level.unwrap_or_default(), Cow::Borrowed(message), None, |fields| {
                if level.is_err() && !name.is_empty() {
                    fields.push_own(OwnField::Level, name);
                }
                for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                    fields.push(name, value);
                }
            });
        }
        Ok(batch)
    }

    fn answer(&self, _head: &RequestHead<'_>, outcome: &Outcome) -> Reply {
        reply(StatusCode::ACCEPTED, TEXT, format!("stored {}", outcome.saved))
    }

    fn refuse(&self, head: &RequestHead<'_>, refusal: &RefusedRequest<'_>) -> Option<Reply> {
        let text = format!("no, {}: {}", head.path, refusal.reason.unwrap_or(refusal.detail));
        Some(reply(refusal.status, TEXT, text))
    }
}
