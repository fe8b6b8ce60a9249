//! Names the files in the state directory and replaces them atomically.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::config::LogName;

/// Returns the path `STATE_DIR/NAME.SUFFIX`, where NAME is [`LogName::file_stem`].
#[must_use]
pub fn state_file(state_dir: &Path, log: &LogName, suffix: &str) -> PathBuf {
    state_dir.join(format!("{}.{suffix}", log.file_stem()))
}

/// Replaces the file atomically and durably. After a crash, either the old or the new file is
/// there. Blocks.
///
/// # Errors
/// Returns the error of the file system. The old file is then unchanged.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let mut options = OpenOptions::new();
    // A symbolic link could name a file of another program.
    options.write(true).create(true).truncate(true).custom_flags(OFlag::O_NOFOLLOW.bits());
    let mut file = match options.open(&temporary) {
        // Another program removed the state directory.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            options.open(&temporary)?
        }
        other => other?,
    };
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    sync_directory(path)
}

/// Removes the file durably. A missing file is no error. Blocks.
///
/// # Errors
/// Returns the error of the file system.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_directory(path),
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Renames an unusable file to `FILE.broken`, where the operator can look at it, and logs a
/// warning.
pub(super) fn move_aside(path: &Path, reason: &dyn std::fmt::Display) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".broken");
    let aside = PathBuf::from(aside);
    let (from, to) = (path.display(), aside.display());
    match fs::rename(path, &aside) {
        Ok(()) => {
            crate::event!(warn, STATE_FILE_BROKEN; "{from} cannot be used ({reason}), moved to {to}");
        }
        Err(error) => {
            crate::event!(warn, STATE_FILE_BROKEN; "{from} cannot be used ({reason}), nor moved ({error})");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_name_is_escaped_in_the_path() {
        let name = |text: &str| {
            let file = state_file(Path::new("/s"), &text.parse().unwrap(), "blocked.json");
            file.to_str().unwrap().to_owned()
        };
        assert_eq!(name("sample1"), "/s/sample1.blocked.json");
        assert_eq!(name("über log"), "/s/über log.blocked.json");
        assert_eq!(name("100%"), "/s/100%25.blocked.json");
    }

    #[test]
    fn replaces_and_removes_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        replace(&path, b"1").unwrap();
        replace(&path, b"22").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"22");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
        replace(&dir.path().join("missing/a"), b"1").unwrap();
        assert_eq!(fs::read(dir.path().join("missing/a")).unwrap(), b"1", "the directory is made again");
        assert!(replace(&dir.path().join("missing/a/b"), b"").is_err(), "the directory is a file");
    }

    #[test]
    fn symbolic_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, target) = (dir.path().join("a.json"), dir.path().join("precious"));
        fs::write(&target, "content").unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join("a.json.tmp")).unwrap();
        assert!(replace(&path, b"1").is_err());
        fs::remove_file(dir.path().join("a.json.tmp")).unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        replace(&path, b"1").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "content");
        assert!(fs::symlink_metadata(&path).unwrap().is_file(), "the link is replaced");
    }
}
