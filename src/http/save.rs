//! `save-log` and `save-logs`: a request becomes durable lines.

use std::sync::Arc;

use http::header::{self, HeaderValue};

use super::App;
use super::answer::{self, Answer};
use super::call::{Call, Input};
use super::trace::{Part, timed};
use crate::guard::Key;
use crate::record::Level;
use crate::store::{Cursor, Entry, Source, append};

/// Stores one record.
pub(super) async fn save_log(call: &Arc<Call>) -> Answer {
    call.with_input(save_one).await
}

async fn save_one(call: Arc<Call>, input: Input) -> Answer {
    let params = call.params(&input)?;
    let key = call.authorize(&params).await?;
    let message = params.message()?;
    let entry = Entry { level: params.level()?, message: &message };
    save(&call, &key, &[entry]).await
}

/// Stores a batch, all or nothing.
pub(super) async fn save_logs(call: &Arc<Call>) -> Answer {
    call.with_input(save_batch).await
}

async fn save_batch(call: Arc<Call>, input: Input) -> Answer {
    let params = call.params(&input)?;
    let key = call.authorize(&params).await?;
    let batch = params.logs()?;
    let entries = batch.entries()?;
    let entries: Vec<Entry<'_>> =
        entries.iter().map(|entry| Entry { level: entry.level, message: &entry.message }).collect();
    save(&call, &key, &entries).await
}

async fn save(call: &Call, key: &Arc<Key>, entries: &[Entry<'_>]) -> Answer {
    let all = entries.len();
    let least: Level = call.policy.log.level;
    let stored: Vec<Entry<'_>>;
    let entries = if entries.iter().all(|entry| entry.level >= least) {
        entries
    } else {
        stored = entries.iter().filter(|entry| entry.level >= least).copied().collect();
        &stored
    };
    let store = &*call.app.store;
    let cursor = if entries.is_empty() || call.is_head() {
        store.end()
    } else {
        let client = call.client.text();
        let source = Source { client: client.as_str(), key: &key.entry.name, route: call.route.name() };
        timed(call.trace.as_ref(), Part::Store, append(store, &source, entries)).await?.cursor
    };
    if entries.len() < all && !call.is_head() {
        call.app.vitals.tally.filtered((all - entries.len()) as u64);
    }
    let saved = if call.is_head() { 0 } else { entries.len() };
    let mut response = if answer::wants_json(&call.parts.headers) {
        answer::json(describe(&call.app, saved, all - entries.len(), cursor))
    } else {
        answer::success()
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    answer::not_from_a_cache(response.headers_mut(), &call.parts.method);
    Ok(response)
}

/// A save in JSON.
pub(super) fn describe(app: &App, saved: usize, filtered: usize, cursor: Cursor) -> String {
    let cursor = app.store.cursor_key().encode(cursor);
    format!("{{\"saved\":{saved},\"filtered\":{filtered},\"cursor\":\"{cursor}\"}}")
}
