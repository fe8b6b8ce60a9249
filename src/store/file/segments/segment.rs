//! A rotated segment: lines of the log that are only read any more, in a file of their own beside the active one.
//! Its name, what is known of it, and all of them in a row.

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

/// How the bytes of a segment stand in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Coding {
    /// as lines
    Plain,
    /// frames of zstd, readable with `zstdcat`
    Zstd,
    /// members of gzip, readable with `zcat`
    Gzip,
}

impl Coding {
    pub(crate) const ALL: [Self; 3] = [Self::Plain, Self::Zstd, Self::Gzip];

    /// What a setting makes of segments.
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

/// What stands behind `FILE.` in the name of a segment: `YYYYMMDDTHHMMSSZ-SEQ`, when it was rotated, UTC, and its
/// number, which tells the order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Name {
    stamp: String,
    pub(crate) seq: u64,
}

/// Ends the names of files that are not finished.
const UNFINISHED: &str = ".tmp";

impl Name {
    /// For a segment that is made at `now`.
    pub(crate) fn new(now: Timestamp, seq: u64) -> Self {
        Self { stamp: now.strftime("%Y%m%dT%H%M%SZ").to_string(), seq }
    }

    /// Where the segment of the log `home` lies.
    pub(crate) fn path(&self, home: &Path, coding: Coding) -> PathBuf {
        let mut path = home.as_os_str().to_owned();
        path.push(format!(".{}-{}{}", self.stamp, self.seq, coding.suffix()));
        PathBuf::from(path)
    }

    /// Where it lies while it is made.
    pub(crate) fn unfinished(&self, home: &Path, coding: Coding) -> PathBuf {
        let mut path = self.path(home, coding).into_os_string();
        path.push(UNFINISHED);
        PathBuf::from(path)
    }

    /// Reads what follows `FILE.` in a name.
    fn read(text: &str) -> Option<Self> {
        let (stamp, seq) = text.split_once('-')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (date, time) = stamp.strip_suffix('Z')?.split_once('T')?;
        (digits(date) && digits(time) && digits(seq)).then_some(())?;
        let canonical = date.len() == 8 && time.len() == 6 && (seq == "0" || !seq.starts_with('0'));
        canonical.then_some(Self { stamp: stamp.to_owned(), seq: seq.parse().ok()? })
    }
}

/// What a file beside the active one is by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SiblingFile {
    Segment(Name, Coding),
    /// what is left of a rotation or a compression that was interrupted
    Unfinished,
}

impl SiblingFile {
    /// By the names of the active file and of the other; `None` for what is none of ours.
    pub(crate) fn of(active: &OsStr, other: &OsStr) -> Option<Self> {
        let rest = other.as_bytes().strip_prefix(active.as_bytes())?.strip_prefix(b".")?;
        let rest = std::str::from_utf8(rest).ok()?;
        let (rest, unfinished) = rest.strip_suffix(UNFINISHED).map_or((rest, false), |rest| (rest, true));
        let (name, coding) = Coding::ALL.iter().find_map(|coding| {
            let name = rest.strip_suffix(coding.suffix()).and_then(Name::read)?;
            Some((name, *coding))
        })?;
        Some(if unfinished { Self::Unfinished } else { Self::Segment(name, coding) })
    }
}

/// One segment. What is known of it never changes; another coding is another value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) name: Name,
    pub(crate) coding: Coding,
    /// incarnation of the file that it was
    pub(crate) epoch: u32,
    /// position of its first byte
    pub(crate) base: u64,
    /// bytes of its lines
    pub(crate) len: u64,
    /// its lines; `None` = not counted yet
    pub(crate) count: Option<u64>,
    /// time of its newest line, microseconds since the epoch
    pub(crate) newest: i64,
    /// bytes of its file
    pub(crate) stored: u64,
    /// when its file was changed last, nanoseconds since the epoch; `None` before the file was synced: a crash of
    /// the machine may change that time
    pub(crate) mtime: Option<i64>,
    pub(crate) ino: u64,
    /// how its lines begin
    pub(crate) head: Fingerprint,
    #[serde(skip)]
    pub(crate) path: PathBuf,
}

impl Segment {
    pub(crate) const fn seq(&self) -> u64 {
        self.name.seq
    }

    /// Whether a file is the one of this segment still, as far as this can be told without reading it.
    pub(crate) fn is_unaltered(&self, meta: &Metadata) -> bool {
        meta.is_file() && meta.size() == self.stored && self.mtime.is_none_or(|mtime| mtime == mtime_of(meta))
    }

    /// As [`Self::is_unaltered`], of the file that has its name now.
    pub(crate) fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|meta| self.is_unaltered(&meta))
    }

    const fn end(&self) -> u64 {
        self.base + self.len
    }
}

/// When a file was changed last, nanoseconds since the epoch.
pub(crate) fn mtime_of(meta: &Metadata) -> i64 {
    meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec())
}

/// All segments of a log, oldest first. Their cursors grow.
#[derive(Debug, Default)]
pub(crate) struct SegmentList {
    items: Vec<Arc<Segment>>,
    /// where each ends, as an offset from the first byte of the first one
    ends: Vec<u64>,
    stored: u64,
    count: u64,
    uncounted: bool,
}

impl SegmentList {
    pub(crate) fn new(items: Vec<Arc<Segment>>) -> Self {
        let mut this = Self { ends: Vec::with_capacity(items.len()), ..Self::default() };
        let mut len = 0;
        for segment in &items {
            len += segment.len;
            this.ends.push(len);
            this.stored += segment.stored;
            this.count += segment.count.unwrap_or_default();
            this.uncounted |= segment.count.is_none();
        }
        this.items = items;
        this
    }

    pub(crate) fn items(&self) -> &[Arc<Segment>] {
        &self.items
    }

    /// Bytes of all lines.
    pub(crate) fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or_default()
    }

    /// Bytes of all files.
    pub(crate) const fn stored(&self) -> u64 {
        self.stored
    }

    /// Lines; a lower bound while [`Self::is_uncounted`].
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Not all were counted yet.
    pub(crate) const fn is_uncounted(&self) -> bool {
        self.uncounted
    }

    /// Which segment has the byte at an offset, and where in it; `None` at and after the end.
    pub(crate) fn locate(&self, offset: u64) -> Option<(&Arc<Segment>, u64)> {
        let index = self.ends.partition_point(|end| *end <= offset);
        let segment = self.items.get(index)?;
        Some((segment, offset - (self.ends[index] - segment.len)))
    }

    /// The name of an offset in a segment; `None` at and after the end.
    pub(crate) fn cursor_at(&self, offset: u64) -> Option<Cursor> {
        let (segment, inside) = self.locate(offset)?;
        Some(Cursor { epoch: segment.epoch, position: segment.base + inside })
    }

    /// The offset of the byte that a cursor names; `None` when it is in no segment.
    pub(crate) fn offset_of(&self, cursor: Cursor) -> Option<u64> {
        let place = |segment: &Segment| (segment.epoch, segment.base);
        let after = self.items.partition_point(|segment| place(segment) <= (cursor.epoch, cursor.position));
        let segment = self.items.get(after.checked_sub(1)?)?;
        let inside = segment.epoch == cursor.epoch && cursor.position < segment.end();
        inside.then(|| self.ends[after - 1] - (segment.end() - cursor.position))
    }

    pub(crate) fn by_seq(&self, seq: u64) -> Option<&Arc<Segment>> {
        let index = self.items.binary_search_by_key(&seq, |segment| segment.seq()).ok()?;
        self.items.get(index)
    }
}

/// A segment without a file.
#[cfg(test)]
pub(crate) fn testing(seq: u64, len: u64) -> Segment {
    Segment {
        name: Name::new(Timestamp::UNIX_EPOCH, seq),
        coding: Coding::Plain,
        epoch: 0,
        base: 0,
        len,
        count: Some(1),
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
    fn names() {
        let name = Name::new(Timestamp::from_second(1_795_410_149).unwrap(), 12);
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
            // Every third one begins a new epoch, after a gap.
            if index % 3 == 2 {
                base += 10;
            }
            let epoch = (index as u32 + 1) / 3;
            let segment = Segment { epoch, base, ..testing(index as u64 * 2, *len) };
            base += len;
            Arc::new(segment)
        });
        SegmentList::new(items.collect())
    }

    proptest! {
        #[test]
        fn each_offset_has_one_name(lens in proptest::collection::vec(1_u64..20, 0..12)) {
            let segments = segments(&lens);
            let mut last = None;
            for offset in 0..segments.len() {
                let cursor = segments.cursor_at(offset);
                prop_assert!(cursor > last, "they grow");
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
        fn a_position_between_them_is_none(lens in proptest::collection::vec(1_u64..20, 0..12), epoch in 0_u32..5, position in 0_u64..200) {
            let segments = segments(&lens);
            let cursor = Cursor { epoch, position };
            if let Some(offset) = segments.offset_of(cursor) {
                prop_assert_eq!(segments.cursor_at(offset), Some(cursor));
            }
        }
    }
}
