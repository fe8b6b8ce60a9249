//! What must be known of a log beyond its lines: its identity, where its positions start, and how many lines were
//! counted up to where. Kept in one small file of two slots that are overwritten in turn, so that a torn write leaves
//! the other slot, and so that a new state needs no free space: a log on a full disk can still be cleared.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::durable_fs::{is_out_of_space, sync_folder};
use super::fingerprint::Fingerprint;
use crate::store::file::segments::segment::Segment;

const SLOT_LEN: usize = 1024;
const CHECK_LEN: usize = 16;

/// The state of a log, see [`StateFile`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// counts the writes of this file; the higher slot is the valid one
    revision: u64,
    /// secret identity of the log, 32 hex digits
    pub(crate) identity: String,
    /// incarnation of the file
    pub(crate) epoch: u32,
    /// position of the file's first byte
    pub(crate) base: u64,
    /// device and inode of the file
    pub(crate) dev: u64,
    /// see `dev`
    pub(crate) ino: u64,
    /// how much of the file is covered by `count`
    pub(crate) len: u64,
    /// lines in the first `len` bytes; `None` = not counted yet
    pub(crate) count: Option<u64>,
    /// how the file begins
    pub(crate) head: Fingerprint,
    /// a clear up to this position was begun
    pub(crate) clearing_to: Option<u64>,
    /// a rotation was begun, and the catalogue does not know its segment yet
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rotating: Option<Rotating>,
}

/// A rotation that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rotating {
    /// what the active file becomes
    pub(crate) segment: Segment,
    /// device and inode of the file that takes its place
    pub(crate) dev: u64,
    /// see `dev`
    pub(crate) ino: u64,
}

impl State {
    /// The state of a log that was never seen before.
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
            head: Fingerprint::default(),
            clearing_to: None,
            rotating: None,
        })
    }

    /// The active file is another one, and begins where a segment ends.
    pub(crate) fn begin_file(&mut self, base: u64, dev: u64, ino: u64) {
        (self.base, self.dev, self.ino) = (base, dev, ino);
        (self.len, self.count, self.head) = (0, Some(0), Fingerprint::default());
    }

    /// Every line before a position is gone.
    pub(crate) fn cleared(&mut self, to: u64) {
        (self.base, self.len, self.count) = (to, 0, Some(0));
        self.head = Fingerprint::default();
        (self.clearing_to, self.rotating) = (None, None);
    }

    pub(crate) fn identity_bytes(&self) -> Option<[u8; 16]> {
        HEXLOWER.decode(self.identity.as_bytes()).ok()?.try_into().ok()
    }
}

/// The file that holds a [`State`].
#[derive(Debug)]
pub(crate) struct StateFile {
    /// `None`: there was no room for it; the state lives in memory only
    file: Option<File>,
    state: State,
    /// the state in memory could not be written
    unsettled: bool,
}

impl StateFile {
    /// Opens or creates the file. A file without a valid slot is as good as none: the log itself is the truth, only
    /// old cursors are lost. A full disk does not stop the start: the state then lives in memory.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = match opened {
            Err(error) if is_out_of_space(&error) => None,
            other => Some(other?),
        };
        let newest = file
            .iter()
            .flat_map(|file| (0..2).filter_map(|slot| read_slot(file, slot)))
            .max_by_key(|state| state.revision);
        let known = newest.is_some();
        let state = newest.map_or_else(State::fresh, Ok)?;
        let mut this = Self { file, state, unsettled: false };
        if !known {
            // Both slots, so that later writes never need space.
            match this.write().and_then(|()| this.write()).and_then(|()| sync_folder(path)) {
                Err(error) if is_out_of_space(&error) => {
                    log::warn!("no room for {}: cursors will not outlive this process", path.display());
                    this.file = None;
                }
                other => other?,
            }
        }
        Ok(this)
    }

    /// From now on writing fails, as on a broken disk; or works again.
    #[cfg(test)]
    pub(crate) fn break_down(&mut self, path: &Path, broken: bool) {
        self.file = OpenOptions::new().read(true).write(!broken).open(path).ok();
    }

    pub(crate) const fn get(&self) -> &State {
        &self.state
    }

    /// Changes the state and writes it; synced when `durable`. When writing fails the change stays in memory, and
    /// [`Self::settle`] must succeed before anything relies on it.
    pub(crate) fn update(&mut self, durable: bool, change: impl FnOnce(&mut State)) -> io::Result<()> {
        change(&mut self.state);
        self.unsettled = true;
        self.write()?;
        match &self.file {
            Some(file) if durable => file.sync_data()?,
            _ => {}
        }
        self.unsettled = false;
        Ok(())
    }

    /// Changes the state in memory only, to be written by [`Self::settle`].
    pub(crate) fn revise(&mut self, change: impl FnOnce(&mut State)) {
        change(&mut self.state);
        self.unsettled = true;
    }

    pub(crate) const fn is_settled(&self) -> bool {
        !self.unsettled
    }

    /// Writes what could not be written before.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        if self.unsettled { self.update(true, |_| ()) } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.state.revision += 1;
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
    use crate::store::file::segments::segment::{Coding, Name};

    #[test]
    fn a_torn_slot_leaves_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.state");
        let mut file = StateFile::open(&path).unwrap();
        file.update(true, |state| state.base = 1).unwrap();
        let before = file.get().clone();
        file.update(true, |state| state.base = 2).unwrap();
        let torn_slot = file.get().revision % 2;
        file.file.as_ref().unwrap().write_all_at(b"####", torn_slot * SLOT_LEN as u64 + 40).unwrap();
        assert_eq!(StateFile::open(&path).unwrap().get(), &before);
    }

    #[test]
    fn a_slot_has_room_for_the_largest_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let head = Fingerprint::largest();
        let segment = Segment {
            name: Name::new(jiff::Timestamp::MAX, u64::MAX),
            coding: Coding::Plain,
            epoch: u32::MAX,
            base: u64::MAX,
            len: u64::MAX,
            count: Some(u64::MAX),
            newest: i64::MIN,
            stored: u64::MAX,
            mtime: Some(i64::MIN),
            ino: u64::MAX,
            head: head.clone(),
            path: std::path::PathBuf::new(),
        };
        let mut file = StateFile::open(&dir.path().join("log.state")).unwrap();
        file.update(true, |state| {
            state.revision = u64::MAX - 1;
            (state.epoch, state.base, state.dev, state.ino) = (u32::MAX, u64::MAX, u64::MAX, u64::MAX);
            (state.len, state.count, state.clearing_to) = (u64::MAX, Some(u64::MAX), Some(u64::MAX));
            state.head = head;
            state.rotating = Some(Rotating { segment, dev: u64::MAX, ino: u64::MAX });
        })
        .unwrap();
        let before = file.get().clone();
        assert_eq!(StateFile::open(&dir.path().join("log.state")).unwrap().get(), &before);
    }

    #[test]
    fn garbage_is_as_good_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.state");
        std::fs::write(&path, vec![0xff; 5000]).unwrap();
        let first = StateFile::open(&path).unwrap().get().clone();
        assert_eq!(StateFile::open(&path).unwrap().get(), &first, "the identity is kept from then on");
    }
}
