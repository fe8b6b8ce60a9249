//! Clearing: the state notes how far, then segments and lines go, then the state says that they went.

use std::io;
use std::time::SystemTime;

use crate::fault;
use crate::store::file::log_file::LogFile;

impl LogFile {
    /// Removes every line. Interrupted anywhere, the next start finishes it.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.verify()?;
        let end = self.view.lock().end().position;
        if let Err(error) = self.state.update(true, |state| state.clearing_to = Some(end)) {
            // It may stand on the disk all the same: it is taken back before anything else is appended.
            self.state.revise(|state| state.clearing_to = None);
            return Err(error);
        }
        fault::point("clear.noted");
        // Readers first: from here on what they read may be gone.
        self.view.lock().generation += 1;
        let removed = self.segments.remove_all();
        if let Err(error) = removed.and_then(|()| self.file.set_len(0)).and_then(|()| self.file.sync_all()) {
            self.state.revise(|state| state.clearing_to = None);
            self.adopt()?;
            return Err(error);
        }
        fault::point("clear.cut");
        self.len = 0;
        self.checkpoint = 0;
        self.first = None;
        {
            let mut published = self.view.lock();
            // Again: who came in between saw an end that is no more.
            published.generation += 1;
            published.incarnation += 1;
            (published.base, published.len, published.count, published.counting) = (end, 0, 0, 0);
            published.modified = SystemTime::now();
        }
        self.view.tell();
        self.state.update(true, |state| state.cleared(end))?;
        fault::point("clear.done");
        if let Err(error) = self.segments.settle() {
            log::warn!(
                "can't note that the segments of {} were removed: {error}",
                self.segments.home().display()
            );
        }
        self.plan();
        Ok(())
    }
}
