//! Compares the files with a model in memory, over random appends, rotations, compressions,
//! retirements, clears, restarts and changes by other programs: every read and every cursor agrees
//! with the model. The model test of all engines is in `crate::store::model_tests`.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;
use tempfile::TempDir;

use super::log_file::LogFile;
use super::snapshot::{Gone, LogSnapshot};
use crate::config::{Compression, Rotate};
use crate::store::Cursor;

#[derive(Debug, Clone)]
enum Step {
    /// Lengths of the records of one append.
    Append(Vec<usize>),
    Rotate,
    Compress(Compression),
    Retire(usize),
    Clear,
    Reopen {
        cleanly: bool,
    },
    /// The files of the state that are lost.
    Forget {
        manifest: bool,
        state: bool,
    },
    /// A segment, counted from the oldest.
    Remove(usize),
    Alter(usize, Change),
    MoveAway,
    Truncate,
    /// Keeps a snapshot to read it later.
    Keep,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Shortened,
    Lengthened,
    SameLength,
}

fn step() -> impl Strategy<Value = Step> {
    let lens =
        prop::collection::vec(prop_oneof![8 => 1_usize..200, 1 => Just(90_000), 1 => Just(300_000)], 1..5);
    let change = prop_oneof![Just(Change::Shortened), Just(Change::Lengthened), Just(Change::SameLength)];
    let compression = prop_oneof![Just(Compression::Zstd), Just(Compression::Gzip), Just(Compression::None)];
    prop_oneof![
        10 => lens.prop_map(Step::Append),
        8 => Just(Step::Rotate),
        4 => compression.prop_map(Step::Compress),
        2 => (0_usize..3).prop_map(Step::Retire),
        1 => Just(Step::Clear),
        3 => any::<bool>().prop_map(|cleanly| Step::Reopen { cleanly }),
        1 => prop_oneof![Just((true, false)), Just((true, true)), Just((false, true))]
            .prop_map(|(manifest, state)| Step::Forget { manifest, state }),
        1 => (0_usize..6).prop_map(Step::Remove),
        1 => (0_usize..6, change).prop_map(|(place, change)| Step::Alter(place, change)),
        1 => Just(Step::MoveAway),
        1 => Just(Step::Truncate),
        2 => Just(Step::Keep),
    ]
}

/// A record in the log.
#[derive(Debug, Clone)]
struct Record {
    bytes: Vec<u8>,
    before: Cursor,
}

/// A snapshot that a reader holds.
struct Kept {
    snapshot: LogSnapshot,
    content: Vec<u8>,
    /// None of its lines was removed since.
    complete: bool,
}

struct Run {
    dir: TempDir,
    file: Option<LogFile>,
    /// The segments, then the active file.
    parts: Vec<Vec<Record>>,
    /// All cursors returned since the identity was created.
    given: Vec<Cursor>,
    kept: Vec<Kept>,
    records: usize,
    moved: usize,
}

impl Run {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (parts, given, kept) = (vec![Vec::new()], Vec::new(), Vec::new());
        let mut this = Self { dir, file: None, parts, given, kept, records: 0, moved: 0 };
        this.open();
        this
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("log/a.log")
    }

    fn open(&mut self) {
        self.file = Some(LogFile::open(&self.path(), &self.dir.path().join("a.state")).unwrap());
    }

    fn file(&mut self) -> &mut LogFile {
        self.file.as_mut().unwrap()
    }

    fn snapshot(&mut self) -> LogSnapshot {
        self.file().verify_all().unwrap();
        LogSnapshot::take(&self.file().view())
    }

    fn content(&self) -> Vec<u8> {
        self.parts.iter().flatten().flat_map(|record| record.bytes.clone()).collect()
    }

    fn segment_path(&mut self, place: usize) -> Option<PathBuf> {
        self.file().segments.list().items().get(place).map(|segment| segment.path.clone())
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Append(lens) => self.append(&lens),
            Step::Rotate => {
                if self.parts.last().is_some_and(|active| !active.is_empty()) {
                    self.file().verify().unwrap();
                    self.file().rotate().unwrap();
                    self.parts.push(Vec::new());
                }
            }
            Step::Compress(compress) => {
                self.file().set_rules(Some(Rotate { compress, ..Rotate::default() }));
                while let Some(job) = {
                    self.file().plan();
                    self.file().next_job()
                } {
                    let done = job.run(&AtomicBool::new(false));
                    self.file().finish_job(done);
                }
            }
            Step::Retire(count) => {
                let count = count.min(self.parts.len() - 1);
                if count % 2 == 0 {
                    self.file().segments.retire_now(count).unwrap();
                } else {
                    self.file().retire(count);
                    self.file().clean_up();
                }
                self.file().save_segments();
                self.parts.drain(..count);
                self.kept.iter_mut().for_each(|kept| kept.complete &= count == 0);
            }
            Step::Clear => {
                self.file().clear().unwrap();
                self.parts = vec![Vec::new()];
                for Kept { snapshot, content, .. } in std::mem::take(&mut self.kept) {
                    assert!(
                        content.is_empty() || snapshot.read(0..snapshot.len()).is_err(),
                        "read what was cleared"
                    );
                }
            }
            Step::Reopen { cleanly } => {
                if cleanly {
                    self.file().close().unwrap();
                }
                self.reopen();
            }
            Step::Forget { manifest, state } => {
                let (manifest_path, state_path) =
                    (self.dir.path().join("a.segments"), self.dir.path().join("a.state"));
                let rotated = self.parts.len() > 1;
                if manifest {
                    fs::remove_file(manifest_path).ok();
                }
                if state {
                    fs::remove_file(state_path).unwrap();
                }
                self.reopen();
                if state {
                    // The identity is new: the old cursors belong to another log.
                    self.given.clear();
                }
                if state || rotated {
                    self.assign_new_positions();
                }
            }
            Step::Remove(place) => {
                if let Some(path) = self.segment_path(place) {
                    fs::remove_file(path).unwrap();
                    self.parts.remove(place);
                    self.kept.iter_mut().for_each(|kept| kept.complete = false);
                }
            }
            Step::Alter(place, change) => self.alter(place, change),
            Step::MoveAway => {
                self.moved += 1;
                fs::rename(self.path(), self.dir.path().join(format!("moved-{}", self.moved))).unwrap();
                self.lose_active();
            }
            Step::Truncate => {
                if self.parts.last().is_some_and(|active| !active.is_empty()) {
                    fs::OpenOptions::new().write(true).open(self.path()).unwrap().set_len(0).unwrap();
                    self.lose_active();
                }
            }
            Step::Keep => {
                let snapshot = self.snapshot();
                self.kept.push(Kept { snapshot, content: self.content(), complete: true });
            }
        }
    }

    fn append(&mut self, lens: &[usize]) {
        let mut bytes = Vec::new();
        let mut records = Vec::new();
        for len in lens {
            self.records += 1;
            let mut line = format!("record {} ", self.records).into_bytes();
            line.resize((*len).max(line.len()), b'a' + (self.records % 26) as u8);
            line.push(b'\n');
            records.push((bytes.len() as u64, line.clone()));
            bytes.extend(line);
        }
        let placed = self.file().commit(&bytes, lens.len() as u64, false).unwrap();
        let at = |offset| Cursor { epoch: placed.epoch, position: placed.position + offset };
        self.given.push(at(bytes.len() as u64));
        for (offset, bytes) in records {
            self.given.push(at(offset));
            self.parts.last_mut().unwrap().push(Record { bytes, before: at(offset) });
        }
    }

    fn reopen(&mut self) {
        // Readers end with the process.
        self.kept.clear();
        self.file = None;
        self.open();
    }

    /// The lines stay, with new positions.
    fn assign_new_positions(&mut self) {
        let snapshot = self.snapshot();
        let mut offset = 0;
        for record in self.parts.iter_mut().flatten() {
            let before = snapshot.cursor_at(offset);
            record.before = before;
            offset += record.bytes.len() as u64;
        }
        for record in self.parts.iter().flatten() {
            assert!(!self.given.contains(&record.before), "a cursor was given for something else");
            self.given.push(record.before);
        }
    }

    fn alter(&mut self, place: usize, change: Change) {
        let Some(path) = self.segment_path(place) else { return };
        let settled = self.file().segments.list().items()[place].mtime.is_some();
        let mut content = fs::read(&path).unwrap();
        match change {
            Change::Shortened => content.truncate(content.len() / 2),
            Change::Lengthened => content.extend_from_slice(b"another line\n"),
            // The modification time is not reliable before the file was synced.
            Change::SameLength if !settled => return,
            Change::SameLength => content.reverse(),
        }
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        while fs::metadata(&path).unwrap().modified().unwrap() == before {
            fs::write(&path, &content).unwrap();
        }
        self.parts.remove(place);
        self.snapshot();
        // A reader with an open file does not notice that its bytes were overwritten.
        self.kept.clear();
        // Without a manifest the file would be a segment again, of different lines.
        fs::remove_file(path).unwrap();
    }

    fn lose_active(&mut self) {
        self.snapshot();
        self.kept.clear();
        *self.parts.last_mut().unwrap() = Vec::new();
    }

    fn check(&mut self) {
        let snapshot = self.snapshot();
        let content = self.content();
        assert_eq!(snapshot.len(), content.len() as u64);
        assert!(snapshot.read(0..snapshot.len()).unwrap() == content, "the log holds something else");
        let mut expected = std::collections::BTreeMap::new();
        let mut offset = 0_u64;
        let mut last = None;
        for record in self.parts.iter().flatten() {
            expected.insert(record.before.order(), offset);
            assert_eq!(snapshot.cursor_at(offset), record.before);
            assert!(Some(record.before.order()) > last, "cursors grow");
            last = Some(record.before.order());
            let end = offset + record.bytes.len() as u64;
            assert!(snapshot.read(offset..end).unwrap() == record.bytes);
            offset = end;
        }
        expected.insert(snapshot.end().order(), offset);
        assert!(Some(snapshot.end().order()) > last);
        assert_eq!(snapshot.start(), snapshot.cursor_at(0));
        assert_eq!(snapshot.cursor_at(offset), snapshot.end());
        for cursor in &self.given {
            let offset = expected.get(&cursor.order()).copied().ok_or(Gone);
            assert_eq!(snapshot.offset_of(*cursor), offset, "{cursor:?}");
        }
        let seen = snapshot.seen;
        let (segments, counting) = (&seen.segments, seen.counting > 0 || seen.segments.is_uncounted());
        let count = self.parts.iter().flatten().count() as u64;
        assert!(
            counting || segments.count() + seen.count == count,
            "{} of {count}",
            segments.count() + seen.count
        );
        assert_eq!(segments.items().len() + 1, self.parts.len());
        for entry in fs::read_dir(self.dir.path().join("log")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.ends_with(".tmp"), "{name} is left");
        }
        for Kept { snapshot, content, complete } in &self.kept {
            match snapshot.read(0..snapshot.len()) {
                Ok(read) => assert!(read == *content, "a snapshot read other bytes than it was taken of"),
                Err(error) => assert!(!complete, "{error}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 10, max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_read_and_cursor_agrees_with_the_model(steps in prop::collection::vec(step(), 1..40)) {
        let mut run = Run::new();
        for step in steps {
            run.take(step);
            run.check();
        }
    }
}
