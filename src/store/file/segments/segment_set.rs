//! Manages the segments of a log for their only writer. Finds them at a start, adds, replaces and
//! removes them, notices when another program changed them, and publishes each change. All calls
//! block.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::manifest::{self, Entries, Manifest};
use super::segment::{Coding, Segment, SegmentList, SegmentName, SiblingFile, mtime_of};
use crate::fault;
use crate::store::file::published::View;
use crate::store::file::state::durable_fs::sync_folder;
use crate::store::file::state::state_file::{Rotating, State};

/// Minimum age of a folder's modification time before the set relies on it. A folder that changed
/// more recently may change again without a new time.
const MTIME_SETTLE_TIME: Duration = Duration::from_secs(2);

/// All segments of a log.
#[derive(Debug)]
pub(crate) struct SegmentSet {
    /// The path of the active file, without links.
    home: PathBuf,
    manifest: Manifest,
    list: Arc<SegmentList>,
    /// Number of the next segment.
    next_seq: u64,
    /// The manifest on disk is outdated.
    is_unsaved: bool,
    /// The segments were found without a manifest and have no positions yet.
    lacks_positions: bool,
    /// Modification time of the folder when its files were checked last.
    checked_mtime: Option<i64>,
    view: Arc<View>,
}

impl SegmentSet {
    /// Finds the segments of the log whose active file is `home`, and removes the files of an
    /// interrupted rotation or compression.
    pub(crate) fn open(home: PathBuf, state_path: &Path, state: &State, view: &Arc<View>) -> Self {
        let manifest = Manifest::beside(state_path, &state.identity);
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
            is_unsaved: false,
            lacks_positions: false,
            checked_mtime: None,
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
        self.is_unsaved = new.is_some();
        listed.extend(new.map(|rotating| rotating.segment.clone()));
        let places = listed.iter().map(|segment| (segment.seq(), segment.epoch, segment.base));
        let in_order = places.clone().zip(places.skip(1)).all(|(a, b)| a.0 < b.0 && (a.1, a.2) < (b.1, b.2));
        let before =
            listed.last().is_none_or(|last| (last.epoch, last.base + last.len) <= (state.epoch, state.base));
        if !in_order || !before {
            return None;
        }
        let found: Vec<_> = listed.iter().map(|entry| manifest::find(entry, &self.home)).collect();
        self.is_unsaved |= found.iter().zip(&listed).any(|(found, listed)| found.as_ref() != Some(listed));
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
        self.is_unsaved = self.lacks_positions;
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
        self.lacks_positions = false;
        base
    }

    /// Returns the name of the next segment.
    pub(crate) fn next_name(&mut self) -> SegmentName {
        let name = SegmentName::new(Timestamp::now(), self.next_seq);
        self.next_seq += 1;
        name
    }

    /// Adds a segment. The caller publishes the list together with the new active file.
    pub(crate) fn push(&mut self, segment: Segment) -> &Arc<SegmentList> {
        let new = std::iter::once(Arc::new(segment));
        let items = self.list.items().iter().cloned().chain(new).collect();
        self.list = Arc::new(SegmentList::new(items));
        self.is_unsaved = true;
        &self.list
    }

    /// Replaces a segment by the same segment in another coding.
    pub(crate) fn replace(&mut self, new: Segment) {
        let mut items = self.list.items().to_vec();
        if let Some(place) = items.iter_mut().find(|segment| segment.seq() == new.seq()) {
            *place = Arc::new(new);
            self.is_unsaved = true;
            self.publish(items);
        }
    }

    /// Removes the `count` oldest segments: first from what readers see, then their files.
    pub(crate) fn retire(&mut self, count: usize) -> io::Result<()> {
        let items = self.list.items().to_vec();
        let (old, kept) = items.split_at(count.min(items.len()));
        if old.is_empty() {
            return Ok(());
        }
        self.is_unsaved = true;
        self.publish(kept.to_vec());
        for (removed, segment) in old.iter().enumerate() {
            fault::point("retire.hidden");
            if let Err(error) = self.unlink(segment) {
                self.publish(items[removed..].to_vec());
                return Err(error);
            }
            fault::point("retire.removed");
        }
        // The folder is synced first, so that a saved manifest without the segments does not
        // precede the removal of their files.
        sync_folder(&self.home)?;
        self.save()
    }

    /// Removes all segments. On an error the newer ones may be left.
    pub(crate) fn remove_all(&mut self) -> io::Result<()> {
        let items = self.list.items().to_vec();
        if items.is_empty() {
            return Ok(());
        }
        self.is_unsaved = true;
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
        self.view.segment_cache().forget(&segment.path);
        match fs::remove_file(&segment.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Saves the manifest if it is outdated.
    pub(crate) fn save(&mut self) -> io::Result<()> {
        if self.is_unsaved {
            self.manifest.write(&self.home, self.next_seq, self.list.items())?;
            self.is_unsaved = false;
        }
        Ok(())
    }

    /// Returns whether the manifest is up to date.
    pub(crate) const fn is_saved(&self) -> bool {
        !self.is_unsaved
    }

    /// Drops the segments that another program removed or altered. Checks the files only when the
    /// folder changed, or when a reader found a file altered.
    pub(crate) fn check_files(&mut self) {
        let suspicion = self.view.segment_cache().take_suspicion();
        let folder = self.home.parent().unwrap_or_else(|| Path::new("/"));
        let changed = fs::metadata(folder).ok().map(|meta| mtime_of(&meta));
        if changed.is_some() && changed == self.checked_mtime && !suspicion {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_settled =
            |at: &i64| (now.as_nanos() as i64).saturating_sub(*at) > MTIME_SETTLE_TIME.as_nanos() as i64;
        self.checked_mtime = changed.filter(is_settled);
        let items = self.list.items();
        let (kept, gone): (Vec<_>, Vec<_>) = items.iter().cloned().partition(|segment| segment.is_there());
        if gone.is_empty() {
            return;
        }
        warn_missing(gone.len());
        for segment in gone {
            self.view.segment_cache().forget(&segment.path);
        }
        self.is_unsaved = true;
        self.publish(kept);
        if let Err(error) = self.save() {
            log::warn!("can't save which segments are left: {error}");
        }
    }

    fn publish(&mut self, items: Vec<Arc<Segment>>) {
        self.list = Arc::new(SegmentList::new(items));
        self.view.lock().segments = Arc::clone(&self.list);
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
