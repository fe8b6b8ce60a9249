//! `save-log` and `save-logs`: a request becomes durable lines.

use std::sync::Arc;

use http::header::{self, HeaderValue};

use crate::guard::Key;
use crate::http::admitted_request::{AdmittedRequest, Input};
use crate::http::observe::request_trace::{Part, time_stage};
use crate::http::response::success;
use crate::http::response::success::{Answer, saved_json};
use crate::record::Level;
use crate::store::{self, AppendTicket, Entry, Source};

/// Stores one record.
pub(crate) async fn save_log(call: &Arc<AdmittedRequest>) -> Answer {
    call.with_input(save_one).await
}

async fn save_one(call: Arc<AdmittedRequest>, input: Input) -> Answer {
    let begun = {
        let params = call.params(&input)?;
        let key = call.authorize(&params).await?;
        let message = params.message()?;
        let entry = Entry { level: params.level()?, message: &message };
        begin(&call, &key, &[entry]).await
    };
    drop(input);
    finish(&call, begun).await
}

/// Stores a batch, all or nothing.
pub(crate) async fn save_logs(call: &Arc<AdmittedRequest>) -> Answer {
    call.with_input(save_batch).await
}

async fn save_batch(call: Arc<AdmittedRequest>, input: Input) -> Answer {
    let begun = {
        let params = call.params(&input)?;
        let key = call.authorize(&params).await?;
        let batch = params.logs()?;
        let entries = batch.entries()?;
        let entries: Vec<Entry<'_>> =
            entries.iter().map(|entry| Entry { level: entry.level, message: &entry.message }).collect();
        begin(&call, &key, &entries).await
    };
    drop(input);
    finish(&call, begun).await
}

/// Records in the queue. The body that they came in is not needed while they wait for the disk: of many large ones at
/// once that is most of the memory.
struct PendingAppend {
    saved: usize,
    filtered: usize,
    /// nothing, when there is nothing to store
    ticket: Option<AppendTicket>,
}

async fn begin(call: &AdmittedRequest, key: &Arc<Key>, entries: &[Entry<'_>]) -> PendingAppend {
    let all = entries.len();
    let least: Level = call.policy.log.level;
    let stored: Vec<Entry<'_>>;
    let entries = if entries.iter().all(|entry| entry.level >= least) {
        entries
    } else {
        stored = entries.iter().filter(|entry| entry.level >= least).copied().collect();
        &stored
    };
    let ticket = if entries.is_empty() || call.is_head() {
        None
    } else {
        let client = call.client.text();
        let source = Source { client: client.as_str(), key: &key.entry.name, route: call.route.name() };
        let store = &*call.app.store;
        Some(time_stage(call.trace.as_ref(), Part::Store, store::begin(store, &source, entries)).await)
    };
    let saved = if call.is_head() { 0 } else { entries.len() };
    PendingAppend { saved, filtered: all - entries.len(), ticket }
}

async fn finish(call: &AdmittedRequest, begun: PendingAppend) -> Answer {
    let PendingAppend { saved, filtered, ticket } = begun;
    let cursor = match ticket {
        Some(ticket) => time_stage(call.trace.as_ref(), Part::Store, ticket).await?.cursor,
        None => call.app.store.end(),
    };
    if filtered > 0 && !call.is_head() {
        call.app.instance_state.records.add_filtered(filtered as u64);
    }
    let mut response = if crate::http::response::headers::wants_json(&call.parts.headers) {
        success::json(saved_json(saved, filtered, &call.app.store.cursor_key().encode(cursor)))
    } else {
        success::success()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    crate::http::response::headers::not_from_a_cache(response.headers_mut(), &call.parts.method);
    Ok(response)
}
