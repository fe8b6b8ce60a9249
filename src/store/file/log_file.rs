//! The active file as its only writer sees it: opens and repairs it, appends batches whole or not at all, notices
//! when somebody moved, deleted, truncated or extended it, and clears it together with its [segments](SegmentSet).
//!
//! All calls block; the committer decides on which thread they run.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::statvfs::fstatvfs;

use super::published::{Published, View};
use crate::fault;
use crate::record::parse_time;
use crate::store::commit::CommitPosition;
use crate::store::file::maintenance::line_count::count_lines;
use crate::store::file::maintenance::rules::MaintenanceState;
use crate::store::file::segments::manifest::{TAIL, newest_in};
use crate::store::file::segments::segment_set::SegmentSet;
use crate::store::file::state::durable_fs::{at_path, open_or_create};
use crate::store::file::state::fingerprint::Fingerprint;
use crate::store::file::state::interrupted::{finish_clear, finish_rotation, put_in_place};
use crate::store::file::state::recovery::{cut_torn_tail, torn_path};
use crate::store::file::state::state_file::StateFile;
use crate::store::statistics::LatencyRecorder;

/// How many bytes may be written before the count of lines is noted down, which bounds the counting after a crash.
const CHECKPOINT: u64 = 64 * 1024 * 1024;

/// One warning about another program's doings in this time.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The active file.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    state_path: PathBuf,
    pub(crate) file: Arc<File>,
    /// 0 before the file was adopted
    pub(crate) ino: u64,
    pub(crate) dev: u64,
    /// bytes that are whole lines of ours or were adopted; the file's length unless somebody else touched it
    pub(crate) len: u64,
    /// a failed write left bytes behind `len` that could not be cut off yet
    dirty: bool,
    pub(crate) state: StateFile,
    pub(crate) segments: SegmentSet,
    pub(crate) view: Arc<View>,
    syncs: Arc<LatencyRecorder>,
    /// `len` when the count was noted down last
    pub(crate) checkpoint: u64,
    /// time of the first line, if it is one of ours, microseconds since the epoch
    pub(crate) first: Option<i64>,
    /// time of the last line of a file that was adopted, until the clock knows it
    newest: Option<i64>,
    pub(crate) maintenance: MaintenanceState,
    warned: Option<Instant>,
}

impl LogFile {
    /// Opens or creates the file at `path` and makes it whole. `state_path` lies in the state directory.
    pub(crate) fn open(path: &Path, state_path: &Path) -> io::Result<Self> {
        let mut state = StateFile::open(state_path).map_err(|error| at_path(&error, state_path))?;
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
            counting: 0,
            stored: 0,
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
            dirty: false,
            state,
            segments,
            view,
            syncs: Arc::default(),
            checkpoint: 0,
            first: None,
            newest: None,
            maintenance: MaintenanceState::default(),
            warned: None,
        };
        this.adopt()?;
        Ok(this)
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view)
    }

    /// How long the syncs of batches take.
    pub(crate) fn syncs(&self) -> Arc<LatencyRecorder> {
        Arc::clone(&self.syncs)
    }

    pub(crate) fn identity(&self) -> Option<[u8; 16]> {
        self.state.get().identity_bytes()
    }

    /// As [`Self::commit`] for a file that [is undisturbed](Self::is_undisturbed).
    pub(crate) fn append(&mut self, bytes: &[u8], records: u64, sync: bool) -> io::Result<CommitPosition> {
        let written = (&*self.file).write_all(bytes);
        let synced = |()| self.syncs.time(|| self.file.sync_data());
        let outcome = if sync { written.and_then(synced) } else { written };
        if let Err(error) = outcome {
            self.dirty = true;
            if let Err(undo) = self.undo() {
                log::error!("can't cut a failed write off {}: {undo}", self.path.display());
            }
            return Err(error);
        }
        let placed;
        {
            let mut published = self.view.lock();
            placed = CommitPosition { epoch: published.epoch, position: published.base + self.len };
            self.len += bytes.len() as u64;
            published.len = self.len;
            published.count += records;
            published.stored += records;
            published.modified = SystemTime::now();
        }
        self.view.tell();
        if self.state.get().head.is_empty() {
            fault::point("append.first");
            self.first = parse_time(bytes);
            self.note_head(sync);
        }
        if self.len - self.checkpoint >= CHECKPOINT {
            self.note_count(false);
        }
        Ok(placed)
    }

    /// Goes on in another file; on an error the old one stays.
    pub(crate) fn move_to(&mut self, path: &Path) -> io::Result<()> {
        if path == self.path {
            return Ok(());
        }
        let file = open_or_create(path).map_err(|error| at_path(&error, path))?;
        if let Err(error) = self.sync() {
            // A file that fails must not hold the log back from one that works.
            log::warn!("can't sync {} before leaving it: {error}", self.path.display());
        }
        let home = fs::canonicalize(path)?;
        // What was rotated stays where it is, as the file that is left; what lies beside the new one belongs to it.
        self.state.revise(|state| state.rotating = None);
        let segments = SegmentSet::open(home, &self.state_path, self.state.get(), &self.view);
        let old_file = std::mem::replace(&mut self.file, Arc::new(file));
        let old_path = std::mem::replace(&mut self.path, path.to_owned());
        let old_segments = std::mem::replace(&mut self.segments, segments);
        let outcome = self.adopt();
        match outcome {
            Ok(()) => {
                self.dirty = false;
                self.view.segment_cache().forget_all();
            }
            Err(_) => (self.file, self.path, self.segments) = (old_file, old_path, old_segments),
        }
        outcome
    }

    /// Makes everything durable and notes the count down.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.undo()?;
        self.file.sync_all()?;
        self.note_count(true);
        self.state.settle()
    }

    /// Syncs for the last time and lets the file go, for another process to write it.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        let synced = self.sync();
        // Readers may hold the file open for a while; its lock ends here.
        self.file.unlock()?;
        synced
    }

    /// Whether the file is as this writer left it, so that an append needs nothing that could wait for a disk.
    pub(crate) fn is_undisturbed(&self) -> bool {
        !self.dirty
            && self.state.is_settled()
            && fs::metadata(&self.path)
                .is_ok_and(|meta| (meta.dev(), meta.ino(), meta.size()) == (self.dev, self.ino, self.len))
    }

    /// Time of the last line of a file that was adopted since the last call, microseconds since the epoch.
    pub(crate) fn take_newest(&mut self) -> Option<i64> {
        self.newest.take()
    }

    /// Makes sure that the next bytes go to the end of the file that is at the path, and that readers see that file.
    pub(crate) fn verify(&mut self) -> io::Result<()> {
        let at_path = match fs::metadata(&self.path) {
            Ok(meta) => Some(meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let ours = |meta: &fs::Metadata| (meta.dev(), meta.ino()) == (self.dev, self.ino);
        if at_path.as_ref().is_some_and(ours) {
            self.undo()?;
            // A state on disk that still says "clearing" would take new records away at the next start.
            self.state.settle()?;
            let size = self.file.metadata()?.size();
            if size == self.len {
                return Ok(());
            }
            self.warn(&format!("was changed by another program ({size} bytes instead of {})", self.len));
            return self.adopt();
        }
        let what = if at_path.is_some() { "replaced" } else { "moved or deleted" };
        let file = open_or_create(&self.path)?;
        self.warn(&format!("was {what} by another program: going on in a new file"));
        // What could not be undone stays with the file that is gone.
        self.dirty = false;
        self.file = Arc::new(file);
        self.adopt()?;
        self.state.settle()
    }

    /// As [`Self::verify`], for the whole log.
    pub(crate) fn verify_all(&mut self) -> io::Result<()> {
        self.segments.look();
        self.verify()
    }

    fn undo(&mut self) -> io::Result<()> {
        if self.dirty {
            // Shorter, it was truncated by somebody else meanwhile: `set_len` would fill it up with zeros.
            if self.file.metadata()?.size() > self.len {
                self.file.set_len(self.len)?;
            }
            self.dirty = false;
        }
        Ok(())
    }

    /// Takes the open file as it is: cuts a torn tail, decides whether it continues what is known, publishes it, and
    /// counts what was not counted.
    pub(crate) fn adopt(&mut self) -> io::Result<()> {
        let torn =
            cut_torn_tail(&self.file, &self.path).map_err(|error| at_path(&error, &torn_path(&self.path)))?;
        if torn > 0 {
            crate::event!(warn, TORN_TAIL; "kept a torn line of {torn} bytes aside: {}", torn_path(&self.path).display());
        }
        let meta = self.file.metadata()?;
        let len = meta.size();
        let known = self.state.get().clone();
        let at_start = self.ino == 0;
        let known_len = if at_start { known.len } else { self.len };
        // A file of which nothing is known is continued by any line: the first one may be there without its note, and
        // those who read the log to its end wait for it.
        let is_blank = known_len == 0 && known.head.is_empty();
        let continues = (known.dev, known.ino) == (meta.dev(), meta.ino())
            && len >= known_len
            && (is_blank || known.head.continues_in(&self.file, len));
        // Lines that nothing is known of come before these: the whole log is counted anew.
        let anew = self.segments.is_unplaced();
        (self.dev, self.ino, self.len, self.dirty) = (meta.dev(), meta.ino(), len, false);
        self.checkpoint = len;
        let counted_to;
        {
            let mut published = self.view.lock();
            let end = published.end().position.max(known.base + known.len);
            published.file = Arc::clone(&self.file);
            published.len = len;
            published.modified = meta.modified().unwrap_or_else(|_| SystemTime::now());
            if continues && !at_start && !anew {
                // Bytes that were published are still what they were: readers and cursors go on.
                counted_to = known_len;
            } else {
                published.generation += 1;
                published.incarnation += 1;
                published.counting = 0;
                (counted_to, published.count) = match known.count {
                    Some(count) if continues => (known.len, count),
                    _ => (0, 0),
                };
                // A log that was never seen before has no cursors that could mean something else.
                if (!continues || anew) && known.ino != 0 {
                    published.base = end;
                    published.epoch += 1;
                }
            }
            if anew {
                published.base = self.segments.place(published.epoch, published.base);
            }
            published.segments = Arc::clone(self.segments.list());
        }
        self.view.tell();
        let (seen, head) = (self.view.get(), Fingerprint::of(&self.file, len)?);
        let noted = self.state.update(true, |state| {
            (state.epoch, state.base, state.dev, state.ino) = (seen.epoch, seen.base, meta.dev(), meta.ino());
            state.head = head;
            if !continues || at_start {
                (state.len, state.count) = (counted_to, Some(seen.count));
            }
        });
        if let Err(error) = noted {
            log::warn!("can't note the state of {}: {error}", self.path.display());
        }
        self.save_segments();
        count_lines(&self.view, counted_to, len);
        self.first = self.first_time();
        self.newest = self.newest_time().max(self.segments.list().items().last().map(|last| last.newest));
        self.plan();
        Ok(())
    }

    /// Brings the catalogue up to date. What it does not know stands in the state until then.
    pub(crate) fn save_segments(&mut self) {
        if let Err(error) = self.segments.settle() {
            log::warn!("can't note the segments of {}: {error}", self.path.display());
        } else if self.state.get().rotating.is_some()
            && let Err(error) = self.state.update(false, |state| state.rotating = None)
        {
            log::warn!("can't note the state of {}: {error}", self.path.display());
        }
    }

    /// Decides when maintenance is due again.
    pub(crate) fn plan(&mut self) {
        self.maintenance.plan(self.len, &self.segments);
    }

    /// Bytes that can be written to the disk of the log.
    pub(crate) fn free_space(&self) -> io::Result<u64> {
        let disk = fstatvfs(&*self.file)?;
        Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
    }

    /// Time of the first line, if it is one of ours.
    fn first_time(&self) -> Option<i64> {
        let mut head = [0; 64];
        let got = self.file.read_at(&mut head, 0).ok()?;
        parse_time(&head[..got])
    }

    /// Time of the last line that is one of ours.
    pub(crate) fn newest_time(&self) -> Option<i64> {
        let want = self.len.min(TAIL);
        let mut tail = vec![0; want as usize];
        self.file.read_exact_at(&mut tail, self.len - want).ok()?;
        newest_in(&tail)
    }

    fn note_head(&mut self, durable: bool) {
        let noted = Fingerprint::of(&self.file, self.len)
            .and_then(|head| self.state.update(durable, |state| state.head = head));
        if let Err(error) = noted {
            log::warn!("can't note how {} begins: {error}", self.path.display());
        }
    }

    /// A count that is not noted down costs time after a crash, nothing else: so an error is only logged.
    fn note_count(&mut self, durable: bool) {
        let seen = self.view.get();
        self.checkpoint = self.len;
        if seen.counting > 0 {
            return;
        }
        let noted =
            self.state.update(durable, |state| (state.len, state.count) = (seen.len, Some(seen.count)));
        if let Err(error) = noted {
            log::warn!("can't note the number of lines of {}: {error}", self.path.display());
        }
    }

    /// As after a write that failed and could not be undone.
    #[cfg(test)]
    pub(crate) fn leave_dirty(&mut self) {
        self.dirty = true;
    }

    #[cfg(test)]
    pub(crate) fn state(&mut self) -> &mut StateFile {
        &mut self.state
    }

    fn warn(&mut self, what: &str) {
        if self.warned.is_none_or(|at| at.elapsed() > WARN_EVERY) {
            self.warned = Some(Instant::now());
            crate::event!(warn, FILE_CHANGED; "{} {what}", self.path.display());
        }
    }
}
