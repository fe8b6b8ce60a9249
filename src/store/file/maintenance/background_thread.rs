//! The thread for what is done [beside](super::background) the service: one piece of work at a time, and none outlives the
//! store.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::background::Job;
use crate::store::file::append_buffer::Command;
use crate::store::file::shared::Shared;

/// How long a stop waits for a disk that takes the last of a file: what is left over is removed by the next start.
const PATIENCE: Duration = Duration::from_secs(2);

/// One piece of work under way.
#[derive(Debug)]
pub(crate) struct BackgroundThread {
    cancelled: Arc<AtomicBool>,
    ended: oneshot::Receiver<()>,
    unfinished: Option<PathBuf>,
}

impl BackgroundThread {
    /// Starts a thread, which tells the committer when it is done.
    pub(crate) fn start(job: Job, shared: Arc<Shared>) -> Option<Self> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let (end, ended) = oneshot::channel::<()>();
        let this = Self { cancelled: Arc::clone(&cancelled), ended, unfinished: job.unfinished() };
        let run = move || {
            let done = job.run(&cancelled);
            shared.append_buffer.command(Command::Finished(done));
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

    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Cancels it and waits for its end.
    pub(crate) async fn end(self) {
        self.cancel();
        drop(timeout(PATIENCE, self.ended).await);
        // The store is closed: nobody takes what was finished in the last moment.
        if let Some(unfinished) = self.unfinished {
            drop(fs::remove_file(unfinished));
        }
    }
}
