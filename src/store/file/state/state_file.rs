//! Keeps the state of a log beyond its lines: its identity, the position of the first byte, and the
//! number of counted lines. One small file has two slots, which are overwritten in turn. A torn
//! write leaves the other slot intact. A write needs no free space, so a log on a full disk can be
//! cleared.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::durable_fs::{create_folders, is_out_of_space, no_follow, not_a_link, sync_folder};
use super::fingerprint::Fingerprint;
use crate::record::now_micros;
use crate::store::file::segments::segment::Segment;
use crate::store::statistics::MaintenanceCounters;

/// Bytes of a slot.
const SLOT_LEN: usize = 1024;
/// Hex digits of the checksum at the start of a slot.
const CHECK_LEN: usize = 16;

/// The state of a log, see [`StateFile`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Number of writes of this file. The slot with the higher number is valid.
    revision: u64,
    /// Secret identity of the log, 32 hex digits.
    pub(crate) identity: String,
    /// The epoch of the active file.
    pub(crate) epoch: u32,
    /// Position of the active file's first byte.
    pub(crate) base: u64,
    /// Device of the active file.
    pub(crate) dev: u64,
    /// Inode of the active file.
    pub(crate) ino: u64,
    /// Bytes of the active file whose lines `count` holds.
    pub(crate) len: u64,
    /// Lines in the first `len` bytes. `None`: not counted yet.
    pub(crate) count: Option<u64>,
    /// Those of them that do not begin like a record. `None`: not counted yet.
    #[serde(default)]
    pub(crate) foreign: Option<u64>,
    /// Fingerprint of the active file.
    pub(crate) head: Fingerprint,
    /// The end of a clear that began.
    pub(crate) clearing_to: Option<u64>,
    /// The last time of the system clock that was trusted, microseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<i64>,
    /// A rotation that began, until the manifest lists its segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rotating: Option<Rotating>,
}

/// A rotation that began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rotating {
    /// The segment that the active file becomes.
    pub(crate) segment: Segment,
    /// Device of the next active file.
    pub(crate) dev: u64,
    /// Inode of the next active file.
    pub(crate) ino: u64,
}

impl State {
    /// Returns the state of a new log.
    pub(crate) fn fresh() -> io::Result<Self> {
        let mut identity = [0; 16];
        getrandom::fill(&mut identity).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self {
            revision: 0,
            identity: HEXLOWER.encode(&identity),
            epoch: 0,
            base: 0,
            dev: 0,
            ino: 0,
            len: 0,
            count: Some(0),
            foreign: Some(0),
            head: Fingerprint::default(),
            clearing_to: None,
            time: None,
            rotating: None,
        })
    }

    /// Records a new, empty active file, whose first byte has the position `base`.
    pub(crate) fn begin_file(&mut self, base: u64, dev: u64, ino: u64) {
        (self.base, self.dev, self.ino) = (base, dev, ino);
        (self.len, self.count, self.foreign) = (0, Some(0), Some(0));
        self.head = Fingerprint::default();
    }

    /// Records that all lines before position `to` are removed.
    pub(crate) fn finish_clear(&mut self, to: u64) {
        (self.base, self.len) = (to, 0);
        (self.count, self.foreign) = (Some(0), Some(0));
        self.head = Fingerprint::default();
        (self.clearing_to, self.rotating) = (None, None);
    }

    /// Returns the identity; `None` if it is not 32 hex digits.
    pub(crate) fn identity_bytes(&self) -> Option<[u8; 16]> {
        HEXLOWER.decode(self.identity.as_bytes()).ok()?.try_into().ok()
    }
}

/// The file that holds a [`State`].
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// `None`: the disk was full. The state is in memory only.
    file: Option<File>,
    state: State,
    /// The state in memory is not written yet.
    is_unwritten: bool,
    /// Each write keeps the time of the system clock.
    keeps_time: bool,
    /// Another program removed the file, and it can't be made again.
    is_lost: bool,
    /// Tells whether the last write succeeded.
    counters: Arc<MaintenanceCounters>,
}

/// Interval at which the time is written when nothing else is. It is a part of the hour by which a
/// start may be later.
const TIME_INTERVAL_MICROS: i64 = 600 * 1_000_000;

impl StateFile {
    /// Opens or creates the file. Without a valid slot the log starts with a new state. Its lines
    /// stay, but older cursors are lost. On a full disk the state is in memory only.
    ///
    /// # Errors
    /// Fails also when the path is a symbolic link, because the file that it names could be of another
    /// program.
    pub(crate) fn open(path: &Path, counters: &Arc<MaintenanceCounters>) -> io::Result<Self> {
        let file = match open_file(path) {
            Err(error) if is_out_of_space(&error) => None,
            other => Some(other?),
        };
        let newest = file
            .iter()
            .flat_map(|file| (0..2).filter_map(|slot| read_slot(file, slot)))
            .max_by_key(|state| state.revision);
        let has_slot = newest.is_some();
        let state = newest.map_or_else(State::fresh, Ok)?;
        let mut this = Self {
            file,
            state,
            is_unwritten: false,
            keeps_time: false,
            is_lost: false,
            path: path.to_owned(),
            counters: Arc::clone(counters),
        };
        this.note_saved(this.file.is_some());
        if !has_slot {
            // Both slots are written, so that later writes need no free space.
            match this.write().and_then(|()| this.write()).and_then(|()| sync_folder(path)) {
                Err(error) if is_out_of_space(&error) => {
                    log::warn!("no room for {}: cursors are lost when this process ends", path.display());
                    this.file = None;
                    this.note_saved(false);
                }
                other => other?,
            }
        }
        Ok(this)
    }

    /// Makes writes fail, as on a broken disk, or succeed again.
    #[cfg(test)]
    pub(crate) fn break_down(&mut self, path: &Path, broken: bool) {
        self.file = OpenOptions::new().read(true).write(!broken).open(path).ok();
    }

    /// Returns the state.
    pub(crate) const fn get(&self) -> &State {
        &self.state
    }

    /// Changes the state and writes it. Syncs it when `durable` is true.
    ///
    /// # Errors
    /// Returns the error of the write. The change stays in memory, and the caller may rely on it
    /// only after [`Self::flush`] has succeeded.
    pub(crate) fn update(&mut self, durable: bool, change: impl FnOnce(&mut State)) -> io::Result<()> {
        change(&mut self.state);
        self.is_unwritten = true;
        let saved = self.save(durable);
        self.note_saved(saved.is_ok() && self.file.is_some() && !self.is_lost);
        self.is_unwritten = saved.is_err();
        saved
    }

    fn save(&mut self, durable: bool) -> io::Result<()> {
        let made_again = self.make_again_if_lost();
        if let Err(error) = &made_again
            && !self.is_lost
        {
            let shown = self.path.display();
            crate::event!(warn, STATE_LOST; "another program removed {shown}, and it can't be made again: {error}");
        }
        // Records are stored nevertheless, and the state goes to the file that is gone.
        self.is_lost = made_again.is_err();
        let is_new = made_again.unwrap_or(false);
        self.write()?;
        if is_new {
            // Both slots are written, so that later writes need no free space.
            self.write()?;
            sync_folder(&self.path)?;
        }
        match &self.file {
            Some(file) if durable || is_new => file.sync_data(),
            _ => Ok(()),
        }
    }

    /// Opens a new file when another program removed or replaced the one that is open. Returns whether
    /// it did.
    fn make_again_if_lost(&mut self) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let place = |meta: &Metadata| (meta.dev(), meta.ino());
        let open = file.metadata()?;
        match fs::symlink_metadata(&self.path) {
            Ok(meta) if place(&meta) == place(&open) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        create_folders(&self.path)?;
        self.file = Some(open_file(&self.path)?);
        crate::event!(warn, STATE_LOST; "another program removed {}: it is made again", self.path.display());
        Ok(true)
    }

    /// Makes the file again if another program removed it.
    ///
    /// # Errors
    /// Fails when it can't be made.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        let lost = match (&self.file, fs::symlink_metadata(&self.path)) {
            (Some(file), Ok(meta)) => {
                file.metadata().map(|open| (open.dev(), open.ino()))? != (meta.dev(), meta.ino())
            }
            (Some(_), Err(_)) => true,
            (None, _) => false,
        };
        if lost { self.update(true, |_| ()) } else { self.flush() }
    }

    fn note_saved(&self, is_saved: bool) {
        self.counters.is_state_unsaved.store(!is_saved, Ordering::Relaxed);
    }

    /// Changes the state in memory; [`Self::flush`] writes it.
    pub(crate) fn revise(&mut self, change: impl FnOnce(&mut State)) {
        change(&mut self.state);
        self.is_unwritten = true;
    }

    /// Decides whether the state keeps the time of the system clock with each write. Writes the time
    /// if that is long ago.
    pub(crate) fn keep_time(&mut self, is_trusted: bool) -> io::Result<()> {
        self.keeps_time = is_trusted;
        let is_old = |time: i64| (now_micros() - time).abs() > TIME_INTERVAL_MICROS;
        if is_trusted && self.state.time.is_none_or(is_old) { self.update(false, |_| ()) } else { Ok(()) }
    }

    /// Returns whether the state is written.
    pub(crate) const fn is_flushed(&self) -> bool {
        !self.is_unwritten
    }

    /// Writes and syncs a change that is not written yet.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.is_unwritten { self.update(true, |_| ()) } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.state.revision += 1;
        if self.keeps_time {
            self.state.time = Some(now_micros());
        }
        let body = serde_json::to_vec(&self.state)?;
        let mut slot = vec![b' '; SLOT_LEN];
        let text_len = CHECK_LEN + 1 + body.len();
        if text_len >= SLOT_LEN {
            return Err(io::Error::other("state too large for its slot"));
        }
        slot[..CHECK_LEN].copy_from_slice(check(&body).as_bytes());
        slot[CHECK_LEN + 1..text_len].copy_from_slice(&body);
        slot[SLOT_LEN - 1] = b'\n';
        match &self.file {
            Some(file) => file.write_all_at(&slot, (self.state.revision % 2) * SLOT_LEN as u64),
            None => Ok(()),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    no_follow(options.read(true).write(true).create(true).truncate(false).mode(0o600))
        .open(path)
        .map_err(not_a_link)
}

fn check(body: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(body)[..CHECK_LEN / 2])
}

fn read_slot(file: &File, slot: u64) -> Option<State> {
    let mut bytes = [0; SLOT_LEN];
    file.read_exact_at(&mut bytes, slot * SLOT_LEN as u64).ok()?;
    let body = bytes[CHECK_LEN + 1..].trim_ascii();
    (bytes.get(..CHECK_LEN)? == check(body).as_bytes()).then_some(())?;
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::file::segments::segment::{Coding, SegmentName};

    fn open(path: &Path) -> io::Result<StateFile> {
        StateFile::open(path, &Arc::default())
    }

    #[test]
    fn torn_slot_leaves_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.state");
        let mut file = open(&path).unwrap();
        file.update(true, |state| state.base = 1).unwrap();
        let before = file.get().clone();
        file.update(true, |state| state.base = 2).unwrap();
        let torn_slot = file.get().revision % 2;
        file.file.as_ref().unwrap().write_all_at(b"####", torn_slot * SLOT_LEN as u64 + 40).unwrap();
        assert_eq!(open(&path).unwrap().get(), &before);
    }

    #[test]
    fn slot_has_room_for_the_largest_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let head = Fingerprint::largest();
        let segment = Segment {
            name: SegmentName::new(jiff::Timestamp::MAX, u64::MAX),
            coding: Coding::Plain,
            epoch: u32::MAX,
            base: u64::MAX,
            len: u64::MAX,
            count: Some(u64::MAX),
            foreign: Some(u64::MAX),
            oldest: Some(i64::MIN),
            newest: i64::MIN,
            stored: u64::MAX,
            mtime: Some(i64::MIN),
            ino: u64::MAX,
            head: head.clone(),
            path: std::path::PathBuf::new(),
        };
        let mut file = open(&dir.path().join("log.state")).unwrap();
        file.update(true, |state| {
            state.revision = u64::MAX - 1;
            (state.epoch, state.base, state.dev, state.ino) = (u32::MAX, u64::MAX, u64::MAX, u64::MAX);
            (state.len, state.count, state.clearing_to) = (u64::MAX, Some(u64::MAX), Some(u64::MAX));
            state.foreign = Some(u64::MAX);
            (state.head, state.time) = (head, Some(i64::MIN));
            state.rotating = Some(Rotating { segment, dev: u64::MAX, ino: u64::MAX });
        })
        .unwrap();
        let before = file.get().clone();
        assert_eq!(open(&dir.path().join("log.state")).unwrap().get(), &before);
    }

    #[test]
    fn file_without_a_valid_slot_gets_a_new_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.state");
        std::fs::write(&path, vec![0xff; 5000]).unwrap();
        let first = open(&path).unwrap().get().clone();
        assert_eq!(open(&path).unwrap().get(), &first, "the new identity is kept");
    }

    #[test]
    fn removed_or_replaced_file_is_made_again() {
        for replaced in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("state");
            let path = folder.join("log.state");
            fs::create_dir(&folder).unwrap();
            let mut file = open(&path).unwrap();
            file.update(true, |state| state.base = 1).unwrap();
            fs::remove_dir_all(&folder).unwrap();
            if replaced {
                fs::create_dir(&folder).unwrap();
                fs::write(&path, "of another program").unwrap();
            }
            file.check().unwrap();
            assert_eq!(open(&path).unwrap().get(), file.get(), "{replaced}");
            fs::remove_dir_all(&folder).unwrap();
            file.update(false, |state| state.base = 2).unwrap();
            assert_eq!(open(&path).unwrap().get(), file.get(), "{replaced}");
            assert!(!file.counters.is_state_unsaved.load(Ordering::Relaxed));
            fs::remove_dir_all(&folder).unwrap();
            fs::write(&folder, "a file").unwrap();
            file.update(false, |state| state.base = 3).unwrap();
            assert!(file.counters.is_state_unsaved.load(Ordering::Relaxed));
            fs::remove_file(&folder).unwrap();
            file.check().unwrap();
            assert_eq!(open(&path).unwrap().get().base, 3);
            assert!(!file.counters.is_state_unsaved.load(Ordering::Relaxed));
        }
    }

    #[test]
    fn symbolic_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("log.state"), dir.path().join("precious"));
        fs::write(&target, "content").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert_eq!(fs::read_to_string(&target).unwrap(), "content");
    }
}
