//! One record of the short way: who may save it, and its way into the store. What is looked at before anything is
//! counted decides whether it is a record for the short way; from [`Record::save`] on the order is that of `service`.

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
use crate::record::Level;
use crate::store::{self, AppendTicket, Entry, QueueFull, Saved, Source};

/// A key that a connection has shown, so that the next record needs no look-up.
pub(crate) struct CachedKey {
    policy: Arc<Policy>,
    presented: String,
    key: Arc<Key>,
    rule: PathRule,
}

/// A record that nothing it says speaks against.
pub(crate) struct Record<'a> {
    known: &'a CachedKey,
    level: Level,
    message: Cow<'a, str>,
}

/// How far a record has come.
pub(crate) enum AppendStart {
    /// it is in the batch in hand
    Waits(AppendTicket),
    /// it is below the level of the log
    Filtered,
    Refused(Problem),
    /// the queue is full
    Full,
}

impl<'a> Record<'a> {
    /// `None` where the long way has something to say of it.
    pub(crate) fn of(
        post: &RecordRequest<'a>,
        app: &App,
        policy: &Arc<Policy>,
        peer: ClientAddr,
        known: &'a mut Option<CachedKey>,
    ) -> Option<Self> {
        let is_ours = policy.paths(Route::SaveLog).contains(&post.path)
            || Route::of(post.path, &app.name) == Some(Route::SaveLog);
        let record = if is_ours { Body::parse(post.body)? } else { return None };
        let presented = match (post.key, &record.api_key) {
            (Some(key), None) => key,
            (None, Some(key)) => key,
            // The body's key decides then, and its limits: rare enough for the long way.
            _ => return None,
        };
        let is_known = known
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(&known.policy, policy) && known.presented == presented);
        if !is_known {
            *known = Some(CachedKey::of(presented, app, policy, peer)?);
        }
        let known = known.as_ref().filter(|known| !app.guard.is_shared(&known.key, known.rule))?;
        Some(Self { known, level: record.level, message: record.message })
    }

    /// Address, limits, the batch in hand; and what is left of the key's limits.
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
        let quota = match app.guard.spend(&self.known.key, self.known.rule, &peer, now) {
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
        let begun = match app.store.try_append(&self.source(client), &[self.entry()]) {
            Ok(ticket) => AppendStart::Waits(ticket),
            Err(QueueFull) => AppendStart::Full,
        };
        (begun, quota)
    }

    /// Waits with the body in its share of the memory, `len` bytes with its head.
    pub(crate) async fn save_when_there_is_room(
        &self,
        len: usize,
        app: &App,
        policy: &Policy,
        client: &str,
    ) -> Result<Saved, Problem> {
        let http = &policy.files.http;
        let caps = BodyLimits { body: http.request_max_size, memory: http.max_body_memory, keyed: true };
        let mut share = app.budget.share();
        share.wait_for(len as u64, caps.memory_for_this()).await?;
        Ok(store::append(&*app.store, &self.source(client), &[self.entry()]).await?)
    }

    fn source<'s>(&'s self, client: &'s str) -> Source<'s> {
        Source { client, key: &self.known.key.entry.name, route: Route::SaveLog.name() }
    }

    fn entry(&self) -> Entry<'_> {
        Entry { level: self.level, message: &self.message }
    }
}

impl CachedKey {
    fn of(presented: &str, app: &App, policy: &Arc<Policy>, peer: ClientAddr) -> Option<Self> {
        let key = app.guard.peek_key(&policy.rules, presented).filter(|key| key.is_plain())?;
        let paths = policy.paths(Route::SaveLog);
        let rule = app.guard.check_key(key, &peer, &paths, &HeaderMap::new()).ok()?;
        Some(Self { policy: Arc::clone(policy), presented: presented.to_owned(), key: Arc::clone(key), rule })
    }
}
