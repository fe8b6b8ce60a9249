//! Runs [background work](super::background) on a thread, one job at a time. No job outlives the
//! store.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::background::Job;
use super::cleanup::Cleanup;
use crate::store::file::append_buffer::Command;
use crate::store::file::shared::Shared;

/// Maximum time that a stop waits for a job. The next start removes a file that the job leaves.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// A running job.
#[derive(Debug)]
pub(crate) struct BackgroundThread {
    is_cancelled: Arc<AtomicBool>,
    ended: oneshot::Receiver<()>,
    /// The file that the job writes.
    unfinished: Option<PathBuf>,
}

/// Does `work` on a new thread, which sends the result to the committer. Returns false when no thread
/// can be started.
pub(crate) fn start_cleanup(work: Cleanup, shared: Arc<Shared>) -> bool {
    let run = move || {
        shared.append_buffer.command(Command::Cleaned(work.run()));
        shared.work.notify_one();
    };
    let spawned = std::thread::Builder::new().name("cleanup".into()).spawn(run);
    spawned.inspect_err(|error| log::warn!("can't remove old segments in the background: {error}")).is_ok()
}

impl BackgroundThread {
    /// Starts a thread for `job`. The thread sends the result to the committer.
    pub(crate) fn start(job: Job, shared: Arc<Shared>) -> Option<Self> {
        let is_cancelled = Arc::new(AtomicBool::new(false));
        let (end, ended) = oneshot::channel::<()>();
        let this = Self { is_cancelled: Arc::clone(&is_cancelled), ended, unfinished: job.unfinished() };
        let run = move || {
            let result = job.run(&is_cancelled);
            shared.append_buffer.command(Command::Finished(result));
            shared.work.notify_one();
            drop(end);
        };
        match std::thread::Builder::new().name("segments".into()).spawn(run) {
            Ok(_) => Some(this),
            Err(error) => {
                log::warn!("can't compress or count segments in the background: {error}");
                None
            }
        }
    }

    /// Asks the job to stop at its next step.
    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Cancels the job and waits for its end.
    pub(crate) async fn end(self) {
        self.cancel();
        drop(timeout(STOP_TIMEOUT, self.ended).await);
        // The store is closed, so the committer does not put a finished file in place any more.
        if let Some(unfinished) = self.unfinished {
            drop(fs::remove_file(unfinished));
        }
    }
}
