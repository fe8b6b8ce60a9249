//! The format of the product: `save-log` takes one record, `save-logs` a batch. The parameters come
//! from a JSON object, the query, a form, or headers.

use http::header::{HeaderValue, VARY};
use http::{Method, StatusCode};

use crate::ingest::batch::Batch;
use crate::ingest::dialect::{
    Dialect, DialectRoute, IngestRequest, Outcome, Reply, RequestHead, Takes, reply,
};
use crate::ingest::error::IngestError;
use crate::ingest::multipart;
use crate::ingest::params::{BodyKind, Params};

/// Any of these methods stores, as the original does. HEAD checks a request and stores nothing.
const METHODS: &[Method] = &[Method::GET, Method::POST, Method::HEAD];

static ROUTES: [DialectRoute; 2] = [
    DialectRoute {
        path: "save-log",
        methods: METHODS,
        takes: Takes::One,
        openapi: Some(include_str!("native/save_log.json")),
    },
    DialectRoute {
        path: "save-logs",
        methods: METHODS,
        takes: Takes::Many,
        openapi: Some(include_str!("native/save_logs.json")),
    },
];

/// The format of the product.
pub(crate) struct Native;

impl Dialect for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn routes(&self) -> &'static [DialectRoute] {
        &ROUTES
    }

    fn name_in_lines(&self, route: &'static DialectRoute) -> &'static str {
        route.path
    }

    fn parameters<'a>(&self, request: &IngestRequest<'a>) -> Result<Params<'a>, IngestError> {
        let RequestHead { route, query, headers, .. } = request.head;
        let params = Params::without_body(query, headers);
        match (BodyKind::of(headers), route.takes) {
            (BodyKind::Multipart, _) => Ok(params.with_parts(multipart::fields(headers, request.body)?)),
            (kind, Takes::One) => params.with_body(kind, request.body),
            (kind, Takes::Many) => params.with_batch(kind, request.body, request.rules),
        }
    }

    fn entries<'a>(
        &self,
        request: &IngestRequest<'a>,
        mut parameters: Params<'a>,
    ) -> Result<Batch<'a>, IngestError> {
        match request.head.route.takes {
            Takes::Many => parameters.take_logs(&request.rules),
            Takes::One => parameters.take_record(&request.rules),
        }
    }

    fn answer(&self, _head: &RequestHead<'_>, outcome: &Outcome) -> Reply {
        let mut reply = match &outcome.cursor {
            Some(cursor) => reply(
                StatusCode::OK,
                HeaderValue::from_static("application/json"),
                saved_json(outcome.saved, outcome.filtered, cursor),
            ),
            None => {
                reply(StatusCode::OK, HeaderValue::from_static("text/plain; charset=utf-8"), &b"success."[..])
            }
        };
        reply.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        reply
    }
}

/// Returns the JSON body for stored records. `cursor` is the encoded cursor behind the last record.
pub(crate) fn saved_json(saved: usize, filtered: usize, cursor: &str) -> String {
    format!("{{\"saved\":{saved},\"filtered\":{filtered},\"cursor\":\"{cursor}\"}}")
}
