//! Rotates the log: the active file becomes a segment, and a fresh file takes its place. A rotation
//! needs no free space except for one directory entry. The process may crash after each step:
//!
//! 1. The fresh file is created, under the name of the segment and `.tmp`.
//! 2. The state saves the rotation and both files.
//! 3. The active file is renamed to the segment, then the fresh file to the active file.
//! 4. Readers see the segment, the manifest lists it, and the state drops the rotation.
//!
//! A failure before step 3 leaves the active file as it was, to be rotated later.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::fault;
use crate::record::MAX_AHEAD_MICROS;
use crate::store::StoreError;
use crate::store::file::append_buffer::BatchTimes;
use crate::store::file::log_file::LogFile;
use crate::store::file::segments::segment::{Coding, Segment, SegmentName, UNKNOWN_TIME};
use crate::store::file::state::durable_fs::{lock, rename_new, sync_folder};
use crate::store::file::state::fingerprint::Fingerprint;
use crate::store::file::state::state_file::Rotating;

impl LogFile {
    /// Makes a segment of the active file, which must not be empty and must be verified.
    ///
    /// # Errors
    /// Returns the error of the failed step. The active file is then unchanged.
    pub(crate) fn rotate(&mut self) -> io::Result<()> {
        if self.state.get().rotating.is_some() {
            // The state has room for one rotation only.
            self.segments.save()?;
        }
        let name = self.segments.next_name();
        let home = self.segments.home().to_owned();
        let unfinished = name.unfinished(&home, Coding::Plain);
        let fresh = self.fresh(&unfinished)?;
        let (segment, outcome) = match self.segment(name) {
            Ok(segment) => {
                let outcome = self.exchange(&segment, &fresh, &unfinished, &home);
                (Some(segment), outcome)
            }
            Err(error) => (None, Err(error)),
        };
        let (Some(segment), Ok(())) = (segment, &outcome) else {
            drop(fs::remove_file(&unfinished));
            return outcome;
        };
        let meta = fresh.metadata()?;
        self.file = Arc::new(fresh);
        (self.dev, self.ino) = (meta.dev(), meta.ino());
        (self.len, self.checkpoint, self.first, self.newest) = (0, 0, None, None);
        self.is_new_file = true;
        let end = segment.base + segment.len;
        let path = segment.path.clone();
        {
            let mut published = self.view.lock();
            self.segments.push(segment, &mut published.segments);
            published.file = Arc::clone(&self.file);
            published.incarnation += 1;
            (published.base, published.len) = (end, 0);
            (published.count, published.foreign, published.counting) = (0, 0, 0);
            published.oldest = None;
        }
        self.state.revise(|state| state.begin_file(end, self.dev, self.ino));
        fault::point("rotate.published");
        let segments_saved = self.segments.save();
        fault::point("rotate.catalogued");
        // Not synced: the next start finds the same from the saved rotation and the files.
        let state_saved = self.state.update(false, |state| {
            if segments_saved.is_ok() {
                state.rotating = None;
            }
        });
        fault::point("rotate.done");
        if let Err(error) = segments_saved.and(state_saved) {
            log::warn!("can't save that {} was rotated: {error}", self.segments.home().display());
        }
        self.counters.rotations.fetch_add(1, Ordering::Relaxed);
        log::info!("rotated: {}", path.display());
        Ok(())
    }

    /// Returns whether the records of a batch may go into the active file, as far as their times tell:
    /// the period of `every` has not ended, and the system clock was not set back.
    pub(crate) fn admits_times(&self, times: BatchTimes) -> bool {
        times.newest < self.maintenance.period_ends_at && !self.is_before_newest(times)
    }

    /// Prepares the active file for a batch with these times.
    ///
    /// # Errors
    /// Fails as [`Self::begin_after_step`] does.
    pub(crate) fn admit_times(&mut self, times: BatchTimes) -> Result<(), StoreError> {
        if times.newest >= self.maintenance.period_ends_at {
            self.verify().map_err(StoreError::write)?;
            self.maintain(0);
        }
        self.begin_after_step(times)
    }

    /// Returns whether the records of a batch are before those of the file, because the system clock
    /// was set back. They then belong into a file of their own. A program that appended to the file
    /// may have another clock, so a small difference is none.
    fn is_before_newest(&self, times: BatchTimes) -> bool {
        self.newest.is_some_and(|newest| times.oldest < newest - MAX_AHEAD_MICROS)
    }

    /// Begins a file for a batch whose records are before those of the active file.
    ///
    /// # Errors
    /// Fails when the file can't be rotated. The batch is then not stored, and later ones get the
    /// time of the newest record for a while.
    fn begin_after_step(&mut self, times: BatchTimes) -> Result<(), StoreError> {
        if !self.is_before_newest(times) {
            return Ok(());
        }
        let behind = Duration::from_micros(self.newest.map_or(0, |newest| newest.abs_diff(times.oldest)));
        let outcome = self.verify().and_then(|()| if self.len > 0 { self.rotate() } else { Ok(()) });
        // The period of `every` was planned by the old time.
        self.plan();
        match &outcome {
            Ok(()) => crate::event!(
                warn, CLOCK_BACK;
                "the system clock is {} seconds behind the newest record: a new file begins, with the true time",
                behind.as_secs()
            ),
            Err(error) => {
                self.must_hold_clock = true;
                crate::event!(
                    warn, CLOCK_BACK;
                    "the system clock is {} seconds behind the newest record, and no new file can be begun: \
                     records keep the time of the newest one: {error}",
                    behind.as_secs()
                );
            }
        }
        outcome.map_err(StoreError::write)
    }

    /// Creates the next active file, and locks it.
    fn fresh(&self, unfinished: &Path) -> io::Result<File> {
        let fresh =
            OpenOptions::new().read(true).append(true).create_new(true).mode(0o640).open(unfinished)?;
        fault::step("rotate.create").inspect_err(|_| drop(fs::remove_file(unfinished)))?;
        fault::point("rotate.created");
        let permissions = self.file.metadata().and_then(|meta| fresh.set_permissions(meta.permissions()));
        if let Err(error) = permissions {
            log::warn!("the file after the rotation has other permissions: {error}");
        }
        lock(&fresh)?;
        Ok(fresh)
    }

    /// Returns the segment that the active file becomes.
    fn segment(&self, name: SegmentName) -> io::Result<Segment> {
        let seen = self.view.get();
        let modified = seen.modified.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
        let head = self.state.get().head.clone();
        Ok(Segment {
            path: name.path(self.segments.home(), Coding::Plain),
            name,
            coding: Coding::Plain,
            epoch: seen.epoch,
            base: seen.base,
            len: self.len,
            count: (seen.counting == 0).then_some(seen.count),
            foreign: (seen.counting == 0).then_some(seen.foreign),
            oldest: Some(self.first.unwrap_or(UNKNOWN_TIME)),
            newest: self.newest.or_else(|| self.newest_time()).unwrap_or(modified.as_micros() as i64),
            stored: self.len,
            mtime: None,
            ino: self.ino,
            head: if head.is_empty() { Fingerprint::of(&self.file, self.len)? } else { head },
        })
    }

    /// Saves the rotation in the state, and renames both files.
    fn exchange(
        &mut self,
        segment: &Segment,
        fresh: &File,
        unfinished: &Path,
        home: &Path,
    ) -> io::Result<()> {
        let meta = fresh.metadata()?;
        let rotating = Rotating { segment: segment.clone(), dev: meta.dev(), ino: meta.ino() };
        let before = self.state.get().rotating.clone();
        let saved = self.state.update(true, |state| state.rotating = Some(rotating));
        fault::point("rotate.noted");
        let outcome = saved.and_then(|()| rename_new(home, &segment.path)).and_then(|()| {
            fault::point("rotate.moved");
            rename_new(unfinished, home).or_else(|error| {
                rename_new(&segment.path, home)?;
                Err(error)
            })
        });
        if outcome.is_err() {
            // The failed write may have reached the disk nevertheless. So the state without the
            // rotation is written before the next append.
            self.state.revise(|state| state.rotating = before);
            return outcome;
        }
        fault::point("rotate.replaced");
        if let Err(error) = sync_folder(home) {
            log::warn!("can't sync the folder of {}: {error}", home.display());
        }
        Ok(())
    }
}
