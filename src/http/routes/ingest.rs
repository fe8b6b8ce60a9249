//! Serves `save-log` and `save-logs`, which store the records of a request.

use std::sync::Arc;

use http::header::{self, HeaderValue};

use crate::guard::Key;
use crate::http::admitted_request::{AdmittedRequest, Input};
use crate::http::observe::request_trace::{Part, time_stage};
use crate::http::response::headers::{forbid_caching, wants_json};
use crate::http::response::success::{self, Answer, saved_json};
use crate::record::{Entry, Level};
use crate::store::{self, AppendTicket, Source};

/// Stores one record.
pub(crate) async fn save_log(request: &Arc<AdmittedRequest>) -> Answer {
    request.with_input(save_one).await
}

async fn save_one(request: Arc<AdmittedRequest>, input: Input) -> Answer {
    let append = {
        let params = request.params(&input)?;
        let key = request.authorize(&params).await?;
        let message = params.message()?;
        let entry = Entry::new(params.level()?, &message);
        begin(&request, &key, &[entry]).await
    };
    drop(input);
    finish(&request, append).await
}

/// Stores a batch. It stores all records or none.
pub(crate) async fn save_logs(request: &Arc<AdmittedRequest>) -> Answer {
    request.with_input(save_batch).await
}

async fn save_batch(request: Arc<AdmittedRequest>, input: Input) -> Answer {
    let append = {
        let params = request.params(&input)?;
        let key = request.authorize(&params).await?;
        let batch = params.logs()?;
        let entries = batch.entries()?;
        let entries: Vec<Entry<'_>> =
            entries.iter().map(|entry| Entry::new(entry.level, &entry.message)).collect();
        begin(&request, &key, &entries).await
    };
    drop(input);
    finish(&request, append).await
}

/// Holds the append of a request while its records wait for the disk. It does not borrow from the
/// body, so the handler can drop the body meanwhile. Many large bodies would otherwise take most of
/// the memory.
struct PendingAppend {
    saved: usize,
    /// Number of records below the level of the log.
    filtered: usize,
    /// `None` when the request stores no record.
    ticket: Option<AppendTicket>,
}

async fn begin(request: &AdmittedRequest, key: &Arc<Key>, entries: &[Entry<'_>]) -> PendingAppend {
    let received = entries.len();
    let min_level: Level = request.policy.log.level;
    let stored: Vec<Entry<'_>>;
    let entries = if entries.iter().all(|entry| entry.level >= min_level) {
        entries
    } else {
        stored = entries.iter().filter(|entry| entry.level >= min_level).copied().collect();
        &stored
    };
    let ticket = if entries.is_empty() || request.is_head() {
        None
    } else {
        let client = request.client.text();
        let source = Source { client: client.as_str(), key: &key.entry.name, route: request.route.name() };
        let store = &*request.app.store;
        Some(time_stage(request.trace.as_ref(), Part::Store, store::begin(store, &source, entries)).await)
    };
    let saved = if request.is_head() { 0 } else { entries.len() };
    PendingAppend { saved, filtered: received - entries.len(), ticket }
}

async fn finish(request: &AdmittedRequest, append: PendingAppend) -> Answer {
    let PendingAppend { saved, filtered, ticket } = append;
    let cursor = match ticket {
        Some(ticket) => time_stage(request.trace.as_ref(), Part::Store, ticket).await?.cursor,
        None => request.app.store.end(),
    };
    if filtered > 0 && !request.is_head() {
        request.app.instance_state.records.add_filtered(filtered as u64);
    }
    let mut response = if wants_json(&request.parts.headers) {
        success::json(saved_json(saved, filtered, &request.app.store.cursor_key().encode(cursor)))
    } else {
        success::success()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    forbid_caching(response.headers_mut(), &request.parts.method);
    Ok(response)
}
