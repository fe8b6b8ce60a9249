//! Reads and writes the manifest, which is the list of segments. It is one file of the state
//! directory. Its first line is a list, and each further line is a change of it, so that a rotation
//! appends one line. When the changes are more than the segments, a new list is written in the
//! background and takes the place of the file.
//!
//! If the manifest and the files of the segments differ, the files decide. A segment without a file
//! is dropped, and a segment that was compressed meanwhile is recognised. A last line that a crash
//! left incomplete is ignored. If the manifest is missing or broken, the lines of the log are kept,
//! but cursors become invalid.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::chunks::Chunks;
use super::segment::{Coding, Segment, SegmentList, SegmentName, UNKNOWN_TIME, mtime_of};
use crate::fault;
use crate::record::{MAX_HEAD_BYTES, MAX_LINE_BYTES, parse_time};
use crate::store::file::state::durable_fs::{no_follow, not_a_link, open_no_follow, sync_folder};
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

/// A change of the list, one line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Change {
    /// A segment was added.
    Add(Segment),
    /// A segment has another file.
    Replace(Segment),
    /// All segments up to this number were removed.
    Drop(u64),
}

/// Minimum number of changes after which the list is written anew. Their lines have about half a
/// megabyte.
const MIN_CHANGES: u64 = 1000;

/// The file of the manifest.
#[derive(Debug)]
pub(crate) struct Manifest {
    path: PathBuf,
    identity: String,
    /// The file to which changes are appended. `None`: it has to be written as a whole.
    open: Option<Appended>,
    /// Number of times that the file was written as a whole.
    rewrites: u64,
}

/// The file as this process left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Appended {
    ino: u64,
    len: u64,
    /// Number of lines after the list.
    changes: u64,
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
        let path = state_path.with_extension("segments");
        Self { path, identity: identity.to_owned(), open: None, rewrites: 0 }
    }

    /// Reads the manifest of the log whose active file is `home`. `None`: it does not exist, is
    /// broken, or belongs to another log.
    pub(crate) fn read(&mut self, home: &Path) -> Option<Entries> {
        drop(fs::remove_file(self.beside_path(REWRITTEN)));
        drop(fs::remove_file(self.beside_path(COMPACTED)));
        let mut file = open_no_follow(&self.path).ok()?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).ok()?;
        let warn = |error: &dyn std::fmt::Display| log::warn!("{} is broken: {error}", self.path.display());
        let list_len = memchr::memchr(b'\n', &text).map_or(text.len(), |newline| newline + 1);
        let (list, changes) = text.split_at(list_len);
        let found: Document<Vec<Segment>> =
            serde_json::from_slice(list).inspect_err(|error| warn(error)).ok()?;
        if found.identity != self.identity || found.file != home.to_string_lossy() {
            return None;
        }
        let mut entries = Entries { next: found.next, segments: found.segments };
        let (count, len) = apply_all(&mut entries, changes).inspect_err(|error| warn(error)).ok()?;
        // A file of an earlier version has no line end.
        self.open = list.ends_with(b"\n").then_some(Appended {
            ino: file.metadata().ok()?.ino(),
            len: (list_len + len) as u64,
            changes: count,
        });
        Some(entries)
    }

    /// Appends changes. Syncs them when they hold a new segment: the state forgets that segment only
    /// then. Returns false when the file is not as this process left it, and has to be written as a
    /// whole.
    pub(crate) fn append(&mut self, changes: &[Change]) -> io::Result<bool> {
        let Some(known) = self.open.take() else { return Ok(false) };
        let Ok(file) = no_follow(OpenOptions::new().write(true)).open(&self.path) else { return Ok(false) };
        let meta = file.metadata()?;
        // The file is longer after a crash that left a part of a line.
        if meta.ino() != known.ino || meta.size() < known.len {
            return Ok(false);
        }
        if meta.size() > known.len {
            file.set_len(known.len)?;
        }
        let mut lines = Vec::new();
        for change in changes {
            serde_json::to_writer(&mut lines, change)?;
            lines.push(b'\n');
        }
        file.write_all_at(&lines, known.len)?;
        fault::point("manifest.appended");
        if changes.iter().any(|change| matches!(change, Change::Add(_))) {
            file.sync_data()?;
        }
        let (len, changes) = (known.len + lines.len() as u64, known.changes + changes.len() as u64);
        self.open = Some(Appended { len, changes, ..known });
        Ok(true)
    }

    /// Returns whether another program removed or replaced the file.
    pub(crate) fn is_lost(&self) -> bool {
        let found = fs::symlink_metadata(&self.path).ok();
        found.is_none_or(|meta| self.open.is_some_and(|known| known.ino != meta.ino()))
    }

    /// Replaces the manifest by a new list.
    pub(crate) fn write(&mut self, home: &Path, next: u64, segments: &[Arc<Segment>]) -> io::Result<()> {
        self.open = None;
        self.rewrites += 1;
        let unfinished = self.beside_path(REWRITTEN);
        let outcome = write_list(&unfinished, &self.identity, home, next, segments).and_then(|file| {
            fault::point("catalogue.written");
            fs::rename(&unfinished, &self.path)?;
            sync_folder(&self.path)?;
            file.metadata()
        });
        match outcome {
            Ok(meta) => {
                self.open = Some(Appended { ino: meta.ino(), len: meta.size(), changes: 0 });
                Ok(())
            }
            Err(error) => {
                drop(fs::remove_file(&unfinished));
                Err(error)
            }
        }
    }

    /// Returns the work to write the list anew, if there are so many changes. `list` is the list with
    /// all of them.
    pub(crate) fn compaction(&self, home: &Path, next: u64, list: &Arc<SegmentList>) -> Option<Compaction> {
        let min_changes = fault::number("MOCA_MANIFEST_CHANGES", MIN_CHANGES);
        let is_due = |known: &Appended| known.changes > min_changes.max(list.items().len() as u64);
        let known = self.open.filter(is_due)?;
        Some(Compaction {
            path: self.beside_path(COMPACTED),
            identity: self.identity.clone(),
            home: home.to_owned(),
            next,
            list: Arc::clone(list),
            known,
            rewrites: self.rewrites,
        })
    }

    /// Puts a list that was written anew in place, with the changes since it was begun. Does nothing
    /// when the manifest was written as a whole meanwhile.
    pub(crate) fn finish_compaction(&mut self, done: &Compaction) -> io::Result<()> {
        let outcome = self.put_in_place(done);
        drop(fs::remove_file(&done.path));
        outcome
    }

    fn put_in_place(&mut self, done: &Compaction) -> io::Result<()> {
        let Some(known) = self.open.filter(|known| known.ino == done.known.ino) else { return Ok(()) };
        if done.rewrites != self.rewrites {
            return Ok(());
        }
        let mut since = vec![0; (known.len - done.known.len) as usize];
        open_no_follow(&self.path)?.read_exact_at(&mut since, done.known.len)?;
        let file = no_follow(OpenOptions::new().append(true)).open(&done.path)?;
        (&file).write_all(&since)?;
        file.sync_all()?;
        fault::point("manifest.compacted");
        let meta = file.metadata()?;
        fs::rename(&done.path, &self.path)?;
        let changes = known.changes - done.known.changes;
        self.open = Some(Appended { ino: meta.ino(), len: meta.size(), changes });
        fault::point("manifest.replaced");
        sync_folder(&self.path)
    }

    fn beside_path(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    }
}

/// Suffix of a file that replaces the manifest.
const REWRITTEN: &str = ".tmp";

/// Suffix of a file that a compaction writes.
const COMPACTED: &str = ".new";

/// The work to write the list anew, on a thread of its own.
#[derive(Debug)]
pub(crate) struct Compaction {
    path: PathBuf,
    identity: String,
    home: PathBuf,
    next: u64,
    list: Arc<SegmentList>,
    /// The manifest whose changes the list holds.
    known: Appended,
    rewrites: u64,
}

impl Compaction {
    /// Writes the list.
    pub(crate) fn run(&self) -> io::Result<()> {
        write_list(&self.path, &self.identity, &self.home, self.next, self.list.items()).map(drop)
    }
}

/// Writes a manifest without changes to a new file.
fn write_list(
    path: &Path,
    identity: &str,
    home: &Path,
    next: u64,
    segments: &[Arc<Segment>],
) -> io::Result<File> {
    let segments: Vec<&Segment> = segments.iter().map(|segment| &**segment).collect();
    let file = home.to_string_lossy().into_owned();
    let mut text = serde_json::to_vec(&Document { identity: identity.to_owned(), file, next, segments })?;
    text.push(b'\n');
    let mut options = OpenOptions::new();
    let options = no_follow(options.write(true).create(true).truncate(true).mode(0o600));
    let mut file = options.open(path).map_err(not_a_link)?;
    file.write_all(&text)?;
    file.sync_all()?;
    Ok(file)
}

/// Applies the lines in `text` to the list. Returns how many there are, and their length. Ignores a
/// last line that is incomplete.
fn apply_all(entries: &mut Entries, text: &[u8]) -> Result<(u64, usize), serde_json::Error> {
    let (mut count, mut at) = (0, 0);
    while let Some(newline) = memchr::memchr(b'\n', &text[at..]) {
        let end = at + newline + 1;
        match serde_json::from_slice(&text[at..end]) {
            Ok(change) => apply(entries, change),
            // The blocks of a line may reach the disk in any order.
            Err(_) if end == text.len() => break,
            Err(error) => return Err(error),
        }
        (count, at) = (count + 1, end);
    }
    Ok((count, at))
}

fn apply(entries: &mut Entries, change: Change) {
    let segments = &mut entries.segments;
    match change {
        Change::Add(segment) => {
            entries.next = entries.next.max(segment.seq().saturating_add(1));
            segments.push(segment);
        }
        Change::Replace(segment) => {
            if let Ok(index) = segments.binary_search_by_key(&segment.seq(), Segment::seq) {
                segments[index] = segment;
            }
        }
        Change::Drop(seq) => {
            let gone = segments.partition_point(|segment| segment.seq() <= seq);
            segments.drain(..gone);
        }
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
    let file = open_no_follow(&found.path)?;
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
    let (count, foreign) = if len == entry.len { (entry.count, entry.foreign) } else { (None, None) };
    let mtime = (coding != Coding::Plain || (entry.mtime.is_some() && coding == entry.coding))
        .then(|| mtime_of(&meta));
    Ok(Some(Segment { len, count, foreign, stored, mtime, ino: meta.ino(), ..found }))
}

/// Reads a file that is not in the manifest. Its segment has no position yet.
pub(crate) fn inspect(name: SegmentName, coding: Coding, home: &Path) -> io::Result<Segment> {
    let path = name.path(home, coding);
    let meta = fs::symlink_metadata(&path)?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let file = open_no_follow(&path)?;
    let (stored, mtime) = (meta.size(), mtime_of(&meta));
    let (len, head, newest, oldest) = if coding == Coding::Plain {
        let len = end_of_last_line(&file, stored)?;
        (len, Fingerprint::of(&file, len)?, newest_in_file(&file, len)?, oldest_in_file(&file, len))
    } else {
        let chunks = Chunks::of(&file, coding, stored)?;
        let last = Chunks::index(chunks.len().saturating_sub(1));
        let first = chunks.read(&file, 0)?;
        (
            chunks.len(),
            Fingerprint::of_bytes(&first),
            newest_in(&chunks.read(&file, last)?),
            parse_time(&first),
        )
    };
    if len == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds no line"));
    }
    let newest = newest.unwrap_or(mtime / 1000);
    let mtime = (coding != Coding::Plain).then_some(mtime);
    Ok(Segment {
        name,
        coding,
        epoch: 0,
        base: 0,
        len,
        count: None,
        foreign: None,
        oldest: Some(oldest.unwrap_or(UNKNOWN_TIME)),
        newest,
        stored,
        mtime,
        ino: meta.ino(),
        head,
        path,
    })
}

/// Returns the time of the first line, unless another program wrote it.
pub(crate) fn oldest_in_file(file: &File, len: u64) -> Option<i64> {
    let mut head = vec![0; len.min(MAX_HEAD_BYTES as u64) as usize];
    file.read_exact_at(&mut head, 0).ok()?;
    parse_time(&head)
}

/// Bytes at the end of a file in which the last line is searched first.
const TAIL_BYTES: u64 = 256 * 1024;

/// Returns the time of the last line that this service wrote in the first `len` bytes of a file, which
/// end with a line. Reads the end of the file only, and at most one whole line.
pub(crate) fn newest_in_file(file: &File, len: u64) -> io::Result<Option<i64>> {
    let mut want = len.min(TAIL_BYTES);
    loop {
        let mut tail = vec![0; want as usize];
        file.read_exact_at(&mut tail, len - want)?;
        // The first line of the tail may be cut.
        let whole = if want == len { Some(0) } else { memchr::memchr(b'\n', &tail).map(|at| at + 1) };
        match whole.and_then(|start| tail.get(start..)).filter(|lines| !lines.is_empty() || len == 0) {
            Some(lines) => return Ok(newest_in(lines)),
            None if want > MAX_LINE_BYTES as u64 => return Ok(None),
            None => want = len.min(4 * want),
        }
    }
}

/// Returns the time of the last line in `tail` that this service wrote.
fn newest_in(tail: &[u8]) -> Option<i64> {
    tail.rsplit(|byte| *byte == b'\n').find_map(parse_time)
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
