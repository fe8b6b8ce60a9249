//! Writes the file of the access log. The writer appends whole lines, and opens the file again when
//! another program has moved or deleted it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// Appends whole lines to a file that other programs may move, delete or truncate.
#[derive(Debug)]
pub(crate) struct LineFile {
    path: PathBuf,
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// Length of the file after the last write of this process.
    len: u64,
}

impl LineFile {
    /// Returns a writer for `path`. It opens the file with the first line.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends whole lines and removes them from `lines`.
    ///
    /// # Errors
    ///
    /// Fails when the file cannot be opened or written. `lines` then keeps each line that was not
    /// written completely.
    pub(crate) fn append(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        let mut open = self.current()?;
        let outcome = open.append(lines);
        // After a failure the next call opens the file again and checks its last byte.
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

    /// Returns the file that the path leads to now.
    fn current(&mut self) -> io::Result<OpenFile> {
        if let Some(open) = self.open.take() {
            match std::fs::metadata(&self.path) {
                Ok(found) if (found.dev(), found.ino()) == open.identity => return Ok(open),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        OpenFile::at(&self.path)
    }
}

impl OpenFile {
    fn at(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        // Without O_NONBLOCK, opening a FIFO that has no reader would block.
        options.read(true).append(true).create(true).mode(0o640).custom_flags(OFlag::O_NONBLOCK.bits());
        let file = options.open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        // A log keeps its file locked. The access log must not use the file of a log.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            let message = "this is the file of a log; give that log another file";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
        }
        // No file has this length, so the first append checks the last byte.
        Ok(Self { file, identity: (meta.dev(), meta.ino()), len: u64::MAX })
    }

    fn append(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        if len != self.len && len > 0 {
            let mut last = [0];
            self.file.read_exact_at(&mut last, len - 1)?;
            if last != *b"\n" {
                // Another program or a crash has cut the last line short. A line end separates it
                // from the next line.
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
            self.remove_partial_line(&lines[whole..written]);
        }
        lines.drain(..whole);
        self.len = self.file.metadata()?.len();
        outcome
    }

    /// Removes the written part of a line. If another program has changed the file since, the part
    /// stays, and the next append begins with a line end.
    fn remove_partial_line(&self, part: &[u8]) {
        let Ok(len) = self.file.metadata().map(|meta| meta.len()) else { return };
        let Some(start) = len.checked_sub(part.len() as u64) else { return };
        let mut found = vec![0; part.len()];
        if self.file.read_exact_at(&mut found, start).is_ok() && found == part {
            // If this fails too, the next append begins with a line end.
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
    fn lines_stay_whole_after_a_move_a_deletion_and_a_truncation() {
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
    fn locked_file_and_folder_are_refused() {
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
