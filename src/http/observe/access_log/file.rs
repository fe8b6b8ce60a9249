//! The file of the access log: whole lines are appended, and a file that was moved, deleted or cut from outside is begun
//! anew, as the log's own is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// See the module.
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// device and inode
    identity: (u64, u64),
    /// its length after our last write
    len: u64,
}

impl LineFile {
    /// Nothing is opened before the first line.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines, and takes from `lines` what is in the file: all of it, or, with an error, whole lines again.
    pub(crate) fn append(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        let mut open = self.current()?;
        let outcome = open.append(lines);
        // after a failure, everything is looked at anew
        if outcome.is_ok() {
            self.open = Some(open);
        }
        outcome
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// The file that the path leads to now.
    fn current(&mut self) -> io::Result<Open> {
        if let Some(open) = self.open.take() {
            match std::fs::metadata(&self.path) {
                Ok(found) if (found.dev(), found.ino()) == open.identity => return Ok(open),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Open::at(&self.path)
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        // A FIFO without a reader would block the open for ever.
        options.read(true).append(true).create(true).mode(0o640).custom_flags(OFlag::O_NONBLOCK.bits());
        let file = options.open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        // Logs lock their files for as long as they write them: an access log is never one of them.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            let message = "this is the file of a log; give that log another file";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
        }
        // not ours yet, so that the last byte is looked at
        Ok(Self { file, identity: (meta.dev(), meta.ino()), len: u64::MAX })
    }

    fn append(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        if len != self.len && len > 0 {
            let mut last = [0];
            self.file.read_exact_at(&mut last, len - 1)?;
            if last != *b"\n" {
                // Somebody cut the file in a line, or a crash did: what follows is a line of its own.
                self.file.write_all(b"\n")?;
            }
        }
        let mut written = 0;
        let outcome = loop {
            let Some(rest) = lines.get(written..).filter(|rest| !rest.is_empty()) else { break Ok(()) };
            match self.file.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let whole = memchr::memrchr(b'\n', &lines[..written]).map_or(0, |at| at + 1);
        if whole < written {
            self.take_back(&lines[whole..written]);
        }
        lines.drain(..whole);
        self.len = self.file.metadata()?.len();
        outcome
    }

    /// Cuts off the part of a line that was written, unless somebody has changed the file in the meantime; then the
    /// next line begins after a line end.
    fn take_back(&self, part: &[u8]) {
        let Ok(len) = self.file.metadata().map(|meta| meta.len()) else { return };
        let Some(start) = len.checked_sub(part.len() as u64) else { return };
        let mut found = vec![0; part.len()];
        if self.file.read_exact_at(&mut found, start).is_ok() && found == part {
            // A disk that refuses even this leaves the part there, and the next line begins on its own.
            self.file.set_len(start).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn append(file: &mut LineFile, text: &str) {
        let mut lines = text.as_bytes().to_vec();
        file.append(&mut lines).unwrap();
        assert!(lines.is_empty());
    }

    #[test]
    fn moved_deleted_and_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.access.log");
        let mut file = LineFile::new(path.clone());
        append(&mut file, "one\n");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777 & !0o640, 0);
        fs::rename(&path, dir.path().join("old")).unwrap();
        append(&mut file, "two\n");
        assert_eq!(fs::read(&path).unwrap(), b"two\n");
        assert_eq!(fs::read(dir.path().join("old")).unwrap(), b"one\n");
        fs::remove_file(&path).unwrap();
        append(&mut file, "three\n");
        assert_eq!(fs::read(&path).unwrap(), b"three\n");
        fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        append(&mut file, "four\n");
        assert_eq!(fs::read(&path).unwrap(), b"four\n");
        fs::File::options().write(true).open(&path).unwrap().set_len(2).unwrap();
        append(&mut file, "five\n");
        assert_eq!(fs::read(&path).unwrap(), b"fo\nfive\n");
        file.close();
        fs::write(&path, "torn").unwrap();
        append(&mut LineFile::new(path.clone()), "six\n");
        assert_eq!(fs::read(&path).unwrap(), b"torn\nsix\n");
    }

    #[test]
    fn never_the_file_of_a_log_nor_anything_but_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.access.log");
        let log = File::create(&path).unwrap();
        log.try_lock().unwrap();
        let mut file = LineFile::new(path);
        let mut lines = b"line\n".to_vec();
        assert_eq!(file.append(&mut lines).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(lines, b"line\n");
        drop(log);
        file.append(&mut lines).unwrap();
        let mut folder = LineFile::new(dir.path().to_owned());
        assert!(folder.append(&mut b"line\n".to_vec()).is_err());
    }
}
