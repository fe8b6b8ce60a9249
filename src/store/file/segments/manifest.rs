//! Reads and writes the manifest, which is the list of segments. It is one file of the state
//! directory and is replaced as a whole.
//!
//! If the manifest and the files of the segments differ, the files decide. A segment without a file
//! is dropped, and a segment that was compressed meanwhile is recognised. If the manifest is
//! missing, the lines are kept, but cursors become invalid.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::chunks::Chunks;
use super::segment::{Coding, Segment, SegmentName, mtime_of};
use crate::fault;
use crate::record::parse_time;
use crate::store::file::state::durable_fs::sync_folder;
use crate::store::file::state::fingerprint::Fingerprint;
use crate::store::file::state::recovery::end_of_last_line;

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Document<S> {
    /// The identity of the log.
    identity: String,
    /// The path of the active file.
    file: String,
    /// The number of the next segment.
    next: u64,
    segments: S,
}

/// The file of the manifest.
#[derive(Debug)]
pub(crate) struct Manifest {
    path: PathBuf,
    identity: String,
}

/// The content of a manifest that was read.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// The number of the next segment.
    pub(crate) next: u64,
    /// The segments, oldest first.
    pub(crate) segments: Vec<Segment>,
}

impl Manifest {
    /// Returns the manifest that belongs to a state file.
    pub(crate) fn beside(state_path: &Path, identity: &str) -> Self {
        Self { path: state_path.with_extension("segments"), identity: identity.to_owned() }
    }

    /// Reads the manifest of the log whose active file is `home`. `None`: it does not exist, is
    /// broken, or belongs to another log.
    pub(crate) fn read(&self, home: &Path) -> Option<Entries> {
        drop(fs::remove_file(self.unfinished()));
        let text = fs::read(&self.path).ok()?;
        let found: Document<Vec<Segment>> = serde_json::from_slice(&text)
            .inspect_err(|error| log::warn!("{} is broken: {error}", self.path.display()))
            .ok()?;
        (found.identity == self.identity && found.file == home.to_string_lossy())
            .then_some(Entries { next: found.next, segments: found.segments })
    }

    /// Replaces the manifest.
    pub(crate) fn write(&self, home: &Path, next: u64, segments: &[Arc<Segment>]) -> io::Result<()> {
        let segments: Vec<&Segment> = segments.iter().map(|segment| &**segment).collect();
        let file = home.to_string_lossy().into_owned();
        let text = serde_json::to_vec(&Document { identity: self.identity.clone(), file, next, segments })?;
        let unfinished = self.unfinished();
        let outcome = Self::write_new(&unfinished, &text).and_then(|()| {
            fault::point("catalogue.written");
            fs::rename(&unfinished, &self.path)?;
            sync_folder(&self.path)
        });
        if outcome.is_err() {
            drop(fs::remove_file(&unfinished));
        }
        outcome
    }

    fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text)?;
        file.sync_all()
    }

    fn unfinished(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".tmp");
        PathBuf::from(path)
    }
}

/// Finds the file of an entry, in the coding of the entry or in the one that an interrupted
/// compression left. `None`: the file is missing or altered.
pub(crate) fn find(entry: &Segment, home: &Path) -> Option<Segment> {
    let known = std::iter::once(entry.coding);
    let others = Coding::ALL.into_iter().filter(|coding| *coding != entry.coding);
    known.chain(others).find_map(|coding| find_as(entry, home, coding).ok().flatten())
}

fn find_as(entry: &Segment, home: &Path, coding: Coding) -> io::Result<Option<Segment>> {
    let path = entry.name.path(home, coding);
    let meta = fs::symlink_metadata(&path)?;
    if !meta.is_file() {
        return Ok(None);
    }
    let found = Segment { path, coding, ..entry.clone() };
    if coding == entry.coding {
        if found.is_unaltered(&meta) && found.mtime.is_some() && meta.ino() == entry.ino {
            return Ok(Some(found));
        }
        if entry.mtime.is_some() && !found.is_unaltered(&meta) {
            return Ok(None);
        }
    }
    let file = File::open(&found.path)?;
    let stored = meta.size();
    let (len, has_same_head) = if coding == Coding::Plain {
        // A file that was not synced before a crash of the machine may be shorter, in whole lines.
        (end_of_last_line(&file, stored)?, entry.head.continues_in(&file, stored))
    } else {
        let chunks = Chunks::of(&file, coding, stored)?;
        (chunks.len(), entry.head.is_of(&chunks.read(&file, 0)?))
    };
    let is_whole = len == entry.len || (coding == Coding::Plain && entry.mtime.is_none());
    if !has_same_head || !is_whole || !(1..=entry.len).contains(&len) || stored > entry.len.max(entry.stored)
    {
        return Ok(None);
    }
    // A shortened file has to be counted and synced again.
    let count = entry.count.filter(|_| len == entry.len);
    let mtime = (coding != Coding::Plain || (entry.mtime.is_some() && coding == entry.coding))
        .then(|| mtime_of(&meta));
    Ok(Some(Segment { len, count, stored, mtime, ino: meta.ino(), ..found }))
}

/// Reads a file that is not in the manifest. Its segment has no position yet.
pub(crate) fn inspect(name: SegmentName, coding: Coding, home: &Path) -> io::Result<Segment> {
    let path = name.path(home, coding);
    let meta = fs::symlink_metadata(&path)?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = File::open(&path)?;
    let (stored, mtime) = (meta.size(), mtime_of(&meta));
    let (len, head, tail) = if coding == Coding::Plain {
        let len = end_of_last_line(&file, stored)?;
        let want = len.min(TAIL_BYTES);
        let mut tail = vec![0; want as usize];
        file.read_exact_at(&mut tail, len - want)?;
        (len, Fingerprint::of(&file, len)?, tail)
    } else {
        let chunks = Chunks::of(&file, coding, stored)?;
        let last = Chunks::index(chunks.len().saturating_sub(1));
        (chunks.len(), Fingerprint::of_bytes(&chunks.read(&file, 0)?), chunks.read(&file, last)?)
    };
    if len == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no line"));
    }
    let newest = newest_in(&tail).unwrap_or(mtime / 1000);
    let mtime = (coding != Coding::Plain).then_some(mtime);
    Ok(Segment {
        name,
        coding,
        epoch: 0,
        base: 0,
        len,
        count: None,
        newest,
        stored,
        mtime,
        ino: meta.ino(),
        head,
        path,
    })
}

/// Bytes at the end of a file in which the last line is searched.
pub(crate) const TAIL_BYTES: u64 = 256 * 1024;

/// Returns the time of the last line in `tail` that this service wrote.
pub(crate) fn newest_in(tail: &[u8]) -> Option<i64> {
    tail.rsplit(|byte| *byte == b'\n').find_map(parse_time)
}
