//! Checks and appends one record on the fast path.
//!
//! [`Record::of`] changes no counter and no other state, so the slow path can still handle the
//! request. [`Record::save`] runs the checks in the order of `pipeline`.

use std::sync::Arc;
use std::time::Instant;

use constant_time_eq::constant_time_eq;
use http::HeaderMap;

use super::recognize::RecordRequest;
use super::record_body::{Body, Content};
use crate::guard::{
    AdmittedKey, Caller, ClientAddr, Cost, Head, PresentedKey, Quota, admit_address, peek_key,
    would_admit_address,
};
use crate::http::app::App;
use crate::http::log_path::{PREFIX, SAVE_LOG};
use crate::http::policy::Policy;
use crate::http::request::body::BodyLimits;
use crate::http::response::problem::Problem;
use crate::ingest::entry::read_rules::ReadRules;
use crate::store::{self, AppendTicket, QueueFull, Saved, Source};

/// Holds the last key of a connection with its rule, so that the next record needs no lookup.
pub(crate) struct CachedKey {
    policy: Arc<Policy>,
    presented: String,
    admitted: AdmittedKey,
}

/// Holds a record that the fast path answers.
pub(crate) enum Record<'a> {
    /// The address of the client is refused, so the body and the key do not matter.
    Refused(Problem),
    /// No check refuses the content of the record.
    Valid(ValidRecord<'a>),
}

/// Holds a record whose content no check refuses.
pub(crate) struct ValidRecord<'a> {
    cached_key: &'a CachedKey,
    content: Content<'a>,
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
        let path = request.path.strip_suffix('/').unwrap_or(request.path);
        // Other routes may have a form of their own for refusals.
        if !policy.save_log_paths.iter().any(|save_log| save_log == path) {
            return None;
        }
        if let Some(problem) = refused_address(app, policy, peer) {
            // Elsewhere, a dialect may have a form of its own.
            if !request.path.trim_start_matches('/').starts_with(PREFIX) {
                return None;
            }
            return Some(Self::Refused(problem));
        }
        let record = Body::parse(request.body, &ReadRules::new(&policy.log, None))?;
        let presented = match (request.key, &record.api_key) {
            (Some(key), None) => key,
            (None, Some(key)) => key,
            // A request without a key or with two keys is rare, so the slow path handles it.
            _ => return None,
        };
        let is_cached = cached_key.as_ref().is_some_and(|cached| {
            Arc::ptr_eq(&cached.policy, policy)
                && constant_time_eq(cached.presented.as_bytes(), presented.as_bytes())
        });
        if !is_cached {
            *cached_key = Some(CachedKey::of(presented, app, policy, peer)?);
        }
        let cached_key =
            cached_key.as_ref().filter(|cached| !cached.admitted.is_counted_in_redis(&app.guard))?;
        Some(Self::Valid(ValidRecord { cached_key, content: record.content }))
    }

    /// Returns the name of the key, if it is known.
    pub(crate) fn key_name(&self) -> Option<&str> {
        match self {
            Self::Valid(record) => Some(&record.cached_key.admitted.key().entry.name),
            Self::Refused(_) => None,
        }
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
        let record = match self {
            Self::Valid(record) => record,
            Self::Refused(problem) => return (AppendStart::Refused(problem.clone()), None),
        };
        let caller = caller(app, policy, peer);
        let admitted = match admit_address(&caller, &mut ()) {
            Ok(admitted) => admitted.admit_cached_key(&record.cached_key.admitted),
            Err(refusal) => return (AppendStart::Refused(refusal.into()), None),
        };
        let quota = match admitted.count(&caller, Cost::REQUEST) {
            Ok(quota) => Some(quota),
            Err(refusal) => {
                let quota = refusal.quota().cloned();
                return (AppendStart::Refused(refusal.into()), quota);
            }
        };
        let Some(entry) = record.content.entry().filter(|entry| entry.level >= policy.log.level) else {
            app.instance_state.records.add_filtered(1);
            return (AppendStart::Filtered, quota);
        };
        let start = match app.store.try_append(&record.source(client), &[entry]) {
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
        let record = match self {
            Self::Valid(record) => record,
            Self::Refused(problem) => return Err(problem.clone()),
        };
        let http = &policy.files.http;
        let limits = BodyLimits { body: http.request_max_size, memory: http.max_body_memory, keyed: true };
        let mut share = app.budget.share();
        share.wait_for(len as u64, limits.memory_for_this()).await?;
        let entry = record.content.entry();
        Ok(store::append(&*app.store, &record.source(client), entry.as_slice()).await?)
    }

    /// Counts what was changed in the record, after the store accepted it.
    pub(crate) fn count_changes(&self, app: &App) {
        if let Self::Valid(record) = self {
            app.instance_state.records.add_changes(record.content.changes());
        }
    }
}

impl ValidRecord<'_> {
    fn source<'s>(&'s self, client: &'s str) -> Source<'s> {
        Source { client, key: &self.cached_key.admitted.key().entry.name, route: SAVE_LOG }
    }
}

impl CachedKey {
    /// Looks the key up and checks it. Returns `None` when the slow path must do so.
    fn of(presented: &str, app: &App, policy: &Arc<Policy>, peer: ClientAddr) -> Option<Self> {
        let [short, long] = &policy.save_log_paths;
        let key = PresentedKey::new(presented);
        let head = Head {
            paths: &[short, long],
            // A key that demands headers is not plain.
            headers: &HeaderMap::new(),
            key: Some(&key),
            body_may_hold_key: false,
        };
        let admitted =
            peek_key(&caller(app, policy, peer), &head).filter(|admitted| admitted.key().is_plain())?;
        Some(Self { policy: Arc::clone(policy), presented: presented.to_owned(), admitted })
    }
}

/// Returns the client with the rules that it is checked against, now.
fn caller<'a>(app: &'a App, policy: &'a Policy, peer: ClientAddr) -> Caller<'a> {
    Caller { guard: &app.guard, rules: &policy.rules, client: peer, now: Instant::now() }
}

/// Refuses a client whose address the checks do not admit, before its body and its key are looked
/// at. Counts nothing for any other client.
fn refused_address(app: &App, policy: &Policy, peer: ClientAddr) -> Option<Problem> {
    if would_admit_address(&app.guard, &policy.rules, &peer) {
        return None;
    }
    admit_address(&caller(app, policy, peer), &mut ()).err().map(Problem::from)
}
