//! Keeps the latest refused requests for the operator, and writes to the journal once a minute how
//! many requests of each sender were refused.
//!
//! An accepted request never comes here. A refused one takes a lock and a few allocations, and waits
//! for no disk and no journal.

mod latest;
mod minutes;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;

use self::latest::Latest;
use self::minutes::{Minute, Minutes};
use super::refusal_log::{RefusalDetails, redacted_words};
use crate::guard::ClientAddr;
use crate::record::Escaped;

pub(crate) use self::latest::Cursor;

/// Maximum number of characters of a path that is no route.
const MAX_PATH_CHARS: usize = 200;

/// Names the request that was refused, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) client: ClientAddr,
    /// The name of the key that the client presented.
    pub(crate) key: Option<&'a str>,
    /// `None` when the bytes are no request.
    pub(crate) method: Option<&'a str>,
    /// The name of the route, or the path of a request without one. It holds no secret.
    pub(crate) route: Option<&'a str>,
}

impl Origin<'_> {
    /// Returns the origin of a connection, or of bytes that are no request.
    pub(crate) const fn of_connection(client: ClientAddr) -> Self {
        Self { client, key: None, method: None, route: None }
    }
}

/// Holds the refused requests of an instance.
pub(crate) struct RefusedRequests {
    state: Mutex<State>,
    /// Notified when the first of the open minutes begins.
    minute_begun: Notify,
}

struct State {
    latest: Latest,
    minutes: Minutes,
}

impl Default for RefusedRequests {
    fn default() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let state = State { latest: Latest::new(since.as_micros()), minutes: Minutes::default() };
        Self { state: Mutex::new(state), minute_begun: Notify::new() }
    }
}

impl RefusedRequests {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a request that was refused `times` times as one, and counts each.
    pub(crate) fn add_times(&self, origin: &Origin<'_>, details: &impl RefusalDetails, times: u64) {
        let (status, reason) = (details.status(), reason_of(details));
        let shown = |text: &str| Escaped(text).to_string();
        let entry = latest::Entry {
            time: Timestamp::now(),
            client: origin.client.to_string(),
            key: origin.key.map(shown),
            method: origin.method.map(shown),
            route: origin.route.map(|route| shown(&route.chars().take(MAX_PATH_CHARS).collect::<String>())),
            status,
            reason: reason.clone(),
        };
        let mut state = self.lock();
        state.latest.push(entry);
        let now = Instant::now();
        let is_first = state.minutes.add(now, origin.client, origin.key, status, reason.clone());
        for _ in 1..times {
            state.minutes.add(now, origin.client, origin.key, status, reason.clone());
        }
        drop(state);
        if is_first {
            self.minute_begun.notify_one();
        }
    }

    /// Returns the latest refused requests behind `after`, the oldest first, as a JSON array, and the
    /// cursor behind them.
    pub(crate) fn latest(&self, after: Option<Cursor>) -> (String, Cursor) {
        self.lock().latest.to_json(after)
    }

    /// Writes the sums of each minute to the journal when it ends. Never returns. Needs a tokio
    /// runtime with time.
    pub(crate) async fn write_minutes(&self) {
        loop {
            let end = self.lock().minutes.next_end();
            match end {
                None => self.minute_begun.notified().await,
                Some(end) => {
                    sleep_until(end.into()).await;
                    let ended = self.lock().minutes.take_ended(Instant::now());
                    // The journal may be busy. A panic of the task would be logged by tokio.
                    drop(spawn_blocking(move || ended.iter().for_each(Minute::log)).await);
                }
            }
        }
    }

    /// Writes the sums of the minutes that have not ended, for shutdown. Blocks.
    pub(crate) fn write_rest(&self) {
        let rest = self.lock().minutes.take_all();
        rest.iter().for_each(Minute::log);
    }
}

/// Returns the reason without a secret and without a text that only repeats the request.
fn reason_of(details: &impl RefusalDetails) -> String {
    match details.status() {
        404 => "The path is no route of this log.".to_owned(),
        405 => "The route has no such method.".to_owned(),
        _ => Escaped(&redacted_words(details)).to_string(),
    }
}
