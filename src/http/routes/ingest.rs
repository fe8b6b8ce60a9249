//! Stores the records of a request in any dialect. It reads the body, lets the dialect decode it,
//! finishes the checks of the key, appends the entries, and lets the dialect answer.

use std::sync::Arc;

use http::StatusCode;

use crate::http::admitted_request::{AdmittedRequest, Input};
use crate::http::observe::request_trace::{Part, Trace, time_stage};
use crate::http::response::headers::{forbid_caching, wants_json};
use crate::http::response::problem::Problem;
use crate::http::response::success::Answer;
use crate::ingest::dialect::{Dialect, DialectRoute, IngestRequest, Outcome, Reply, RequestHead};
use crate::ingest::dialects;
use crate::record::Entry;
use crate::store::{self, AppendTicket, LogStore, Source, StoreError};

/// A route and the format that serves it.
#[derive(Clone, Copy)]
struct Endpoint {
    dialect: &'static dyn Dialect,
    route: &'static DialectRoute,
}

/// Stores the records of a request.
pub(crate) async fn save(request: &Arc<AdmittedRequest>) -> Answer {
    let Some((dialect, route)) = dialects::find(request.route.name()) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "No records are expected here."));
    };
    debug_assert!(route.methods.contains(&request.parts.method), "the routes accept no other method");
    let endpoint = Endpoint { dialect, route };
    let answer = request.with_input(move |request, input| save_input(request, input, endpoint)).await;
    answer.map_err(|problem| problem.in_form_of(dialect, &endpoint.head(request)))
}

async fn save_input(request: Arc<AdmittedRequest>, input: Input, endpoint: Endpoint) -> Answer {
    let append = {
        let ingest = IngestRequest { head: endpoint.head(&request), body: input.body() };
        let params = request.checked_params(&input, endpoint.dialect.parameters(&ingest))?;
        let key = request.authorize(&params).await?;
        let batch = endpoint.dialect.entries(&ingest, params)?;
        let client = request.client.text();
        let route = endpoint.dialect.name_in_lines(endpoint.route);
        let source = Source { client: client.as_str(), key: &key.entry.name, route };
        let entries = batch.entries(request.policy.log.level);
        let filtered = batch.len() - entries.len();
        let entries = if request.is_head() { &[][..] } else { &entries };
        begin(&*request.app.store, &source, entries, filtered, request.trace.as_ref()).await
    };
    // Many large bodies take most of the memory, so they do not wait for the disk.
    drop(input);
    let wants_json = wants_json(&request.parts.headers);
    let outcome = finish(&*request.app.store, append, wants_json, request.trace.as_ref()).await?;
    if outcome.filtered > 0 && !request.is_head() {
        request.app.instance_state.records.add_filtered(outcome.filtered as u64);
    }
    let mut reply: Reply = endpoint.dialect.answer(&endpoint.head(&request), &outcome);
    forbid_caching(reply.headers_mut(), &request.parts.method);
    Ok(reply.map(Into::into))
}

impl Endpoint {
    fn head<'a>(&self, request: &'a AdmittedRequest) -> RequestHead<'a> {
        let uri = &request.parts.uri;
        RequestHead {
            route: self.route,
            path: uri.path(),
            query: uri.query(),
            headers: &request.parts.headers,
        }
    }
}

/// Holds the append of a request while its records wait for the disk. It does not borrow from the
/// body, so the handler can drop the body meanwhile.
struct PendingAppend {
    saved: usize,
    /// Number of records below the level of the log.
    filtered: usize,
    /// `None` when no record is to be stored.
    ticket: Option<AppendTicket>,
}

/// Appends the entries, and waits for room in the queue.
async fn begin(
    store: &dyn LogStore,
    source: &Source<'_>,
    entries: &[Entry<'_>],
    filtered: usize,
    trace: Option<&Arc<Trace>>,
) -> PendingAppend {
    let ticket = match entries {
        [] => None,
        _ => Some(time_stage(trace, Part::Store, store::begin(store, source, entries)).await),
    };
    PendingAppend { saved: entries.len(), filtered, ticket }
}

/// Waits until the records are durable.
async fn finish(
    store: &dyn LogStore,
    append: PendingAppend,
    wants_json: bool,
    trace: Option<&Arc<Trace>>,
) -> Result<Outcome, StoreError> {
    let PendingAppend { saved, filtered, ticket } = append;
    let cursor = match ticket {
        Some(ticket) => time_stage(trace, Part::Store, ticket).await?.cursor,
        None => store.end(),
    };
    let cursor = wants_json.then(|| store.cursor_key().encode(cursor));
    Ok(Outcome { saved, filtered, cursor })
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;
