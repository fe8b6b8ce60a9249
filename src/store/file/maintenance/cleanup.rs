//! Removes the files of old segments, and writes the manifest anew, on a thread of their own. Neither
//! waits for a compression, and no sender waits for them.

use std::io;
use std::sync::atomic::Ordering;

use crate::store::file::log_file::LogFile;
use crate::store::file::segments::manifest::Compaction;
use crate::store::file::segments::segment_set::Retirement;

/// Maximum number of segments whose files are removed at once. Between two such steps, other work of
/// the committer has its turn.
const MAX_RETIRED_AT_ONCE: usize = 64;

/// Work of the thread.
#[derive(Debug)]
pub(crate) enum Cleanup {
    Retire(Retirement),
    Compact(Compaction),
}

/// Work that is done.
#[derive(Debug)]
pub(crate) struct CleanupResult {
    work: Cleanup,
    /// Number of files removed.
    removed: usize,
    outcome: io::Result<()>,
}

impl Cleanup {
    /// Does the work.
    pub(crate) fn run(self) -> CleanupResult {
        let (removed, outcome) = match &self {
            Self::Retire(work) => work.run(),
            Self::Compact(work) => (0, work.run()),
        };
        CleanupResult { work: self, removed, outcome }
    }
}

impl LogFile {
    /// Retires the `count` oldest segments, in the background.
    pub(crate) fn retire(&mut self, count: usize) {
        let last = count.checked_sub(1).and_then(|last| self.segments.list().items().get(last));
        let last = last.map(|last| last.seq());
        self.maintenance.retire_to = self.maintenance.retire_to.max(last);
    }

    /// Returns the next work of the thread, if there is any. Readers do not see segments whose files
    /// it removes.
    pub(crate) fn next_cleanup(&mut self) -> Option<Cleanup> {
        if let Some(last) = self.maintenance.retire_to {
            if let Some(work) = self.segments.begin_retirement(last, MAX_RETIRED_AT_ONCE) {
                return Some(Cleanup::Retire(work));
            }
            self.maintenance.retire_to = None;
        }
        self.segments.compaction().map(Cleanup::Compact)
    }

    /// Takes the result of the thread.
    pub(crate) fn finish_cleanup(&mut self, result: CleanupResult) {
        let CleanupResult { work, removed, outcome } = result;
        match &work {
            Cleanup::Retire(retirement) => {
                self.segments.finish_retirement(removed);
                self.count_retired(removed, retirement);
                if let Err(error) = outcome {
                    self.maintenance.retire_to = None;
                    self.warn_maintenance(&format!("can't remove its oldest segments: {error}"));
                }
            }
            Cleanup::Compact(compaction) => {
                let outcome = outcome.and_then(|()| self.segments.finish_compaction(compaction));
                if let Err(error) = outcome {
                    self.warn_maintenance(&format!("can't shorten the list of its segments: {error}"));
                }
            }
        }
        self.plan();
    }

    /// Takes note that no thread can be started.
    pub(crate) fn give_up_cleanup(&mut self) {
        self.maintenance.retire_to = None;
        self.segments.finish_retirement(0);
    }

    fn count_retired(&self, removed: usize, retirement: &Retirement) {
        if removed > 0 {
            self.counters.retired.fetch_add(removed as u64, Ordering::Relaxed);
            let last = retirement.last_path().display();
            crate::event!(info, RETIRED; "removed the oldest {removed} segments, up to {last}");
        }
    }

    /// Does all work of the thread at once.
    #[cfg(test)]
    pub(crate) fn clean_up(&mut self) {
        while let Some(work) = self.next_cleanup() {
            self.finish_cleanup(work.run());
        }
    }
}
