//! Clears the log in three steps: it saves the position up to which records are cleared, removes
//! segments and lines, and saves that the clear is complete.

use std::io;
use std::time::SystemTime;

use crate::fault;
use crate::store::file::log_file::LogFile;

impl LogFile {
    /// Removes every line. The next start completes a clear that a crash interrupted.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        self.verify()?;
        let end = self.view.lock().end().position;
        if let Err(error) = self.state.update(true, |state| state.clearing_to = Some(end)) {
            // The failed write may have reached the disk nevertheless. So the state without the
            // clear is written before the next append.
            self.state.revise(|state| state.clearing_to = None);
            return Err(error);
        }
        fault::point("clear.noted");
        // From here on, the bytes under a reader may be gone. Readers notice the new generation.
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
        (self.first, self.newest, self.is_new_file) = (None, None, true);
        {
            let mut published = self.view.lock();
            // Readers that began during the removal saw the old end, so a new generation begins.
            published.generation += 1;
            published.incarnation += 1;
            (published.base, published.len) = (end, 0);
            (published.count, published.foreign, published.counting) = (0, 0, 0);
            published.oldest = None;
            published.modified = SystemTime::now();
        }
        self.view.notify();
        self.state.update(true, |state| state.finish_clear(end))?;
        fault::point("clear.done");
        if let Err(error) = self.segments.save() {
            log::warn!(
                "can't save that the segments of {} were removed: {error}",
                self.segments.home().display()
            );
        }
        self.plan();
        Ok(())
    }
}
