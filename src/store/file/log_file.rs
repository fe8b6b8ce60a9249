//! Manages the active file and the log's segments for their only writer. Opens and repairs the
//! file, appends batches whole or not at all, and notices when another program moved, deleted,
//! truncated or extended it.
//!
//! All calls block. The committer decides on which thread they run.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::statvfs::fstatvfs;

use super::published::{Published, View};
use crate::fault;
use crate::record::parse_time;
use crate::store::StoreError;
use crate::store::commit::CommitPosition;
use crate::store::file::maintenance::clock_watch::ClockWatch;
use crate::store::file::maintenance::line_count::count_lines;
use crate::store::file::maintenance::rules::MaintenanceState;
use crate::store::file::segments::manifest::{newest_in_file, oldest_in_file};
use crate::store::file::segments::segment_set::SegmentSet;
use crate::store::file::state::durable_fs::{at_path, open_or_create};
use crate::store::file::state::fingerprint::Fingerprint;
use crate::store::file::state::interrupted::{finish_clear, finish_rotation, put_in_place};
use crate::store::file::state::recovery::{cut_torn_tail, torn_path};
use crate::store::file::state::state_file::StateFile;
use crate::store::statistics::{LatencyRecorder, MaintenanceCounters};

/// Bytes appended between two saves of the line count. Limits how much is counted after a crash.
const CHECKPOINT_BYTES: u64 = 64 * 1024 * 1024;

/// Minimum time between two warnings about changes by another program.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// The active file and the segments of a log.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    state_path: PathBuf,
    /// The open file.
    pub(crate) file: Arc<File>,
    /// Inode of the file; 0 before the file was adopted.
    pub(crate) ino: u64,
    /// Device of the file.
    pub(crate) dev: u64,
    /// Bytes of whole lines: the length of the file unless another program changed it.
    pub(crate) len: u64,
    /// True when a failed write left bytes after `len` that are not cut off yet.
    is_dirty: bool,
    /// The saved state of the log.
    pub(crate) state: StateFile,
    /// The rotated segments.
    pub(crate) segments: SegmentSet,
    /// The published state.
    pub(crate) view: Arc<View>,
    syncs: Arc<LatencyRecorder>,
    /// Counts what the maintenance does.
    pub(crate) counters: Arc<MaintenanceCounters>,
    /// `len` when the line count was saved last.
    pub(crate) checkpoint: u64,
    /// Time of the first line, microseconds since the epoch. `None`: another program wrote the
    /// line.
    pub(crate) first: Option<i64>,
    /// Time of the newest line. `None`: another program wrote the lines, or there are none.
    pub(crate) newest: Option<i64>,
    /// True after another file became the active one, until the clock has begun anew for it.
    pub(crate) is_new_file: bool,
    /// True after the system clock was set back and no new file could be begun, until the clock is
    /// held.
    pub(crate) must_hold_clock: bool,
    /// The rules, and when maintenance is due.
    pub(crate) maintenance: MaintenanceState,
    warned_at: Option<Instant>,
}

impl LogFile {
    /// Opens or creates the file at `path` and repairs it. `state_path` is the file of the log in
    /// the state directory.
    pub(crate) fn open(path: &Path, state_path: &Path) -> io::Result<Self> {
        let counters = Arc::<MaintenanceCounters>::default();
        let mut state =
            StateFile::open(state_path, &counters).map_err(|error| at_path(&error, state_path))?;
        put_in_place(state.get(), path);
        let file = Arc::new(open_or_create(path).map_err(|error| at_path(&error, path))?);
        let home = fs::canonicalize(path)?;
        finish_rotation(&mut state, &file, &home)?;
        let view = Arc::new(View::new(Published {
            segments: Arc::default(),
            file: Arc::clone(&file),
            generation: 0,
            incarnation: 0,
            epoch: state.get().epoch,
            base: state.get().base,
            len: 0,
            count: 0,
            foreign: 0,
            counting: 0,
            stored: 0,
            oldest: None,
            modified: SystemTime::now(),
        }));
        let mut segments = SegmentSet::open(home, state_path, state.get(), &view);
        finish_clear(&mut state, &file, &mut segments)?;
        view.lock().base = state.get().base;
        let mut this = Self {
            path: path.to_owned(),
            state_path: state_path.to_owned(),
            file,
            ino: 0,
            dev: 0,
            len: 0,
            is_dirty: false,
            state,
            segments,
            view,
            syncs: Arc::default(),
            counters,
            checkpoint: 0,
            first: None,
            newest: None,
            is_new_file: true,
            must_hold_clock: false,
            maintenance: MaintenanceState::default(),
            warned_at: None,
        };
        let (known, has_history) = (this.state.get().time, !this.segments.list().items().is_empty());
        this.maintenance.clock = ClockWatch::new(known, has_history);
        this.adopt()?;
        Ok(this)
    }

    /// Returns the published state.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the latencies of syncs.
    pub(crate) fn syncs(&self) -> Arc<LatencyRecorder> {
        Arc::clone(&self.syncs)
    }

    /// Returns the secret identity of the log.
    pub(crate) fn identity(&self) -> Option<[u8; 16]> {
        self.state.get().identity_bytes()
    }

    /// Runs the maintenance that is due, then appends `bytes`, which are `records` whole lines.
    /// Syncs them when `sync` is true.
    ///
    /// # Errors
    /// Fails with [`StoreError::Write`] when the bytes are not in the file, and with
    /// [`StoreError::Unknown`] when the file may keep them.
    pub(crate) fn commit(
        &mut self,
        bytes: &[u8],
        records: u64,
        sync: bool,
    ) -> Result<CommitPosition, StoreError> {
        self.verify().map_err(StoreError::write)?;
        if !self.can_append(bytes.len()) {
            self.maintain(bytes.len() as u64);
        }
        self.append(bytes, records, sync)
    }

    /// Appends `bytes`, which are `records` whole lines, to a file that [is
    /// undisturbed](Self::is_undisturbed) or was verified. Syncs them when `sync` is true.
    ///
    /// # Errors
    /// Fails as [`Self::commit`] does.
    pub(crate) fn append(
        &mut self,
        bytes: &[u8],
        records: u64,
        sync: bool,
    ) -> Result<CommitPosition, StoreError> {
        if let Err(error) = (&*self.file).write_all(bytes).and_then(|()| fault::step("append.write")) {
            return Err(self.take_back(error, Self::undo));
        }
        if sync && let Err(error) = self.syncs.time(|| self.file.sync_data()) {
            // The lines may be on the disk, so the disk must know as well that they are cut off.
            return Err(self.take_back(error, |this| this.undo().and_then(|()| this.file.sync_all())));
        }
        let position;
        {
            let mut published = self.view.lock();
            position = CommitPosition { epoch: published.epoch, position: published.base + self.len };
            self.len += bytes.len() as u64;
            published.len = self.len;
            published.count += records;
            published.stored += records;
            published.modified = SystemTime::now();
        }
        self.view.notify();
        if self.state.get().head.is_empty() {
            fault::point("append.first");
            self.first = parse_time(bytes);
            self.view.lock().oldest = self.first;
            self.save_head(sync);
        }
        if self.len - self.checkpoint >= CHECKPOINT_BYTES {
            self.save_count(false);
        }
        Ok(position)
    }

    /// Cuts off a failed write by `undo`, and returns the error of its appends. If `undo` fails too,
    /// it is unknown whether they are stored: the lines stay in the file until the next append cuts
    /// them off, and a start before that keeps the whole ones.
    fn take_back(&mut self, error: io::Error, undo: impl FnOnce(&mut Self) -> io::Result<()>) -> StoreError {
        self.is_dirty = true;
        match undo(self) {
            Ok(()) => StoreError::write(error),
            Err(failed) => {
                log::error!("can't cut a failed write off {}: {failed}", self.path.display());
                StoreError::unknown(error)
            }
        }
    }

    /// Continues in the file at `path`. On an error the old file stays.
    pub(crate) fn move_to(&mut self, path: &Path) -> io::Result<()> {
        if path == self.path {
            return Ok(());
        }
        let file = open_or_create(path).map_err(|error| at_path(&error, path))?;
        if let Err(error) = self.sync() {
            // An error of the old file must not keep the log from a file that works.
            log::warn!("can't sync {} before leaving it: {error}", self.path.display());
        }
        let home = fs::canonicalize(path)?;
        // The segments of the old file stay beside it. The segments beside the new file belong to
        // the new file.
        self.state.revise(|state| state.rotating = None);
        let segments = SegmentSet::open(home, &self.state_path, self.state.get(), &self.view);
        let old_file = std::mem::replace(&mut self.file, Arc::new(file));
        let old_path = std::mem::replace(&mut self.path, path.to_owned());
        let old_segments = std::mem::replace(&mut self.segments, segments);
        let outcome = self.adopt();
        match outcome {
            Ok(()) => {
                self.is_dirty = false;
                self.view.segment_cache().forget_all();
            }
            Err(_) => (self.file, self.path, self.segments) = (old_file, old_path, old_segments),
        }
        outcome
    }

    /// Makes everything durable and saves the line count.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.undo()?;
        self.file.sync_all()?;
        self.save_count(true);
        self.state.flush()
    }

    /// Syncs for the last time and unlocks the file, so that another process can write it.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        let synced = self.sync().and_then(|()| self.check_state());
        // Readers may keep the file open for a while, so the lock is released explicitly.
        self.file.unlock()?;
        synced
    }

    /// Saves the state and the list of segments again if another program removed them.
    pub(crate) fn check_state(&mut self) -> io::Result<()> {
        self.state.check()?;
        self.segments.check_manifest()
    }

    /// Returns whether the file is as this writer left it. An append then needs no repair first,
    /// and so waits for no disk.
    pub(crate) fn is_undisturbed(&self) -> bool {
        !self.is_dirty
            && self.state.is_flushed()
            && fs::metadata(&self.path)
                .is_ok_and(|meta| (meta.dev(), meta.ino(), meta.size()) == (self.dev, self.ino, self.len))
    }

    /// Ensures that the next bytes are appended to the file at the path, and that readers see that
    /// file.
    pub(crate) fn verify(&mut self) -> io::Result<()> {
        let at_path = match fs::metadata(&self.path) {
            Ok(meta) => Some(meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let ours = |meta: &fs::Metadata| (meta.dev(), meta.ino()) == (self.dev, self.ino);
        if at_path.as_ref().is_some_and(ours) {
            self.undo()?;
            // A saved state that still says "clearing" would remove new records at the next start.
            self.state.flush()?;
            let size = self.file.metadata()?.size();
            if size == self.len {
                return Ok(());
            }
            self.warn_changed(&format!(
                "was changed by another program ({size} bytes instead of {})",
                self.len
            ));
            return self.adopt();
        }
        let what = if at_path.is_some() { "replaced" } else { "moved or deleted" };
        let file = open_or_create(&self.path)?;
        self.warn_changed(&format!("was {what} by another program: going on in a new file"));
        // Bytes of a failed write stay in the file that is gone.
        self.is_dirty = false;
        self.file = Arc::new(file);
        self.adopt()?;
        self.state.flush()
    }

    /// Verifies the segments as well as the active file.
    pub(crate) fn verify_all(&mut self) -> io::Result<()> {
        self.segments.check_files();
        self.verify()
    }

    /// Cuts off the bytes of a failed write.
    fn undo(&mut self) -> io::Result<()> {
        if self.is_dirty {
            fault::step("append.undo")?;
            // Another program may have truncated the file. `set_len` would then fill it with zeros.
            if self.file.metadata()?.size() > self.len {
                self.file.set_len(self.len)?;
            }
            self.is_dirty = false;
        }
        Ok(())
    }

    /// Adopts the open file as it is. Cuts off a torn last line, decides whether the file continues
    /// the known state, publishes the file, and counts the lines that are not counted yet.
    pub(crate) fn adopt(&mut self) -> io::Result<()> {
        let torn =
            cut_torn_tail(&self.file, &self.path).map_err(|error| at_path(&error, &torn_path(&self.path)))?;
        if torn > 0 {
            crate::event!(warn, TORN_TAIL; "kept a torn line of {torn} bytes aside: {}", torn_path(&self.path).display());
        }
        let meta = self.file.metadata()?;
        let len = meta.size();
        let known = self.state.get().clone();
        let is_opening = self.ino == 0;
        let known_len = if is_opening { known.len } else { self.len };
        // Any line continues an empty file, because the first line may be there before its
        // fingerprint was saved, and followers at the end of the log wait for that line.
        let is_blank = known_len == 0 && known.head.is_empty();
        let continues = (known.dev, known.ino) == (meta.dev(), meta.ino())
            && len >= known_len
            && (is_blank || known.head.continues_in(&self.file, len));
        // Segments without a manifest precede these lines, so all positions are assigned again.
        let needs_recount = self.segments.lacks_positions();
        (self.dev, self.ino, self.len, self.is_dirty) = (meta.dev(), meta.ino(), len, false);
        self.checkpoint = len;
        let counted_to;
        {
            let mut published = self.view.lock();
            let end = published.end().position.max(known.base + known.len);
            published.file = Arc::clone(&self.file);
            published.len = len;
            published.modified = meta.modified().unwrap_or_else(|_| SystemTime::now());
            if continues && !is_opening && !needs_recount {
                // The published bytes are unchanged, so readers and cursors stay valid.
                counted_to = known_len;
            } else {
                published.generation += 1;
                published.incarnation += 1;
                published.counting = 0;
                (counted_to, published.count, published.foreign) = match (known.count, known.foreign) {
                    (Some(count), Some(foreign)) if continues => (known.len, count, foreign),
                    _ => (0, 0, 0),
                };
                // A new log has no cursors yet, so its epoch need not change.
                if (!continues || needs_recount) && known.ino != 0 {
                    published.base = end;
                    published.epoch += 1;
                }
            }
            if needs_recount {
                published.base = self.segments.assign_positions(published.epoch, published.base);
            }
            published.segments = Arc::clone(self.segments.list());
        }
        self.view.notify();
        let (seen, head) = (self.view.get(), Fingerprint::of(&self.file, len)?);
        let saved = self.state.update(true, |state| {
            (state.epoch, state.base, state.dev, state.ino) = (seen.epoch, seen.base, meta.dev(), meta.ino());
            state.head = head;
            if !continues || is_opening {
                (state.len, state.count) = (counted_to, Some(seen.count));
                state.foreign = Some(seen.foreign);
            }
        });
        if let Err(error) = saved {
            log::warn!("can't save the state of {}: {error}", self.path.display());
        }
        self.maintenance.checked_seq = 0;
        self.save_segments();
        count_lines(&self.view, counted_to, len);
        self.first = oldest_in_file(&self.file, self.len);
        self.newest = self.newest_time();
        self.is_new_file = true;
        self.view.lock().oldest = self.first;
        self.plan();
        Ok(())
    }

    /// Saves the list of segments. Until that succeeds, the state holds the newest segment.
    pub(crate) fn save_segments(&mut self) {
        if let Err(error) = self.segments.save() {
            log::warn!("can't save the segments of {}: {error}", self.path.display());
        } else if self.state.get().rotating.is_some()
            && let Err(error) = self.state.update(false, |state| state.rotating = None)
        {
            log::warn!("can't save the state of {}: {error}", self.path.display());
        }
    }

    /// Decides when maintenance is due again.
    pub(crate) fn plan(&mut self) {
        self.maintenance.plan(self.len, &self.segments);
    }

    /// Returns the free bytes of the disk of the log.
    pub(crate) fn free_space(&self) -> io::Result<u64> {
        let disk = fstatvfs(&*self.file)?;
        Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
    }

    /// Returns the time of the last line that this service wrote.
    pub(crate) fn newest_time(&self) -> Option<i64> {
        newest_in_file(&self.file, self.len).ok().flatten()
    }

    /// Returns the time of the newest record in the active file and in all segments.
    pub(crate) fn newest_of_all(&self) -> Option<i64> {
        self.newest.or_else(|| self.segments.list().items().last().map(|last| last.newest))
    }

    fn save_head(&mut self, durable: bool) {
        let saved = Fingerprint::of(&self.file, self.len)
            .and_then(|head| self.state.update(durable, |state| state.head = head));
        if let Err(error) = saved {
            log::warn!("can't save how {} begins: {error}", self.path.display());
        }
    }

    /// Saves the line count. A missing count only costs time after a crash, so an error is logged.
    fn save_count(&mut self, durable: bool) {
        let seen = self.view.get();
        self.checkpoint = self.len;
        if seen.counting > 0 {
            return;
        }
        let saved = self.state.update(durable, |state| {
            (state.len, state.count) = (seen.len, Some(seen.count));
            state.foreign = Some(seen.foreign);
        });
        if let Err(error) = saved {
            log::warn!("can't save the number of lines of {}: {error}", self.path.display());
        }
    }

    /// Simulates a failed write that could not be undone.
    #[cfg(test)]
    pub(crate) fn leave_dirty(&mut self) {
        self.is_dirty = true;
    }

    #[cfg(test)]
    pub(crate) fn state(&mut self) -> &mut StateFile {
        &mut self.state
    }

    /// Reports a change by another program, at most once in [`WARN_INTERVAL`].
    fn warn_changed(&mut self, what: &str) {
        if self.warned_at.is_none_or(|at| at.elapsed() > WARN_INTERVAL) {
            self.warned_at = Some(Instant::now());
            crate::event!(warn, FILE_CHANGED; "{} {what}", self.path.display());
        }
    }
}
