//! Limits how many searches run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::http::connection::state::ConnectionState;
use crate::http::response::problem::Problem;

/// Counts the running searches. A read without a selection is not a search.
#[derive(Debug, Default)]
pub(crate) struct Searches(AtomicU32);

/// Represents a running search. Dropping it ends the search.
pub(crate) struct Search {
    searches: Arc<Searches>,
    state: Arc<ConnectionState>,
}

impl Search {
    /// Begins a search for the request of `state`.
    ///
    /// # Errors
    /// Fails with 503 while `max` searches are running.
    pub(crate) fn begin(
        searches: &Arc<Searches>,
        max: u32,
        state: &Arc<ConnectionState>,
    ) -> Result<Self, Problem> {
        let searches = Arc::clone(searches);
        let admitted = searches.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |running| {
            (running < max).then_some(running + 1)
        });
        if admitted.is_err() {
            return Err(Problem::overloaded("Too many searches at once."));
        }
        state.search_begins();
        Ok(Self { searches, state: Arc::clone(state) })
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.state.search_ends();
        self.searches.0.fetch_sub(1, Ordering::Relaxed);
    }
}
