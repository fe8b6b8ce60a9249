//! Keeps the state of a log beyond its lines: its identity, the position of the first byte, and the
//! number of counted lines. One small file has two slots, which are overwritten in turn. A torn
//! write leaves the other slot intact. A write needs no free space, so a log on a full disk can be
//! cleared.

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
    /// Fingerprint of the active file.
    pub(crate) head: Fingerprint,
    /// The end of a clear that began.
    pub(crate) clearing_to: Option<u64>,
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
            head: Fingerprint::default(),
            clearing_to: None,
            rotating: None,
        })
    }

    /// Records a new, empty active file, whose first byte has the position `base`.
    pub(crate) fn begin_file(&mut self, base: u64, dev: u64, ino: u64) {
        (self.base, self.dev, self.ino) = (base, dev, ino);
        (self.len, self.count, self.head) = (0, Some(0), Fingerprint::default());
    }

    /// Records that all lines before position `to` are removed.
    pub(crate) fn finish_clear(&mut self, to: u64) {
        (self.base, self.len, self.count) = (to, 0, Some(0));
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
    /// `None`: the disk was full. The state is in memory only.
    file: Option<File>,
    state: State,
    /// The state in memory is not written yet.
    is_unwritten: bool,
}

impl StateFile {
    /// Opens or creates the file. Without a valid slot the log starts with a new state. Its lines
    /// stay, but older cursors are lost. On a full disk the state is in memory only.
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
        let has_slot = newest.is_some();
        let state = newest.map_or_else(State::fresh, Ok)?;
        let mut this = Self { file, state, is_unwritten: false };
        if !has_slot {
            // Both slots are written, so that later writes need no free space.
            match this.write().and_then(|()| this.write()).and_then(|()| sync_folder(path)) {
                Err(error) if is_out_of_space(&error) => {
                    log::warn!("no room for {}: cursors are lost when this process ends", path.display());
                    this.file = None;
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
        self.write()?;
        match &self.file {
            Some(file) if durable => file.sync_data()?,
            _ => {}
        }
        self.is_unwritten = false;
        Ok(())
    }

    /// Changes the state in memory; [`Self::flush`] writes it.
    pub(crate) fn revise(&mut self, change: impl FnOnce(&mut State)) {
        change(&mut self.state);
        self.is_unwritten = true;
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
    use crate::store::file::segments::segment::{Coding, SegmentName};

    #[test]
    fn torn_slot_leaves_the_other() {
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
    fn file_without_a_valid_slot_gets_a_new_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.state");
        std::fs::write(&path, vec![0xff; 5000]).unwrap();
        let first = StateFile::open(&path).unwrap().get().clone();
        assert_eq!(StateFile::open(&path).unwrap().get(), &first, "the new identity is kept");
    }
}
