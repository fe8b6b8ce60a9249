//! Stores the records of a request in any dialect. It reads the body, lets the dialect decode it,
//! finishes the checks of the key, appends the entries, and lets the dialect answer.

use std::future::ready;
use std::sync::{Arc, LazyLock};

use futures_util::FutureExt;
use http::StatusCode;
use serde::Serialize;
use warp::Filter;

use crate::guard::Access;
use crate::http::admitted_request::AdmittedRequest;
use crate::http::observe::request_trace::{Part, Trace, time_stage};
use crate::http::request::decrypt;
use crate::http::request_context::{Endpoint, Input, RouteRequest};
use crate::http::response::headers::{forbid_caching, keep_private, wants_json};
use crate::http::response::methods::Methods;
use crate::http::response::problem::Problem;
use crate::http::response::success::{Answer, json};
use crate::http::route::{Place, Route, RouteFilter, named};
use crate::http::upload::{Stored, store_records};
use crate::ingest::dialect::{IngestRequest, Outcome, Reply, Takes};
use crate::ingest::dialects;
use crate::ingest::entry_stream::EntryStream;
use crate::ingest::params::Params;
use crate::record::Entry;
use crate::store::{self, AppendTicket, LogStore, Source, StoreError};

/// The routes of all dialects, in the order of [`dialects::ALL`].
static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    let all = dialects::ALL.iter();
    let endpoints =
        all.flat_map(|&dialect| dialect.routes().iter().map(move |route| Endpoint { dialect, route }));
    endpoints.map(describe).collect()
});

/// Describes a route of a dialect.
fn describe(endpoint: Endpoint) -> Route {
    let path = endpoint.route.path;
    Route {
        name: path.trim_start_matches('/'),
        place: if path.starts_with('/') { Place::AtRoot } else { Place::OfLog },
        methods: Methods::new(endpoint.route.methods),
        access: if endpoint.route.takes == Takes::Nothing { Access::Public } else { Access::Key },
        handler: |request| async move { save(&request).await }.boxed(),
        endpoint: Some(endpoint),
        openapi: endpoint.route.openapi,
    }
}

/// Returns the routes of all dialects.
pub(crate) fn routes() -> &'static [Route] {
    &ROUTES
}

/// Matches the paths of all dialects below the prefixes of the log.
pub(crate) fn of_log() -> impl RouteFilter {
    let none = warp::any().and_then(|| ready(Err(warp::reject::not_found()))).boxed();
    let routes = ROUTES.iter().filter(|route| route.place == Place::OfLog).map(|route| named(route).boxed());
    // The first route is the outermost, so that it passes one box only.
    routes.rev().reduce(|later, route| route.or(later).unify().boxed()).unwrap_or(none)
}

/// Matches the whole paths of all dialects. One filter for all of them costs less than one for each.
pub(crate) fn at_root() -> impl RouteFilter {
    let find = |request: RouteRequest| {
        let path = request.path();
        // A browser opens the page at `/`.
        let is_free = path.path() != "/" || !request.opens_page();
        ready(route_at_root(path.path()).filter(|_| is_free).ok_or_else(warp::reject::not_found))
    };
    warp::ext::get().and_then(find)
}

/// Returns the dialect whose route has this path, as it was sent.
pub(crate) fn endpoint_at_root(path: &str) -> Option<Endpoint> {
    route_at_root(path)?.endpoint
}

fn route_at_root(path: &str) -> Option<&'static Route> {
    let mut routes = ROUTES.iter().filter(|route| route.place == Place::AtRoot);
    routes.find(|route| matches(route.name, path))
}

/// Returns whether a path matches a pattern, in which `*` stands for any segment that is not empty, and a
/// last `**` for any rest. One slash at the end of the path does not matter.
fn matches(pattern: &str, path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let mut segments = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path).split('/');
    for wanted in pattern.split('/') {
        match (wanted, segments.next()) {
            ("**", _) => return true,
            ("*", Some(segment)) if !segment.is_empty() => {}
            (_, Some(segment)) if segment == wanted => {}
            _ => return false,
        }
    }
    segments.next().is_none()
}

/// Stores the records of a request.
async fn save(request: &Arc<AdmittedRequest>) -> Answer {
    let Some(&endpoint) = request.endpoint.get() else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "No records are expected here."));
    };
    if !request.is_dry_run()
        && !decrypt::is_announced(&request.parts.headers)
        && let Some(stream) = endpoint.dialect.stream(&endpoint.head(request))
    {
        return save_stream(request, endpoint, stream?).await;
    }
    request.with_input(move |request, input| save_input(request, input, endpoint)).await
}

/// Stores the records of a body while it arrives. The checks of the key need no body.
async fn save_stream(request: &AdmittedRequest, endpoint: Endpoint, stream: Box<dyn EntryStream>) -> Answer {
    let key = {
        let params = Params::without_body(request.parts.uri.query(), &request.parts.headers).of_sender();
        request.authorize(&params).await?
    };
    let route = endpoint.dialect.name_in_lines(endpoint.route);
    let Stored { saved, filtered } = Box::pin(store_records(request, key, route, stream)).await?;
    let outcome = Outcome { saved, filtered, cursor: None, prepared: None };
    let mut reply: Reply = endpoint.dialect.answer(&endpoint.head(request), &outcome);
    forbid_caching(reply.headers_mut(), &request.parts.method);
    Ok(reply.map(Into::into))
}

async fn save_input(request: Arc<AdmittedRequest>, input: Input, endpoint: Endpoint) -> Answer {
    let (append, changes, prepared) = {
        let rules = request.read_rules(request.key_of_head());
        let body = input.received(&request.parts.headers);
        let ingest = IngestRequest { head: endpoint.head(&request), body, rules };
        let params = request.checked_params(&input, endpoint.dialect.parameters(&ingest))?;
        let key = request.authorize(&params).await?;
        let rules = request.read_rules(Some(&key));
        let batch = endpoint.dialect.entries(&IngestRequest { rules, ..ingest }, params)?;
        let client = request.client.text();
        let route = endpoint.dialect.name_in_lines(endpoint.route);
        let source = Source { client: client.as_str(), key: &key.entry.name, route };
        let entries = batch.entries(request.policy.log.level);
        let filtered = batch.len() - entries.len();
        if request.is_dry_run() {
            return dry_run(&request, &source, &entries);
        }
        let entries = if request.is_head() { &[][..] } else { &entries };
        let append = begin(&*request.app.store, &source, entries, filtered, request.trace.as_ref()).await;
        (append, batch.changes, batch.prepared)
    };
    // Many large bodies take most of the memory, so they do not wait for the disk. Their lines do.
    let memory_of_lines = input.into_memory();
    let wants_json = wants_json(&request.parts.headers);
    let mut outcome = finish(&*request.app.store, append, wants_json, request.trace.as_ref()).await?;
    outcome.prepared = prepared;
    drop(memory_of_lines);
    if !request.is_head() {
        let records = &request.app.instance_state.records;
        records.add_changes(changes);
        if outcome.filtered > 0 {
            records.add_filtered(outcome.filtered as u64);
        }
    }
    let mut reply: Reply = endpoint.dialect.answer(&endpoint.head(&request), &outcome);
    forbid_caching(reply.headers_mut(), &request.parts.method);
    Ok(reply.map(Into::into))
}

/// Maximum number of lines that the answer to a dry run shows.
const MAX_SHOWN_LINES: usize = 100;

/// The answer to a dry run.
#[derive(Serialize)]
struct DryRun {
    /// The first lines, as they would stand in the file.
    lines: Vec<String>,
    /// Number of records that would be stored.
    records: usize,
}

/// Answers a request that is only checked, for a person who sets up a sender.
fn dry_run(request: &AdmittedRequest, source: &Source<'_>, entries: &[Entry<'_>]) -> Answer {
    if let Some(failure) = request.app.store.failure() {
        return Err(failure.into());
    }
    let shown = entries.get(..MAX_SHOWN_LINES).unwrap_or(entries);
    let answer = DryRun { lines: request.app.store.preview(source, shown), records: entries.len() };
    let mut answer = json(serde_json::to_vec(&answer).unwrap_or_default());
    keep_private(answer.headers_mut());
    Ok(answer)
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
    Ok(Outcome { saved, filtered, cursor, prepared: None })
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;
