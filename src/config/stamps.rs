//! Compares the metadata of files, to notice changes that inotify(7) does not report.
//!
//! inotify watches directories, and reports only what happens through the watched directory on this
//! machine. It reports nothing when a single file is mounted over another one (as containers do) and
//! is written through its own path, and nothing when another machine changes a network file system.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The metadata that every kind of write changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also changes with the owner and the mode, which may make a file readable.
    changed: (i64, i64),
}

impl Stamp {
    /// Reads the stamp of the file at `path`, or of the target of its symbolic links. Returns `None`
    /// if there is no file that this process can reach.
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        Some(Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

/// The stamps of some files at one moment. `None` stands for a file that does not exist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Stamps(BTreeMap<PathBuf, Option<Stamp>>);

impl Stamps {
    /// Reads the stamps of these files. Blocks, on a network file system perhaps for long.
    pub(super) fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(
            files
                .into_iter()
                .map(|file| (Stamp::of(&file), file))
                .map(|(stamp, file)| (file, stamp))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_change_changes_the_stamps() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let stamps = || Stamps::of([path("a"), path("b")]);
        let mut seen = vec![stamps()];
        let mut note = |what: &str| {
            let now = stamps();
            assert_eq!(now, stamps());
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
            // The time stamps of a file system are coarse.
            std::thread::sleep(std::time::Duration::from_millis(20));
        };
        fs::write(path("a"), "one").unwrap();
        note("created");
        fs::write(path("a"), "two").unwrap();
        note("written in place, with the same size");
        fs::write(path("new"), "two").unwrap();
        fs::rename(path("new"), path("a")).unwrap();
        note("renamed");
        fs::set_permissions(path("a"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        note("another mode");
        fs::rename(path("a"), path("real")).unwrap();
        std::os::unix::fs::symlink("real", path("a")).unwrap();
        note("linked");
        fs::write(path("real"), "six").unwrap();
        note("written through a link");
        fs::remove_file(path("real")).unwrap();
        fs::write(path("b"), "").unwrap();
        note("the target is gone, and the other file is there");
    }
}
