//! Manages the segments of a log for their only writer. Finds them at a start, adds, replaces and
//! removes them, notices when another program changed them, and publishes each change. All calls
//! block.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::manifest::{self, Change, Compaction, Entries, Manifest};
use super::segment::{Coding, Segment, SegmentList, SegmentName, SiblingFile, mtime_of};
use crate::fault;
use crate::store::file::published::View;
use crate::store::file::state::durable_fs::sync_folder;
use crate::store::file::state::state_file::{Rotating, State};

/// Minimum age of a folder's modification time before the set relies on it. A folder that changed
/// more recently may change again without a new time.
const MTIME_SETTLE_TIME: Duration = Duration::from_secs(2);

/// Number of segments from which their files are not checked at once each time the folder changes.
const MANY_SEGMENTS: usize = 1000;

/// Minimum time between two checks of many segments, for each segment. A check takes less than a tenth
/// of it.
const CHECK_INTERVAL: Duration = Duration::from_micros(20);

/// All segments of a log.
#[derive(Debug)]
pub(crate) struct SegmentSet {
    /// The path of the active file, without links.
    home: PathBuf,
    manifest: Manifest,
    list: Arc<SegmentList>,
    /// Number of the next segment.
    next_seq: u64,
    /// The changes that the manifest on disk does not hold yet.
    unsaved: Vec<Change>,
    /// The manifest has to be written as a whole.
    must_rewrite: bool,
    /// The oldest segments, which readers do not see any more, while their files are removed.
    retiring: Vec<Arc<Segment>>,
    /// The segments were found without a manifest and have no positions yet.
    lacks_positions: bool,
    /// Modification time of the folder when its files were checked last.
    checked_mtime: Option<i64>,
    /// The earliest time of the next check of many segments.
    check_after: Option<Instant>,
    view: Arc<View>,
}

impl SegmentSet {
    /// Finds the segments of the log whose active file is `home`, and removes the files of an
    /// interrupted rotation or compression.
    pub(crate) fn open(home: PathBuf, state_path: &Path, state: &State, view: &Arc<View>) -> Self {
        let mut manifest = Manifest::beside(state_path, &state.identity);
        let entries = manifest.read(&home);
        let rotating = state.rotating.as_ref();
        let files = sibling_files(&home);
        let mut this = Self {
            next_seq: [
                entries.as_ref().map_or(1, |entries| entries.next),
                rotating.map_or(1, |rotating| rotating.segment.seq() + 1),
                files.last_key_value().map_or(1, |(seq, _)| seq.saturating_add(1)),
            ]
            .into_iter()
            .fold(1, u64::max),
            home,
            manifest,
            list: Arc::default(),
            unsaved: Vec::new(),
            must_rewrite: false,
            retiring: Vec::new(),
            lacks_positions: false,
            checked_mtime: None,
            check_after: None,
            view: Arc::clone(view),
        };
        let items = this.known(entries, rotating, &files, state).unwrap_or_else(|| this.adopt(&files));
        this.remove_duplicates(&items, &files);
        this.list = Arc::new(SegmentList::new(items.into_iter().map(Arc::new).collect()));
        this
    }

    /// Returns the segments that manifest and state list and that exist. `None`: neither lists the
    /// files that exist, or manifest and state contradict each other.
    fn known(
        &mut self,
        entries: Option<Entries>,
        rotating: Option<&Rotating>,
        files: &Files,
        state: &State,
    ) -> Option<Vec<Segment>> {
        let mut listed = match entries {
            Some(entries) => entries.segments,
            None if files.keys().all(|seq| rotating.is_some_and(|it| it.segment.seq() == *seq)) => Vec::new(),
            None => return None,
        };
        let new = rotating.filter(|it| listed.last().is_none_or(|last| last.seq() < it.segment.seq()));
        self.must_rewrite = new.is_some();
        listed.extend(new.map(|rotating| rotating.segment.clone()));
        let places = listed.iter().map(|segment| (segment.seq(), segment.epoch, segment.base));
        let in_order = places.clone().zip(places.skip(1)).all(|(a, b)| a.0 < b.0 && (a.1, a.2) < (b.1, b.2));
        let before =
            listed.last().is_none_or(|last| (last.epoch, last.base + last.len) <= (state.epoch, state.base));
        if !in_order || !before {
            return None;
        }
        let found: Vec<_> = listed.iter().map(|entry| manifest::find(entry, &self.home)).collect();
        self.must_rewrite |= found.iter().zip(&listed).any(|(found, listed)| found.as_ref() != Some(listed));
        // The oldest segments may have been retired before the manifest was saved. Another program
        // removed the others.
        let missing =
            found.iter().skip_while(|found| found.is_none()).filter(|found| found.is_none()).count();
        if missing > 0 {
            warn_missing(missing);
        }
        Some(found.into_iter().flatten().collect())
    }

    /// Returns the segments that no manifest lists, found by their names. They hold older lines of
    /// this log.
    fn adopt(&mut self, files: &Files) -> Vec<Segment> {
        let mut items = Vec::new();
        for (name, coding) in files.values().flatten() {
            if items.last().is_some_and(|last: &Segment| last.seq() == name.seq) {
                continue;
            }
            match manifest::inspect(name.clone(), *coding, &self.home) {
                Ok(segment) => items.push(segment),
                Err(error) => {
                    let path = name.path(&self.home, *coding);
                    crate::event!(warn, FILE_CHANGED; "{} is not a segment of the log: {error}", path.display());
                }
            }
        }
        self.lacks_positions = !items.is_empty();
        self.must_rewrite = self.lacks_positions;
        items
    }

    /// Removes the second file of a segment, which an interrupted compression leaves.
    fn remove_duplicates(&self, items: &[Segment], files: &Files) {
        for segment in items {
            let same = files.get(&segment.seq()).into_iter().flatten();
            for (name, coding) in
                same.filter(|(name, coding)| *name == segment.name && *coding != segment.coding)
            {
                remove(&name.path(&self.home, *coding));
            }
        }
    }

    /// Returns the path of the active file, without links.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Returns the list of segments.
    pub(crate) const fn list(&self) -> &Arc<SegmentList> {
        &self.list
    }

    /// Returns whether the caller must [assign positions](Self::assign_positions), because the
    /// segments were found without a manifest.
    pub(crate) const fn lacks_positions(&self) -> bool {
        self.lacks_positions
    }

    /// Assigns positions from `base` on. Returns the end of the last segment.
    pub(crate) fn assign_positions(&mut self, epoch: u32, mut base: u64) -> u64 {
        let assign = |segment: &Arc<Segment>| {
            let segment = Segment { epoch, base, ..Segment::clone(segment) };
            base += segment.len;
            Arc::new(segment)
        };
        self.list = Arc::new(SegmentList::new(self.list.items().iter().map(assign).collect()));
        (self.lacks_positions, self.must_rewrite) = (false, true);
        base
    }

    /// Returns the name of the next segment.
    pub(crate) fn next_name(&mut self) -> SegmentName {
        let name = SegmentName::new(Timestamp::now(), self.next_seq);
        self.next_seq += 1;
        name
    }

    /// Adds a segment to the list in `published`, which the caller has locked, together with the new
    /// active file.
    pub(crate) fn push(&mut self, segment: Segment, published: &mut Arc<SegmentList>) {
        self.unsaved.push(Change::Add(segment.clone()));
        self.change_list(published, |list| list.push(Arc::new(segment)));
    }

    /// Replaces a segment by the same segment in another coding.
    pub(crate) fn replace(&mut self, new: Segment) {
        let change = Change::Replace(new.clone());
        if self.change(|list| list.replace(Arc::new(new))) {
            self.unsaved.push(change);
        }
    }

    /// Hides at most `max` of the segments up to the number `last` from readers. Their files can be
    /// removed then. `None`: there are none, or those before are not removed yet.
    pub(crate) fn begin_retirement(&mut self, last: u64, max: usize) -> Option<Retirement> {
        let count = self.list.items().partition_point(|segment| segment.seq() <= last).min(max);
        if count == 0 || !self.retiring.is_empty() {
            return None;
        }
        self.retiring = self.change(|list| list.remove_oldest(count));
        let (segments, home) = (self.retiring.clone(), self.home.clone());
        Some(Retirement { segments, home, view: Arc::clone(&self.view) })
    }

    /// Takes note that the files of the first `removed` hidden segments are removed. The other ones
    /// are part of the log again. Does nothing when the log was cleared meanwhile.
    pub(crate) fn finish_retirement(&mut self, removed: usize) {
        let mut left = std::mem::take(&mut self.retiring);
        let gone: Vec<_> = left.drain(..removed.min(left.len())).collect();
        self.unsaved.extend(gone.last().map(|last| Change::Drop(last.seq())));
        if !left.is_empty() {
            left.extend_from_slice(self.list.items());
            self.publish(left);
        }
    }

    /// Returns the bytes of hidden files that may not be removed yet.
    pub(crate) fn retiring_bytes(&self) -> u64 {
        self.retiring.iter().map(|segment| segment.stored).sum()
    }

    /// Removes the files of the `count` oldest segments, and of hidden ones, while the caller waits.
    pub(crate) fn retire_now(&mut self, count: usize) -> io::Result<()> {
        let hidden = std::mem::take(&mut self.retiring);
        for segment in &hidden {
            self.unlink(segment)?;
        }
        self.unsaved.extend(hidden.last().map(|last| Change::Drop(last.seq())));
        let last = count.checked_sub(1).and_then(|last| self.list.items().get(last)).map(|last| last.seq());
        let Some(work) = last.and_then(|last| self.begin_retirement(last, count)) else { return Ok(()) };
        let (removed, outcome) = work.run();
        self.finish_retirement(removed);
        outcome
    }

    /// Removes all segments. On an error the newer ones may be left.
    pub(crate) fn remove_all(&mut self) -> io::Result<()> {
        let mut items = std::mem::take(&mut self.retiring);
        items.extend_from_slice(self.list.items());
        if items.is_empty() {
            return Ok(());
        }
        self.must_rewrite = true;
        for (removed, segment) in items.iter().enumerate() {
            if let Err(error) = self.unlink(segment) {
                self.publish(items[removed..].to_vec());
                return Err(error);
            }
            fault::point("clear.removed");
        }
        self.publish(Vec::new());
        sync_folder(&self.home)
    }

    fn unlink(&self, segment: &Segment) -> io::Result<()> {
        unlink(&self.view, segment)
    }

    /// Saves the manifest if it is outdated.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        if !self.must_rewrite && !self.unsaved.is_empty() {
            // After an error, the end of the file is unknown.
            self.must_rewrite = !self.manifest.append(&self.unsaved).unwrap_or(false);
        }
        if self.must_rewrite {
            self.manifest.write(&self.home, self.next_seq, self.list.items())?;
            self.must_rewrite = false;
        }
        self.unsaved.clear();
        Ok(())
    }

    /// Saves the manifest again if another program removed it.
    pub(crate) fn check_manifest(&mut self) -> io::Result<()> {
        self.must_rewrite |= !self.list.items().is_empty() && self.manifest.is_lost();
        self.save()
    }

    /// Returns whether the manifest is up to date.
    pub(crate) const fn is_saved(&self) -> bool {
        self.unsaved.is_empty() && !self.must_rewrite
    }

    /// Returns the work to write the manifest anew, if it is up to date and has many changes.
    pub(crate) fn compaction(&self) -> Option<Compaction> {
        if !self.is_saved() || !self.retiring.is_empty() {
            return None;
        }
        self.manifest.compaction(&self.home, self.next_seq, &self.list)
    }

    /// Puts the manifest that was written anew in place.
    pub(crate) fn finish_compaction(&mut self, done: &Compaction) -> io::Result<()> {
        self.manifest.finish_compaction(done)
    }

    /// Drops the segments that another program removed or altered. Checks the files only when the
    /// folder changed, or when a reader found a file altered. Many segments are checked less often,
    /// because each rotation changes the folder, and senders wait for a check.
    pub(crate) fn check_files(&mut self) {
        let count = self.list.items().len();
        let is_early = self.check_after.is_some_and(|after| Instant::now() < after);
        let suspicion = self.view.segment_cache().take_suspicion();
        if is_early && !suspicion {
            return;
        }
        let folder = self.home.parent().unwrap_or_else(|| Path::new("/"));
        let changed = fs::metadata(folder).ok().map(|meta| mtime_of(&meta));
        if changed.is_some() && changed == self.checked_mtime && !suspicion {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_settled =
            |at: &i64| (now.as_nanos() as i64).saturating_sub(*at) > MTIME_SETTLE_TIME.as_nanos() as i64;
        self.checked_mtime = changed.filter(is_settled);
        let interval = CHECK_INTERVAL.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        self.check_after = (count > MANY_SEGMENTS).then(|| Instant::now() + interval);
        let items = self.list.items();
        let (kept, gone): (Vec<_>, Vec<_>) = items.iter().cloned().partition(|segment| segment.is_there());
        if gone.is_empty() {
            return;
        }
        warn_missing(gone.len());
        for segment in gone {
            self.view.segment_cache().forget(&segment.path);
        }
        self.must_rewrite = true;
        self.publish(kept);
        if let Err(error) = self.save() {
            log::warn!("can't save which segments are left: {error}");
        }
    }

    fn publish(&mut self, items: Vec<Arc<Segment>>) {
        self.list = Arc::new(SegmentList::new(items));
        self.view.lock().segments = Arc::clone(&self.list);
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut SegmentList) -> T) -> T {
        let view = Arc::clone(&self.view);
        let mut published = view.lock();
        self.change_list(&mut published.segments, change)
    }

    /// Changes the list in place, unless a reader holds it.
    fn change_list<T>(
        &mut self,
        published: &mut Arc<SegmentList>,
        change: impl FnOnce(&mut SegmentList) -> T,
    ) -> T {
        *published = std::mem::take(&mut self.list);
        let outcome = change(Arc::make_mut(published));
        self.list = Arc::clone(published);
        outcome
    }
}

/// Hidden segments whose files have to be removed. No sender waits for it, and no reader sees them.
#[derive(Debug)]
pub(crate) struct Retirement {
    segments: Vec<Arc<Segment>>,
    home: PathBuf,
    view: Arc<View>,
}

impl Retirement {
    /// Removes the files. Returns how many are gone, also after an error.
    pub(crate) fn run(&self) -> (usize, io::Result<()>) {
        fault::point("retire.hidden");
        for (removed, segment) in self.segments.iter().enumerate() {
            if let Err(error) = unlink(&self.view, segment) {
                return (removed, Err(error));
            }
            fault::point("retire.removed");
        }
        // The folder is synced before the manifest drops the segments, so that no file stays without
        // an entry.
        (self.segments.len(), sync_folder(&self.home))
    }

    /// Returns the path of the newest segment.
    pub(crate) fn last_path(&self) -> &Path {
        self.segments.last().map_or(&self.home, |last| &last.path)
    }
}

fn unlink(view: &View, segment: &Segment) -> io::Result<()> {
    view.segment_cache().forget(&segment.path);
    match fs::remove_file(&segment.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn warn_missing(count: usize) {
    crate::event!(
        warn, FILE_CHANGED;
        "another program removed or altered {count} rotated segments: they are no longer part of the log"
    );
}

/// The files with names of segments, by their numbers.
type Files = BTreeMap<u64, Vec<(SegmentName, Coding)>>;

/// Lists the segments beside the active file, and removes unfinished files.
fn sibling_files(home: &Path) -> Files {
    let mut files = Files::new();
    let (Some(folder), Some(active)) = (home.parent(), home.file_name()) else { return files };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<OsString> = entries.map(|entry| entry.file_name()).collect();
    for other in names {
        match SiblingFile::of(active, &other) {
            Some(SiblingFile::Segment(name, coding)) => {
                files.entry(name.seq).or_default().push((name, coding));
            }
            Some(SiblingFile::Unfinished) => remove(&folder.join(other)),
            None => {}
        }
    }
    for same in files.values_mut() {
        same.sort_by_key(|(_, coding)| Coding::ALL.iter().position(|one| one == coding));
    }
    files
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        log::warn!("can't remove {}: {error}", path.display());
    }
}
