//! The segments of a log as their only owner sees them: finds them again at a start, takes new ones in, lets them go,
//! notices when somebody else touched them, and publishes each change. All calls block.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::manifest::{self, Entries, Manifest};
use super::segment::{Coding, Name, Segment, SegmentList, SiblingFile, mtime_of};
use crate::fault;
use crate::store::file::published::View;
use crate::store::file::state::durable_fs::sync_folder;
use crate::store::file::state::state_file::{Rotating, State};

/// A folder that changed so short a time ago may change again without another time.
const SETTLED: Duration = Duration::from_secs(2);

/// All segments.
#[derive(Debug)]
pub(crate) struct SegmentSet {
    /// the active file; links were followed
    home: PathBuf,
    manifest: Manifest,
    list: Arc<SegmentList>,
    /// number of the next segment
    next: u64,
    /// the catalogue says something else
    stale: bool,
    /// found without a catalogue: they have no positions yet
    unplaced: bool,
    /// when the folder was changed last, as it was looked at
    looked: Option<i64>,
    view: Arc<View>,
}

impl SegmentSet {
    /// Finds the segments of the log whose active file is `home`, and takes away what an interrupted rotation or
    /// compression left.
    pub(crate) fn open(home: PathBuf, state_path: &Path, state: &State, view: &Arc<View>) -> Self {
        let manifest = Manifest::beside(state_path, &state.identity);
        let entries = manifest.read(&home);
        let rotating = state.rotating.as_ref();
        let files = sibling_files(&home);
        let mut this = Self {
            next: [
                entries.as_ref().map_or(1, |entries| entries.next),
                rotating.map_or(1, |rotating| rotating.segment.seq() + 1),
                files.last_key_value().map_or(1, |(seq, _)| seq.saturating_add(1)),
            ]
            .into_iter()
            .fold(1, u64::max),
            home,
            manifest,
            list: Arc::default(),
            stale: false,
            unplaced: false,
            looked: None,
            view: Arc::clone(view),
        };
        let items = this.known(entries, rotating, &files, state).unwrap_or_else(|| this.adopt(&files));
        this.remove_doubles(&items, &files);
        this.list = Arc::new(SegmentList::new(items.into_iter().map(Arc::new).collect()));
        this
    }

    /// The segments that were noted and are there. `None` when nothing was noted of those that are there, or not by
    /// the same state.
    fn known(
        &mut self,
        entries: Option<Entries>,
        rotating: Option<&Rotating>,
        files: &Files,
        state: &State,
    ) -> Option<Vec<Segment>> {
        let mut noted = match entries {
            Some(entries) => entries.segments,
            None if files.keys().all(|seq| rotating.is_some_and(|it| it.segment.seq() == *seq)) => Vec::new(),
            None => return None,
        };
        let new = rotating.filter(|it| noted.last().is_none_or(|last| last.seq() < it.segment.seq()));
        self.stale = new.is_some();
        noted.extend(new.map(|rotating| rotating.segment.clone()));
        let places = noted.iter().map(|segment| (segment.seq(), segment.epoch, segment.base));
        let in_order = places.clone().zip(places.skip(1)).all(|(a, b)| a.0 < b.0 && (a.1, a.2) < (b.1, b.2));
        let before =
            noted.last().is_none_or(|last| (last.epoch, last.base + last.len) <= (state.epoch, state.base));
        if !in_order || !before {
            return None;
        }
        let found: Vec<_> = noted.iter().map(|entry| manifest::find(entry, &self.home)).collect();
        self.stale |= found.iter().zip(&noted).any(|(found, noted)| found.as_ref() != Some(noted));
        // The oldest may have been retired without a note; others were taken by somebody else.
        let missing =
            found.iter().skip_while(|found| found.is_none()).filter(|found| found.is_none()).count();
        if missing > 0 {
            tell_missing(missing);
        }
        Some(found.into_iter().flatten().collect())
    }

    /// Segments that no catalogue knows, by their names: older lines of this log.
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
                    crate::event!(warn, FILE_CHANGED; "{} is no segment of the log: {error}", path.display());
                }
            }
        }
        self.unplaced = !items.is_empty();
        self.stale = self.unplaced;
        items
    }

    /// A compression that was interrupted leaves the same lines twice.
    fn remove_doubles(&self, items: &[Segment], files: &Files) {
        for segment in items {
            let same = files.get(&segment.seq()).into_iter().flatten();
            for (name, coding) in
                same.filter(|(name, coding)| *name == segment.name && *coding != segment.coding)
            {
                remove(&name.path(&self.home, *coding));
            }
        }
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) const fn list(&self) -> &Arc<SegmentList> {
        &self.list
    }

    /// They were found without a catalogue: somebody has to [place](Self::place) them.
    pub(crate) const fn is_unplaced(&self) -> bool {
        self.unplaced
    }

    /// Gives them positions from `base` on, and returns where they end.
    pub(crate) fn place(&mut self, epoch: u32, mut base: u64) -> u64 {
        let place = |segment: &Arc<Segment>| {
            let placed = Segment { epoch, base, ..Segment::clone(segment) };
            base += segment.len;
            Arc::new(placed)
        };
        self.list = Arc::new(SegmentList::new(self.list.items().iter().map(place).collect()));
        self.unplaced = false;
        base
    }

    /// The name of a segment that is made now.
    pub(crate) fn next_name(&mut self) -> Name {
        let name = Name::new(Timestamp::now(), self.next);
        self.next += 1;
        name
    }

    /// Takes a new segment in; whoever publishes the active file's new state publishes it as well.
    pub(crate) fn push(&mut self, segment: Segment) -> &Arc<SegmentList> {
        let new = std::iter::once(Arc::new(segment));
        let items = self.list.items().iter().cloned().chain(new).collect();
        self.list = Arc::new(SegmentList::new(items));
        self.stale = true;
        &self.list
    }

    /// Replaces a segment by another form of it.
    pub(crate) fn replace(&mut self, new: Segment) {
        let mut items = self.list.items().to_vec();
        if let Some(place) = items.iter_mut().find(|segment| segment.seq() == new.seq()) {
            *place = Arc::new(new);
            self.stale = true;
            self.publish(items);
        }
    }

    /// Removes the oldest segments, for ever: first from what readers see, then their files.
    pub(crate) fn retire(&mut self, count: usize) -> io::Result<()> {
        let items = self.list.items().to_vec();
        let (old, kept) = items.split_at(count.min(items.len()));
        if old.is_empty() {
            return Ok(());
        }
        self.stale = true;
        self.publish(kept.to_vec());
        for (removed, segment) in old.iter().enumerate() {
            fault::point("retire.hidden");
            if let Err(error) = self.unlink(segment) {
                self.publish(items[removed..].to_vec());
                return Err(error);
            }
            fault::point("retire.removed");
        }
        // A catalogue that knows no more of a file than that it was there must not last longer than the file.
        sync_folder(&self.home)?;
        self.settle()
    }

    /// Removes all of them. On an error the newer ones may be left.
    pub(crate) fn remove_all(&mut self) -> io::Result<()> {
        let items = self.list.items().to_vec();
        if items.is_empty() {
            return Ok(());
        }
        self.stale = true;
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

    /// Brings the catalogue up to date.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        if self.stale {
            self.manifest.write(&self.home, self.next, self.list.items())?;
            self.stale = false;
        }
        Ok(())
    }

    pub(crate) const fn is_settled(&self) -> bool {
        !self.stale
    }

    /// Looks whether somebody else removed or altered segments, and lets those go. Looks at the folder only, unless
    /// that was changed or a reader was astonished.
    pub(crate) fn look(&mut self) {
        let suspicion = self.view.segment_cache().take_suspicion();
        let folder = self.home.parent().unwrap_or_else(|| Path::new("/"));
        let changed = fs::metadata(folder).ok().map(|meta| mtime_of(&meta));
        if changed.is_some() && changed == self.looked && !suspicion {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let settled = |at: &i64| (now.as_nanos() as i64).saturating_sub(*at) > SETTLED.as_nanos() as i64;
        self.looked = changed.filter(settled);
        let items = self.list.items();
        let (kept, gone): (Vec<_>, Vec<_>) = items.iter().cloned().partition(|segment| segment.is_there());
        if gone.is_empty() {
            return;
        }
        tell_missing(gone.len());
        for segment in gone {
            self.view.segment_cache().forget(&segment.path);
        }
        self.stale = true;
        self.publish(kept);
        if let Err(error) = self.settle() {
            log::warn!("can't note which segments are left: {error}");
        }
    }

    fn publish(&mut self, items: Vec<Arc<Segment>>) {
        self.list = Arc::new(SegmentList::new(items));
        self.view.lock().segments = Arc::clone(&self.list);
    }
}

fn tell_missing(count: usize) {
    crate::event!(
        warn, FILE_CHANGED;
        "{count} rotated segments were removed or altered by another program: they are no longer part of the log"
    );
}

/// Files with names of segments, by their numbers.
type Files = BTreeMap<u64, Vec<(Name, Coding)>>;

/// Lists the segments beside the active file, and removes what is not finished.
fn sibling_files(home: &Path) -> Files {
    let mut files = Files::new();
    let (Some(folder), Some(active)) = (home.parent(), home.file_name()) else { return files };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<OsString> = entries.map(|entry| entry.file_name()).collect();
    for other in names {
        match SiblingFile::of(active, &other) {
            Some(SiblingFile::Segment(name, coding)) => {
                files.entry(name.seq).or_default().push((name, coding))
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
