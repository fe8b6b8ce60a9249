//! Writes the reasons of refusals to the journal while `debug` is on.
//!
//! A separate thread writes, because the journal may be busy. A flood of refused requests must
//! neither fill the journal nor wait for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::access_log::redact::redacted;
use crate::guard::{ClientAddr, Refusal};

/// Gives the parts of a problem that the refusal log uses.
pub(crate) trait RefusalDetails {
    /// Returns the HTTP status of the answer.
    fn status(&self) -> u16;

    /// Returns the text of the answer in one line.
    fn words(&self) -> String;

    /// Returns the refusal of the check that refused the request, or `None` when no check did.
    fn cause(&self) -> Option<&Refusal>;
}

/// Returns the text of the answer, shortened, without a secret that the client may have put into
/// its URL.
pub(crate) fn redacted_words(details: &impl RefusalDetails) -> String {
    redacted(&details.words()).chars().take(300).collect()
}

/// Writes the reasons of refusals to the journal on a separate thread. Limits their number in each
/// second.
#[derive(Default)]
pub(crate) struct RefusalLog {
    /// Sends explanations to the thread. The value is `None` when the thread could not be started.
    journal: OnceLock<Option<SyncSender<Explanation>>>,
    /// The start of the current second, and the number of refusals in it.
    second: Mutex<Option<(Instant, u32)>>,
    /// Number of refusals that were not explained since the last summary.
    suppressed: Arc<AtomicU64>,
}

/// Holds the reason of one refusal.
pub(crate) struct Explanation {
    /// The address of the client.
    pub(crate) client: ClientAddr,
    /// The name of the key that the client presented.
    pub(crate) key: Option<String>,
    /// The text for the journal.
    pub(crate) text: String,
}

/// Maximum number of refusals that are explained in a second.
const MAX_REFUSALS_LOGGED_PER_SECOND: u32 = 100;

impl RefusalLog {
    /// Sends an explanation to the journal, or counts it when the limit is reached. Calls
    /// `explanation` only within the limit.
    pub(crate) fn explain(&self, explanation: impl FnOnce() -> Explanation) {
        if !log::log_enabled!(log::Level::Info) {
            return;
        }
        let sent =
            self.has_room() && self.journal().is_some_and(|journal| journal.try_send(explanation()).is_ok());
        if !sent {
            self.suppressed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn has_room(&self) -> bool {
        let now = Instant::now();
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, count) = second.get_or_insert((now, 0));
        if now.duration_since(*began) >= Duration::from_secs(1) {
            (*began, *count) = (now, 0);
        }
        *count += 1;
        *count <= MAX_REFUSALS_LOGGED_PER_SECOND
    }

    fn journal(&self) -> Option<&SyncSender<Explanation>> {
        let journal = self.journal.get_or_init(|| {
            let (journal, received) = sync_channel(MAX_REFUSALS_LOGGED_PER_SECOND as usize);
            let suppressed = Arc::clone(&self.suppressed);
            let builder = thread::Builder::new().name("explain".into());
            builder.spawn(move || write_explanations(&received, &suppressed)).ok().map(|_| journal)
        });
        journal.as_ref()
    }
}

/// Writes explanations to the journal. At most once a second it also writes how many were left out.
fn write_explanations(received: &Receiver<Explanation>, suppressed: &AtomicU64) {
    let mut quiet = true;
    let mut counted = Instant::now();
    loop {
        let next = if quiet {
            received.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            received.recv_timeout(Duration::from_secs(1))
        };
        match &next {
            Ok(Explanation { client, key: Some(key), text }) => {
                crate::event!(info, REFUSED, MOCA_CLIENT:% = client, MOCA_KEY = key.as_str(); "{text}");
            }
            Ok(Explanation { client, key: None, text }) => {
                crate::event!(info, REFUSED, MOCA_CLIENT:% = client; "{text}");
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        quiet = next.is_err();
        if quiet || counted.elapsed() >= Duration::from_secs(1) {
            counted = Instant::now();
            let count = suppressed.swap(0, Ordering::Relaxed);
            if count > 0 {
                crate::event!(
                    info, REFUSED;
                    "{count} more refusals were not explained; the limit is {MAX_REFUSALS_LOGGED_PER_SECOND} per second"
                );
            }
        }
    }
}
