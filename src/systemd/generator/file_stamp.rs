//! Detects edits of the configuration between two moments.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The identity of the files of a plan at one moment, by their metadata.
///
/// The path units of systemd miss changes while the service that they start is running. So `mocactl
/// apply` takes a stamp before it reads the files, compares it at the end, and starts again if it
/// differs. A file may also change after that comparison and before systemd watches again. So
/// systemd runs another service afterwards, which compares the files with the kept stamp and finds
/// such a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp([Option<(u64, u64, [i64; 4])>; 2]);

impl FileStamp {
    /// Returns the current stamp of the configuration directory.
    #[must_use]
    pub fn of(config_dir: &Path) -> Self {
        Self(["log.json", "server.json"].map(|name| {
            let file = fs::metadata(config_dir.join(name)).ok()?;
            // The change time also covers owner and mode, which decide whether a file is readable.
            let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
            Some((file.dev(), file.ino(), times))
        }))
    }

    /// Reads the stamp that is kept in `dir`; `None` if there is no valid one.
    #[must_use]
    pub fn kept(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.join(FILE)).ok()?).ok()
    }

    /// Writes the stamp to `dir`, which is created if it is missing.
    ///
    /// # Errors
    /// Fails if the stamp cannot be written. Then no stamp is kept.
    pub fn keep(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let path = dir.join(FILE);
        let written =
            serde_json::to_vec(self).map_err(io::Error::from).and_then(|text| fs::write(&path, text));
        // An older stamp would look like an edit.
        written.inspect_err(|_| drop(fs::remove_file(&path)))
    }
}

const FILE: &str = "edition.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_write_changes_the_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.json");
        let stamp = || FileStamp::of(dir.path());
        let mut stamps = vec![stamp()];
        // The time stamps of a file system are coarse.
        let mut note = || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            stamps.push(stamp());
        };
        fs::write(&log, "{}").unwrap();
        note();
        fs::write(&log, "[]").unwrap();
        note();
        fs::write(dir.path().join("new"), "[]").unwrap();
        fs::rename(dir.path().join("new"), &log).unwrap();
        note();
        fs::write(dir.path().join("server.json"), "{}").unwrap();
        note();
        fs::remove_file(&log).unwrap();
        note();
        for (index, one) in stamps.iter().enumerate() {
            assert!(stamps[index + 1..].iter().all(|other| other != one));
        }
        fs::write(dir.path().join("api_key.json"), "[]").unwrap();
        assert_eq!(Some(&stamp()), stamps.last());
    }

    #[test]
    fn kept_stamp_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("new");
        assert_eq!(FileStamp::kept(&place), None);
        fs::write(dir.path().join("log.json"), "{}").unwrap();
        let stamp = FileStamp::of(dir.path());
        stamp.keep(&place).unwrap();
        assert_eq!(FileStamp::kept(&place), Some(stamp.clone()));
        fs::write(place.join(FILE), "[[1, 2").unwrap();
        assert_eq!(FileStamp::kept(&place), None);
        fs::remove_file(place.join(FILE)).unwrap();
        fs::create_dir(place.join(FILE)).unwrap();
        stamp.keep(&place).unwrap_err();
    }
}
