//! Notices lines that another program adds to the active file, while the log has followers.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::log_file::LogFile;

impl LogFile {
    /// Does the work of [`Self::verify`] if another program changed the file.
    ///
    /// Leaves the file alone while its last line has no end, because the other program may still be
    /// writing that line. The next append would set such a line aside.
    pub(crate) fn notice_changes(&mut self) -> io::Result<()> {
        if self.is_undisturbed() || !ends_with_line(self.path())? {
            return Ok(());
        }
        self.verify()
    }
}

/// Returns whether the file at `path` ends with a whole line. An empty file does, and so does one
/// that is absent.
fn ends_with_line(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    let mut last = [b'\n'];
    match file.metadata()?.size().checked_sub(1) {
        Some(at) if file.read_at(&mut last, at)? > 0 => Ok(last == *b"\n"),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    #[test]
    fn half_a_line_of_another_program_is_left_until_it_has_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut file = LogFile::open(&path, &dir.path().join("a.state")).unwrap();
        file.commit(b"ours\n", 1, false).unwrap();
        let mut other = OpenOptions::new().append(true).open(&path).unwrap();
        let published = |file: &LogFile| file.view().lock().len;
        for (text, len) in
            [("whole\n", 11), ("ha", 11), ("lf", 11), ("\n", 16), ("more\nha", 16), ("lf\n", 26)]
        {
            other.write_all(text.as_bytes()).unwrap();
            file.notice_changes().unwrap();
            assert_eq!(published(&file), len, "{text:?}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"ours\nwhole\nhalf\nmore\nhalf\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "nothing was set aside");
    }

    #[test]
    fn file_that_was_moved_truncated_or_removed_is_begun_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let changes: [&dyn Fn() -> io::Result<()>; 3] =
            [&|| std::fs::rename(&path, dir.path().join("moved")), &|| std::fs::write(&path, ""), &|| {
                std::fs::remove_file(&path)
            }];
        for change in changes {
            let mut file = LogFile::open(&path, &dir.path().join("a.state")).unwrap();
            file.commit(b"ours\n", 1, false).unwrap();
            let published = |file: &LogFile| (file.view().get().len, file.view().get().epoch);
            let (_, epoch) = published(&file);
            file.notice_changes().unwrap();
            assert_eq!(published(&file), (5, epoch));
            change().unwrap();
            file.notice_changes().unwrap();
            assert_eq!(published(&file), (0, epoch + 1));
            file.commit(b"after\n", 1, false).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"after\n");
            file.close().unwrap();
            std::fs::remove_file(&path).unwrap();
        }
    }
}
