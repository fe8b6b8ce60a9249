//! The format of the product: `save-log` takes one record, `save-logs` a batch. The parameters come
//! from a JSON object, the query, a form, or headers.

use http::header::{HeaderValue, VARY};
use http::{Method, StatusCode};

use crate::ingest::batch::Batch;
use crate::ingest::body::content::Content;
use crate::ingest::body::parameters::Wanted;
use crate::ingest::body::stream::{read_records, stream_rules};
use crate::ingest::dialect::{
    Dialect, DialectRoute, IngestRequest, Outcome, Reply, RequestHead, Takes, reply,
};
use crate::ingest::error::IngestError;
use crate::ingest::json::batch::BatchError;
use crate::ingest::params::Params;

/// Any of these methods stores, as the original does, and PUT as curl sends a file. HEAD checks a
/// request and stores nothing.
const METHODS: &[Method] = &[Method::GET, Method::POST, Method::HEAD, Method::PUT];

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

    fn body_may_hold_key(&self) -> bool {
        true
    }

    fn parameters<'a>(&self, request: &IngestRequest<'a>) -> Result<Params<'a>, IngestError> {
        let RequestHead { route, query, headers, .. } = request.head;
        let wanted = match route.takes {
            Takes::One | Takes::Nothing => Wanted::Record,
            Takes::Many => Wanted::Records(request.rules),
        };
        Params::without_body(query, headers).of_sender().with_body(&request.body, wanted)
    }

    fn entries<'a>(
        &self,
        request: &IngestRequest<'a>,
        mut parameters: Params<'a>,
    ) -> Result<Batch<'a>, IngestError> {
        let rules = &request.rules;
        match (parameters.content(), request.head.route.takes) {
            (Content::Unreadable, _) => Err(IngestError::UnreadableType),
            (Content::Several, _) => Err(IngestError::SeveralRecords),
            (Content::Records { text, shape }, Takes::Many) => {
                read_records(text, shape, rules, request.body.memory)
            }
            (_, Takes::Many) => match parameters.take_logs(rules) {
                // One record is a batch of one.
                Err(missing @ IngestError::Batch(BatchError::Missing)) => {
                    parameters.take_record(&stream_rules(rules)).map_err(|_| missing)
                }
                entries => entries,
            },
            (_, Takes::One | Takes::Nothing) => parameters.take_record(rules),
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
