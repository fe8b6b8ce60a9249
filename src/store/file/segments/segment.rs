//! Describes rotated segments. A segment holds lines of the log to which no more are appended, in a
//! file beside the active one. Defines the name of that file, the properties of a segment, and the
//! list of all segments.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Compression;
use crate::store::Cursor;
use crate::store::file::state::fingerprint::Fingerprint;

/// The compression of a segment's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Coding {
    /// Not compressed.
    Plain,
    /// Frames of zstd, readable with `zstdcat`.
    Zstd,
    /// Members of gzip, readable with `zcat`.
    Gzip,
}

impl Coding {
    /// All codings.
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Zstd, Self::Gzip];

    /// Returns the coding of a setting.
    pub(crate) const fn of(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::Plain,
            Compression::Zstd => Self::Zstd,
            Compression::Gzip => Self::Gzip,
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }
}

/// The part of a segment's file name after `FILE.`: `YYYYMMDDTHHMMSSZ-SEQ`, the time of the
/// rotation in UTC, and the number of the segment, which gives the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentName {
    stamp: String,
    /// The number of the segment.
    pub(crate) seq: u64,
}

/// Suffix of files that are not finished.
const UNFINISHED: &str = ".tmp";

impl SegmentName {
    /// Returns the name of segment `seq`, rotated at `now`.
    pub(crate) fn new(now: Timestamp, seq: u64) -> Self {
        Self { stamp: now.strftime("%Y%m%dT%H%M%SZ").to_string(), seq }
    }

    /// Returns the path of the segment, for the log whose active file is `home`.
    pub(crate) fn path(&self, home: &Path, coding: Coding) -> PathBuf {
        let mut path = home.as_os_str().to_owned();
        path.push(format!(".{}-{}{}", self.stamp, self.seq, coding.suffix()));
        PathBuf::from(path)
    }

    /// Returns the path of the segment while its file is written.
    pub(crate) fn unfinished(&self, home: &Path, coding: Coding) -> PathBuf {
        let mut path = self.path(home, coding).into_os_string();
        path.push(UNFINISHED);
        PathBuf::from(path)
    }

    /// Parses the part of a file name after `FILE.`.
    fn parse(text: &str) -> Option<Self> {
        let (stamp, seq) = text.split_once('-')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (date, time) = stamp.strip_suffix('Z')?.split_once('T')?;
        (digits(date) && digits(time) && digits(seq)).then_some(())?;
        let is_canonical = date.len() == 8 && time.len() == 6 && (seq == "0" || !seq.starts_with('0'));
        is_canonical.then_some(Self { stamp: stamp.to_owned(), seq: seq.parse().ok()? })
    }
}

/// The kind of a file beside the active one, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SiblingFile {
    /// A segment.
    Segment(SegmentName, Coding),
    /// A file of a rotation or compression that was interrupted.
    Unfinished,
}

impl SiblingFile {
    /// Returns the kind of the file `other`, next to the active file `active`. `None`: it does not
    /// belong to the log.
    pub(crate) fn of(active: &OsStr, other: &OsStr) -> Option<Self> {
        let rest = other.as_bytes().strip_prefix(active.as_bytes())?.strip_prefix(b".")?;
        let rest = std::str::from_utf8(rest).ok()?;
        let (rest, unfinished) = rest.strip_suffix(UNFINISHED).map_or((rest, false), |rest| (rest, true));
        let (name, coding) = Coding::ALL.iter().find_map(|coding| {
            let name = rest.strip_suffix(coding.suffix()).and_then(SegmentName::parse)?;
            Some((name, *coding))
        })?;
        Some(if unfinished { Self::Unfinished } else { Self::Segment(name, coding) })
    }
}

/// One segment. Its properties never change. The same segment in another coding is another value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// The part of the file name after `FILE.`.
    pub(crate) name: SegmentName,
    /// The compression of the file.
    pub(crate) coding: Coding,
    /// The epoch of the lines.
    pub(crate) epoch: u32,
    /// Position of the first byte.
    pub(crate) base: u64,
    /// Bytes of the lines.
    pub(crate) len: u64,
    /// Number of lines. `None`: not counted yet.
    pub(crate) count: Option<u64>,
    /// Those of them that do not begin like a record. `None`: not counted yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) foreign: Option<u64>,
    /// Time of the first line, microseconds since the epoch. [`UNKNOWN_TIME`]: another program wrote
    /// it. `None`: the manifest is of an earlier version, whose times never decreased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) oldest: Option<i64>,
    /// Time of the newest line, microseconds since the epoch. Times never decrease in a segment, but
    /// may from one to the next, when the system clock was set back.
    pub(crate) newest: i64,
    /// Bytes of the file.
    pub(crate) stored: u64,
    /// Modification time of the file, nanoseconds since the epoch. `None` before the file was
    /// synced, because a crash of the machine may change the time.
    pub(crate) mtime: Option<i64>,
    /// Inode of the file.
    pub(crate) ino: u64,
    /// Fingerprint of the first bytes of the lines.
    pub(crate) head: Fingerprint,
    /// The path of the file.
    #[serde(skip)]
    pub(crate) path: PathBuf,
}

impl Segment {
    /// Returns the number of the segment.
    pub(crate) const fn seq(&self) -> u64 {
        self.name.seq
    }

    /// Returns whether a file is still the unaltered file of this segment, as far as its metadata
    /// tell.
    pub(crate) fn is_unaltered(&self, meta: &Metadata) -> bool {
        meta.is_file() && meta.size() == self.stored && self.mtime.is_none_or(|mtime| mtime == mtime_of(meta))
    }

    /// Returns whether the file of this segment exists and is unaltered.
    pub(crate) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|meta| self.is_unaltered(&meta))
    }

    /// Returns the time from which the age of the segment counts, microseconds since the epoch: that
    /// of its newest line or of the last change of its file, whichever is later. So a wrong clock
    /// must be wrong twice to make a segment old.
    pub(crate) fn age_from(&self) -> i64 {
        let of_file = || fs::symlink_metadata(&self.path).ok().map(|meta| mtime_of(&meta));
        let modified = self.mtime.or_else(of_file).map_or(i64::MIN, |nanoseconds| nanoseconds / 1000);
        self.newest.max(modified)
    }

    /// Returns whether the lines were counted.
    pub(crate) const fn is_counted(&self) -> bool {
        self.count.is_some() && self.foreign.is_some()
    }

    const fn end(&self) -> u64 {
        self.base + self.len
    }
}

/// The time of a first line that has none. Such a segment may hold any time.
pub(crate) const UNKNOWN_TIME: i64 = i64::MIN;

/// Returns the modification time of a file, nanoseconds since the epoch.
pub(crate) fn mtime_of(meta: &Metadata) -> i64 {
    meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec())
}

/// The list of all segments of a log, oldest first, with growing cursors. The writer changes the
/// published list in place, or a copy while a reader holds it. So the cost of a change does not grow
/// with the number of segments.
#[derive(Debug, Default, Clone)]
pub(crate) struct SegmentList {
    items: Vec<Arc<Segment>>,
    /// The end of each segment, as an offset from the first byte of the first segment.
    ends: Vec<u64>,
    stored: u64,
    count: u64,
    foreign: u64,
    /// Number of segments whose lines are not counted yet.
    uncounted: usize,
}

impl SegmentList {
    pub(crate) fn new(items: Vec<Arc<Segment>>) -> Self {
        let mut this = Self { ends: Vec::with_capacity(items.len()), ..Self::default() };
        items.into_iter().for_each(|segment| this.push(segment));
        this
    }

    /// Adds the newest segment.
    pub(crate) fn push(&mut self, segment: Arc<Segment>) {
        self.ends.push(self.len() + segment.len);
        self.add(&segment);
        self.items.push(segment);
    }

    /// Replaces the segment of the same number by the same lines in another file. Returns false when
    /// there is none.
    pub(crate) fn replace(&mut self, new: Arc<Segment>) -> bool {
        let Ok(index) = self.items.binary_search_by_key(&new.seq(), |segment| segment.seq()) else {
            return false;
        };
        self.add(&new);
        if let Some(place) = self.items.get_mut(index) {
            let old = std::mem::replace(place, new);
            self.subtract(&old);
        }
        true
    }

    /// Removes and returns the `count` oldest segments.
    pub(crate) fn remove_oldest(&mut self, count: usize) -> Vec<Arc<Segment>> {
        let old: Vec<_> = self.items.drain(..count.min(self.items.len())).collect();
        let len: u64 = old.iter().map(|segment| segment.len).sum();
        self.ends.drain(..old.len());
        self.ends.iter_mut().for_each(|end| *end -= len);
        old.iter().for_each(|segment| self.subtract(segment));
        old
    }

    fn add(&mut self, segment: &Segment) {
        self.stored += segment.stored;
        self.count += segment.count.unwrap_or_default();
        self.foreign += segment.foreign.unwrap_or_default();
        self.uncounted += usize::from(!segment.is_counted());
    }

    fn subtract(&mut self, segment: &Segment) {
        self.stored -= segment.stored;
        self.count -= segment.count.unwrap_or_default();
        self.foreign -= segment.foreign.unwrap_or_default();
        self.uncounted -= usize::from(!segment.is_counted());
    }

    /// Returns the segments.
    pub(crate) fn items(&self) -> &[Arc<Segment>] {
        &self.items
    }

    /// Returns the bytes of all lines.
    pub(crate) fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or_default()
    }

    /// Returns the bytes of all files.
    pub(crate) const fn stored(&self) -> u64 {
        self.stored
    }

    /// Returns the number of lines. It is a lower bound while [`Self::is_uncounted`] is true.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Returns the number of lines that do not begin like a record. It is a lower bound while
    /// [`Self::is_uncounted`] is true.
    pub(crate) const fn foreign(&self) -> u64 {
        self.foreign
    }

    /// Returns whether the lines of a segment are not counted yet.
    pub(crate) const fn is_uncounted(&self) -> bool {
        self.uncounted > 0
    }

    /// Returns the segment that holds the byte at `offset`, and the offset within it. `None`:
    /// `offset` is not before the end.
    pub(crate) fn locate(&self, offset: u64) -> Option<(&Arc<Segment>, u64)> {
        let index = self.ends.partition_point(|end| *end <= offset);
        let segment = self.items.get(index)?;
        Some((segment, offset - (self.ends[index] - segment.len)))
    }

    /// Returns the cursor of an offset. `None`: the offset is not before the end.
    pub(crate) fn cursor_at(&self, offset: u64) -> Option<Cursor> {
        let (segment, inside) = self.locate(offset)?;
        Some(Cursor { epoch: segment.epoch, position: segment.base + inside })
    }

    /// Returns the offset of the byte that a cursor names. `None`: no segment holds it.
    pub(crate) fn offset_of(&self, cursor: Cursor) -> Option<u64> {
        let place = |segment: &Segment| (segment.epoch, segment.base);
        let after = self.items.partition_point(|segment| place(segment) <= cursor.order());
        let segment = self.items.get(after.checked_sub(1)?)?;
        let inside = segment.epoch == cursor.epoch && cursor.position < segment.end();
        inside.then(|| self.ends[after - 1] - (segment.end() - cursor.position))
    }

    /// Returns the segment of this number.
    pub(crate) fn by_seq(&self, seq: u64) -> Option<&Arc<Segment>> {
        let index = self.items.binary_search_by_key(&seq, |segment| segment.seq()).ok()?;
        self.items.get(index)
    }
}

/// Returns a segment without a file.
#[cfg(test)]
pub(crate) fn segment_without_file(seq: u64, len: u64) -> Segment {
    Segment {
        name: SegmentName::new(Timestamp::UNIX_EPOCH, seq),
        coding: Coding::Plain,
        epoch: 0,
        base: 0,
        len,
        count: Some(1),
        foreign: Some(0),
        oldest: None,
        newest: 0,
        stored: len,
        mtime: None,
        ino: 0,
        head: Fingerprint::default(),
        path: PathBuf::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn beside(other: &str) -> Option<SiblingFile> {
        SiblingFile::of("a.log".as_ref(), other.as_ref())
    }

    #[test]
    fn file_name_identifies_a_segment() {
        let name = SegmentName::new(Timestamp::from_second(1_795_410_149).unwrap(), 12);
        let home = Path::new("/var/log/a.log");
        let shown = |path: PathBuf| path.to_string_lossy().into_owned();
        assert_eq!(shown(name.path(home, Coding::Plain)), "/var/log/a.log.20261123T050229Z-12");
        assert_eq!(shown(name.path(home, Coding::Zstd)), "/var/log/a.log.20261123T050229Z-12.zst");
        assert_eq!(shown(name.unfinished(home, Coding::Gzip)), "/var/log/a.log.20261123T050229Z-12.gz.tmp");
        for coding in Coding::ALL {
            let path = name.path(home, coding);
            let other = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(beside(other), Some(SiblingFile::Segment(name.clone(), coding)));
            assert_eq!(beside(&format!("{other}.tmp")), Some(SiblingFile::Unfinished));
        }
        for other in [
            "a.log",
            "a.log.tmp",
            "a.log.torn",
            "a.log.1",
            "a.log2.20261123T050229Z-12",
            "b.log.20261123T050229Z-12",
            "a.log.20261123T050229Z-",
            "a.log.20261123T050229Z-012",
            "a.log.20261123T050229Z-1.xz",
            "a.log.20261123T050229Z-1.zst.gz",
            "a.log.2026T05Z-1",
            "a.log.20261123T050229Z-99999999999999999999999",
        ] {
            assert_eq!(beside(other), None, "{other}");
        }
    }

    fn segments(lens: &[u64]) -> SegmentList {
        let mut base = 5;
        let items = lens.iter().enumerate().map(|(index, len)| {
            // Every third segment begins a new epoch, after a gap.
            if index % 3 == 2 {
                base += 10;
            }
            let epoch = (index as u32 + 1) / 3;
            let segment = Segment { epoch, base, ..segment_without_file(index as u64 * 2, *len) };
            base += len;
            Arc::new(segment)
        });
        SegmentList::new(items.collect())
    }

    proptest! {
        #[test]
        fn each_offset_has_one_cursor(lens in proptest::collection::vec(1_u64..20, 0..12)) {
            let segments = segments(&lens);
            let mut last = None;
            for offset in 0..segments.len() {
                let cursor = segments.cursor_at(offset);
                prop_assert!(cursor.map(Cursor::order) > last.map(Cursor::order), "cursors grow");
                prop_assert_eq!(segments.offset_of(cursor.unwrap()), Some(offset));
                last = cursor;
            }
            prop_assert_eq!(segments.cursor_at(segments.len()), None);
            prop_assert_eq!(segments.len(), lens.iter().sum::<u64>());
            for (index, segment) in segments.items().iter().enumerate() {
                prop_assert_eq!(segments.by_seq(index as u64 * 2), Some(segment));
                prop_assert_eq!(segments.by_seq(index as u64 * 2 + 1), None);
            }
        }

        #[test]
        fn changed_list_equals_a_new_one(lens in proptest::collection::vec(1_u64..20, 1..12), old in 0_usize..14, replaced in 0_u64..30) {
            let mut changed = segments(&lens);
            let mut items = changed.items().to_vec();
            let removed = changed.remove_oldest(old);
            prop_assert_eq!(&removed, &items.drain(..old.min(items.len())).collect::<Vec<_>>());
            if let Some(place) = items.iter_mut().find(|segment| segment.seq() == replaced) {
                let new = Arc::new(Segment { stored: 1, count: None, ..Segment::clone(place) });
                prop_assert!(changed.replace(Arc::clone(&new)));
                *place = new;
            } else {
                prop_assert!(!changed.replace(Arc::new(segment_without_file(replaced, 1))));
            }
            let last = Arc::new(segment_without_file(100, 7));
            changed.push(Arc::clone(&last));
            items.push(last);
            let new = SegmentList::new(items);
            prop_assert_eq!(format!("{:?}", changed), format!("{:?}", new));
        }

        #[test]
        fn position_between_segments_has_no_offset(lens in proptest::collection::vec(1_u64..20, 0..12), epoch in 0_u32..5, position in 0_u64..200) {
            let segments = segments(&lens);
            let cursor = Cursor { epoch, position };
            if let Some(offset) = segments.offset_of(cursor) {
                prop_assert_eq!(segments.cursor_at(offset), Some(cursor));
            }
        }
    }
}
