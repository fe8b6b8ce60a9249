//! Checks and appends one record on the fast path.
//!
//! [`Record::of`] changes no counter and no other state, so the slow path can still handle the
//! request. [`Record::save`] runs the checks in the order of `pipeline`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;

use super::recognize::RecordRequest;
use super::record_body::Body;
use crate::guard::{ClientAddr, Key, PathRule, Quota};
use crate::http::app::App;
use crate::http::policy::Policy;
use crate::http::request::body::BodyLimits;
use crate::http::response::problem::Problem;
use crate::http::route::Route;
use crate::record::{Entry, Level};
use crate::store::{self, AppendTicket, QueueFull, Saved, Source};

/// Holds the last key of a connection with its rule, so that the next record needs no lookup.
pub(crate) struct CachedKey {
    policy: Arc<Policy>,
    presented: String,
    key: Arc<Key>,
    rule: PathRule,
}

/// Holds a record whose content no check refuses.
pub(crate) struct Record<'a> {
    cached_key: &'a CachedKey,
    level: Level,
    message: Cow<'a, str>,
}

/// Says how an append has started.
pub(crate) enum AppendStart {
    /// The record is in the current batch.
    Pending(AppendTicket),
    /// The record is below the level of the log.
    Filtered,
    /// A check refuses the record.
    Refused(Problem),
    /// The append queue is full.
    Full,
}

impl<'a> Record<'a> {
    /// Returns the record of a request, or `None` when the slow path must handle the request.
    pub(crate) fn of(
        request: &RecordRequest<'a>,
        app: &App,
        policy: &Arc<Policy>,
        peer: ClientAddr,
        cached_key: &'a mut Option<CachedKey>,
    ) -> Option<Self> {
        let is_save_log = policy.paths(Route::SaveLog).contains(&request.path)
            || Route::of(request.path, &app.name) == Some(Route::SaveLog);
        let record = if is_save_log { Body::parse(request.body)? } else { return None };
        let presented = match (request.key, &record.api_key) {
            (Some(key), None) => key,
            (None, Some(key)) => key,
            // A request without a key or with two keys is rare, so the slow path handles it.
            _ => return None,
        };
        let is_cached = cached_key
            .as_ref()
            .is_some_and(|cached| Arc::ptr_eq(&cached.policy, policy) && cached.presented == presented);
        if !is_cached {
            *cached_key = Some(CachedKey::of(presented, app, policy, peer)?);
        }
        let cached_key =
            cached_key.as_ref().filter(|cached| !app.guard.is_shared(&cached.key, cached.rule))?;
        Some(Self { cached_key, level: record.level, message: record.message })
    }

    /// Checks the address and the limits of the key, and appends the record to the current batch.
    /// Returns the remaining quota of the key for the answer.
    pub(crate) fn save(
        &self,
        app: &App,
        policy: &Policy,
        peer: ClientAddr,
        client: &str,
    ) -> (AppendStart, Option<Quota>) {
        let now = Instant::now();
        if let Err(refusal) = app.guard.check_address(&policy.rules, &peer, now) {
            return (AppendStart::Refused(refusal.into()), None);
        }
        let quota = match app.guard.spend(&self.cached_key.key, self.cached_key.rule, &peer, now) {
            Ok(quota) => Some(quota),
            Err(refusal) => {
                let quota = refusal.quota().cloned();
                return (AppendStart::Refused(refusal.into()), quota);
            }
        };
        if self.level < policy.log.level {
            app.instance_state.records.add_filtered(1);
            return (AppendStart::Filtered, quota);
        }
        let start = match app.store.try_append(&self.source(client), &[self.entry()]) {
            Ok(ticket) => AppendStart::Pending(ticket),
            Err(QueueFull) => AppendStart::Full,
        };
        (start, quota)
    }

    /// Appends the record as soon as the queue has room. Meanwhile the `len` bytes of its request
    /// count against the memory budget.
    pub(crate) async fn save_when_there_is_room(
        &self,
        len: usize,
        app: &App,
        policy: &Policy,
        client: &str,
    ) -> Result<Saved, Problem> {
        let http = &policy.files.http;
        let limits = BodyLimits { body: http.request_max_size, memory: http.max_body_memory, keyed: true };
        let mut share = app.budget.share();
        share.wait_for(len as u64, limits.memory_for_this()).await?;
        Ok(store::append(&*app.store, &self.source(client), &[self.entry()]).await?)
    }

    fn source<'s>(&'s self, client: &'s str) -> Source<'s> {
        Source { client, key: &self.cached_key.key.entry.name, route: Route::SaveLog.name() }
    }

    fn entry(&self) -> Entry<'_> {
        Entry::new(self.level, &self.message)
    }
}

impl CachedKey {
    /// Looks the key up and checks it. Returns `None` when the slow path must do so.
    fn of(presented: &str, app: &App, policy: &Arc<Policy>, peer: ClientAddr) -> Option<Self> {
        let key = app.guard.peek_key(&policy.rules, presented).filter(|key| key.is_plain())?;
        let paths = policy.paths(Route::SaveLog);
        let rule = app.guard.check_key(key, &peer, &paths, &HeaderMap::new()).ok()?;
        Some(Self { policy: Arc::clone(policy), presented: presented.to_owned(), key: Arc::clone(key), rule })
    }
}
