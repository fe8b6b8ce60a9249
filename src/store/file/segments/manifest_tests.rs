//! Tests of the manifest: changes, crashes, compaction, and the format of an earlier version.

use proptest::prelude::*;

use super::*;
use crate::store::file::segments::segment::segment_without_file;

const HOME: &str = "/log/a.log";

fn segment(seq: u64) -> Segment {
    Segment { oldest: Some(seq as i64), ..segment_without_file(seq, 10) }
}

/// Returns the numbers of the segments in the file, and the number of the next one.
fn read(manifest: &mut Manifest) -> Option<(Vec<(u64, u64)>, u64)> {
    let entries = manifest.read(Path::new(HOME))?;
    let segments = entries.segments.iter().map(|segment| (segment.seq(), segment.stored));
    Some((segments.collect(), entries.next))
}

fn manifest(dir: &tempfile::TempDir) -> Manifest {
    Manifest::beside(&dir.path().join("a.state"), "identity")
}

#[test]
fn manifest_of_an_earlier_version_is_read_and_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut old = serde_json::to_value(segment(3)).unwrap();
    old.as_object_mut().unwrap().remove("oldest");
    let list = serde_json::json!({"identity": "identity", "file": HOME, "next": 4, "segments": [old]});
    std::fs::write(dir.path().join("a.segments"), list.to_string()).unwrap();
    let mut manifest = manifest(&dir);
    let entries = manifest.read(Path::new(HOME)).unwrap();
    assert_eq!((entries.next, entries.segments.len(), entries.segments[0].oldest), (4, 1, None));
    assert!(!manifest.append(&[Change::Add(segment(4))]).unwrap(), "it has no line end");
    manifest.write(Path::new(HOME), 5, &[Arc::new(segment(4))]).unwrap();
    assert!(manifest.append(&[Change::Add(segment(5))]).unwrap());
    assert_eq!(read(&mut manifest), Some((vec![(4, 10), (5, 10)], 6)));
    assert_eq!(manifest.read(Path::new("/log/other.log")).map(|entries| entries.next), None);
}

#[test]
fn symbolic_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("precious");
    std::fs::write(&target, "content").unwrap();
    for name in ["a.segments", "a.segments.tmp"] {
        let mut manifest = manifest(&dir);
        std::os::unix::fs::symlink(&target, dir.path().join(name)).unwrap();
        assert_eq!(read(&mut manifest), None);
        manifest.write(Path::new(HOME), 1, &[]).unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "content");
        assert!(fs::symlink_metadata(dir.path().join("a.segments")).unwrap().is_file());
        fs::remove_file(dir.path().join("a.segments")).unwrap();
    }
}

#[test]
fn file_that_another_program_changed_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.segments");
    let mut manifest = manifest(&dir);
    for change in [0, 1, 2] {
        manifest.write(Path::new(HOME), 1, &[]).unwrap();
        match change {
            0 => fs::remove_file(&path).unwrap(),
            1 => fs::write(&path, "x").unwrap(),
            _ => fs::rename(&path, dir.path().join("away")).unwrap(),
        }
        assert!(!manifest.append(&[Change::Drop(1)]).unwrap(), "{change}");
    }
}

#[test]
fn compaction_keeps_the_changes_made_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    for rewritten in [false, true] {
        let mut manifest = manifest(&dir);
        manifest.write(Path::new(HOME), 1, &[]).unwrap();
        for seq in 1..=MIN_CHANGES + 1 {
            let list = Arc::default();
            assert!(manifest.compaction(Path::new(HOME), seq, &list).is_none());
            assert!(manifest.append(&[Change::Add(segment(seq)), Change::Drop(seq - 1)]).unwrap());
            if manifest.open.unwrap().changes > MIN_CHANGES {
                break;
            }
        }
        let last = manifest.open.unwrap().changes / 2;
        let list = Arc::new(SegmentList::new(vec![Arc::new(segment(last))]));
        let work = manifest.compaction(Path::new(HOME), last + 1, &list).unwrap();
        work.run().unwrap();
        manifest.append(&[Change::Add(segment(last + 1))]).unwrap();
        if rewritten {
            manifest.write(Path::new(HOME), last + 2, &[Arc::new(segment(last + 1))]).unwrap();
        }
        manifest.finish_compaction(&work).unwrap();
        let mut expected = vec![(last, 10), (last + 1, 10)];
        expected.drain(..usize::from(rewritten));
        assert_eq!(read(&mut manifest), Some((expected, last + 2)), "{rewritten}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no unfinished file is left");
    }
}

proptest! {
    /// After a crash at any byte, the file holds a prefix of the changes.
    #[test]
    fn cut_file_holds_a_prefix_of_the_changes(changes in prop::collection::vec((0_u8..3, 1_u64..9), 0..20), cut in 0_usize..6000) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.segments");
        let mut manifest = manifest(&dir);
        manifest.write(Path::new(HOME), 1, &[]).unwrap();
        let (mut entries, mut states) = (Entries { next: 1, ..Entries::default() }, Vec::new());
        let state = |entries: &Entries, path: &Path| {
            let segments: Vec<_> = entries.segments.iter().map(|one| (one.seq(), one.stored)).collect();
            (fs::metadata(path).unwrap().len(), segments, entries.next)
        };
        states.push(state(&entries, &path));
        for (kind, seq) in changes {
            let change = match kind {
                0 => Change::Add(segment(entries.next)),
                1 => Change::Replace(Segment { stored: seq, ..segment(seq) }),
                _ => Change::Drop(seq),
            };
            prop_assert!(manifest.append(std::slice::from_ref(&change)).unwrap());
            apply(&mut entries, change);
            states.push(state(&entries, &path));
        }
        let text = fs::read(&path).unwrap();
        let cut = cut.clamp(states[0].0 as usize, text.len());
        fs::write(&path, &text[..cut]).unwrap();
        let (_, segments, next) = states.iter().rev().find(|state| state.0 <= cut as u64).unwrap();
        prop_assert_eq!(read(&mut manifest), Some((segments.clone(), *next)));
        // The next change follows the last whole one.
        prop_assert!(manifest.append(&[Change::Add(segment(100))]).unwrap());
        let mut expected = segments.clone();
        expected.push((100, 10));
        prop_assert_eq!(read(&mut manifest), Some((expected, 101)));
    }
}
