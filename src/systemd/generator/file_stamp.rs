//! Whether the configuration was edited meanwhile.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What the files that a plan is made of were at one moment, as far as one can see without reading them.
///
/// systemd's path units pass over what happens while the service that they start is running. Whoever applies a plan in
/// such a service therefore takes the stamp before the files are read, compares when everything is done, and begins
/// anew when it is another. What comes after that and before systemd watches again is found by another service, which
/// is started then and compares with the stamp that was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp([Option<(u64, u64, [i64; 4])>; 2]);

impl FileStamp {
    /// The stamp of this directory now.
    #[must_use]
    pub fn of(config_dir: &Path) -> Self {
        Self(["log.json", "server.json"].map(|name| {
            let file = fs::metadata(config_dir.join(name)).ok()?;
            // of the times, the second changes with owner and mode too, which decide whether a file can be read
            let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
            Some((file.dev(), file.ino(), times))
        }))
    }

    /// The one that was kept in this directory; `None` when there is none that can be read.
    #[must_use]
    pub fn kept(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.join(FILE)).ok()?).ok()
    }

    /// Keeps it in this directory, which is created when it is missing.
    ///
    /// # Errors
    /// When it cannot be written; none is kept then.
    pub fn keep(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let path = dir.join(FILE);
        let written =
            serde_json::to_vec(self).map_err(io::Error::from).and_then(|text| fs::write(&path, text));
        // an older one would be taken for an edit
        written.inspect_err(|_| drop(fs::remove_file(&path)))
    }
}

const FILE: &str = "edition.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_makes_another() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.json");
        let stamp = || FileStamp::of(dir.path());
        let mut stamps = vec![stamp()];
        // the clock of a file system is a coarse one
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
    fn one_that_is_kept_is_the_same() {
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
