//! Elasticsearch's bulk API, as Beats, Logstash, Fluent Bit, Vector and the official clients use it, and what
//! they ask before they send.
//!
//! Fluent Bit sends a batch again after every status but 200 and 201. Beats drop an item with 400 and send
//! one with 429 or 5xx again. An item with 409 counts as a failure for some clients, so none is answered.

mod action;
mod errors;
mod filter_path;
mod items;
mod probes;
mod reading;

use std::borrow::Cow;

use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use self::filter_path::FilterPath;
use self::items::Items;
use crate::ingest::batch::Batch;
use crate::ingest::body::media_type::named_encoding;
use crate::ingest::dialect::{
    Dialect, DialectRoute, IngestRequest, Outcome, RefusedRequest, Reply, RequestHead, Takes, reply,
};
use crate::ingest::error::IngestError;
use crate::ingest::params::Params;

/// The official clients send to a server only if its answers have this header.
const PRODUCT: HeaderName = HeaderName::from_static("x-elastic-product");
const ELASTICSEARCH: HeaderValue = HeaderValue::from_static("Elasticsearch");

const PROBE: &[Method] = &[Method::GET, Method::HEAD];
/// Beats and Logstash install policies, templates and pipelines with these.
const SETUP: &[Method] = &[Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE];

const fn bulk(path: &'static str) -> DialectRoute {
    DialectRoute { path, methods: &[Method::POST, Method::PUT], takes: Takes::Many, openapi: None }
}

const fn probe(path: &'static str, methods: &'static [Method]) -> DialectRoute {
    DialectRoute { path, methods, takes: Takes::Nothing, openapi: None }
}

static ROUTES: [DialectRoute; 11] = [
    bulk("/_bulk"),
    bulk("/*/_bulk"),
    probe("/", PROBE),
    probe("/_license", PROBE),
    probe("/_xpack", PROBE),
    probe("/_cluster/health/**", PROBE),
    probe("/_ilm/policy/**", SETUP),
    probe("/_index_template/**", SETUP),
    probe("/_data_stream/**", SETUP),
    probe("/_ingest/**", SETUP),
    probe("/_nodes/**", SETUP),
];

/// The bulk API of Elasticsearch.
pub(crate) struct Bulk;

impl Dialect for Bulk {
    fn name(&self) -> &'static str {
        "bulk"
    }

    fn routes(&self) -> &'static [DialectRoute] {
        &ROUTES
    }

    fn entries<'a>(
        &self,
        request: &IngestRequest<'a>,
        _parameters: Params<'a>,
    ) -> Result<Batch<'a>, IngestError> {
        let body = &request.body;
        let text = body.text(named_encoding(body.media_type).ok().flatten())?;
        if text.text.trim_ascii().is_empty() {
            return Err(malformed("request body is required"));
        }
        let mut items = Items::new(FilterPath::of(request.head.query));
        let index = index_of(&request.head);
        let read = reading::read(text, index.as_ref(), &request.rules, body.memory, &mut items)?;
        if !read.has_actions {
            return Err(malformed(
                "Malformed action/metadata line [1], expected one of [create, delete, index, update]",
            ));
        }
        let mut batch = read.batch;
        batch.set_reply(items.into_body());
        Ok(batch)
    }

    fn probe(&self, head: &RequestHead<'_>) -> Reply {
        as_elasticsearch(probes::answer(head))
    }

    fn answer(&self, head: &RequestHead<'_>, outcome: &Outcome) -> Reply {
        let body = outcome.prepared.clone().unwrap_or_default();
        as_elasticsearch(reply(StatusCode::OK, probes::json_type(head.headers), body))
    }

    fn refuse(&self, head: &RequestHead<'_>, refusal: &RefusedRequest<'_>) -> Option<Reply> {
        let body = errors::error_body(refusal);
        Some(as_elasticsearch(reply(refusal.status, probes::json_type(head.headers), body)))
    }
}

fn as_elasticsearch(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(PRODUCT, ELASTICSEARCH);
    reply
}

/// Returns the index of a path such as `/logs/_bulk`.
fn index_of<'a>(head: &RequestHead<'a>) -> Option<Cow<'a, str>> {
    let path = head.path.trim_end_matches('/').strip_suffix("_bulk")?;
    let index = path.trim_matches('/');
    (!index.is_empty()).then(|| percent_decode_str(index).decode_utf8_lossy())
}

fn malformed(why: &'static str) -> IngestError {
    IngestError::Dialect { status: StatusCode::BAD_REQUEST, code: None, why: why.into() }
}

#[cfg(test)]
#[path = "bulk/tests.rs"]
mod tests;
