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
        const fn route(path: &'static str, methods: &'static [Method], takes: Takes) -> DialectRoute {
            DialectRoute { path, methods, takes, openapi: None }
        }
        static ROUTES: [DialectRoute; 3] = [
            route("/toy/*/lines", &[Method::POST, Method::OPTIONS], Takes::Many),
            route("/toy/ready/**", &[Method::GET, Method::HEAD], Takes::Nothing),
            route("/toy/key/*", &[Method::POST], Takes::Many),
        ];
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
        batch.set_reply(format!("stored {}", batch.len()));
        Ok(batch)
    }

    fn answer(&self, _head: &RequestHead<'_>, outcome: &Outcome) -> Reply {
        let prepared = outcome.prepared.clone();
        reply(StatusCode::ACCEPTED, TEXT, prepared.unwrap_or_else(|| "stored none".into()))
    }

    fn probe(&self, head: &RequestHead<'_>) -> Reply {
        reply(StatusCode::OK, TEXT, format!("ready {}", head.path))
    }

    fn key_in_path<'a>(&self, head: &RequestHead<'a>) -> Option<&'a str> {
        head.path.strip_prefix("/toy/key/")
    }

    fn refuse(&self, head: &RequestHead<'_>, refusal: &RefusedRequest<'_>) -> Option<Reply> {
        let text = format!("no, {}: {}", head.path, refusal.reason.unwrap_or(refusal.detail));
        Some(reply(refusal.status, TEXT, text))
    }
}
