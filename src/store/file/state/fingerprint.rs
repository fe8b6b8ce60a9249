//! The file at the log's path: opened or created with everything above it, a regular file, and ours alone.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use data_encoding::HEXLOWER;
use nix::fcntl::OFlag;
use sha2::{Digest, Sha256};

use super::recovery::sync_folder;

/// Opens the file for appending, or creates it; new directory entries are synced.
///
/// Two writers of one file would cut off each other's lines, so the file is locked (flock(2)) until it is closed.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // A FIFO without a reader would block the open for ever.
    options.read(true).append(true).mode(0o640).custom_flags(OFlag::O_NONBLOCK.bits());
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_folders(path)?;
            let file = options.create(true).open(path)?;
            sync_folder(path)?;
            file
        }
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    lock(&file)?;
    Ok(file)
}

/// Locks a file until it is closed.
pub(crate) fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let message = "another process writes this file; give each log a file of its own";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, message))
        }
        // A file system without locks is no reason not to log.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

fn create_folders(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    if folder.is_dir() {
        return Ok(());
    }
    create_folders(folder)?;
    match DirBuilder::new().mode(0o750).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(folder),
    }
}

/// An error that says which file it is about.
pub(crate) fn at_path(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// How much of a file's beginning its fingerprint covers: the time and sequence number of its first line are in it.
const HEAD: u64 = 256;

/// What tells a file from another one in the same place, under the same inode number: its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Fingerprint {
    len: u64,
    hash: String,
}

impl Fingerprint {
    /// Of a file of `len` bytes.
    pub(crate) fn of(file: &File, len: u64) -> io::Result<Self> {
        let mut head = vec![0; len.min(HEAD) as usize];
        file.read_exact_at(&mut head, 0)?;
        Ok(Self::of_bytes(&head))
    }

    /// Of a file, or of what is in it, that begins with these bytes and ends with them or is longer than all that
    /// matters.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let head = &bytes[..bytes.len().min(HEAD as usize)];
        Self { len: head.len() as u64, hash: HEXLOWER.encode(&Sha256::digest(head)[..16]) }
    }

    /// Whether something begins as the file of this fingerprint did.
    pub(crate) fn is_of(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.len as usize).is_some_and(|head| Self::of_bytes(head) == *self)
    }

    /// The one that takes most room when it is written down.
    #[cfg(test)]
    pub(crate) fn largest() -> Self {
        Self::of_bytes(&[0; HEAD as usize])
    }

    /// No byte was seen of the file yet: nothing can be told by it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a file of `len` bytes begins as the file of this fingerprint did. An empty file is continued by an
    /// empty file only.
    pub(crate) fn continues_in(&self, file: &File, len: u64) -> bool {
        if self.is_empty() {
            return len == 0;
        }
        len >= self.len && Self::of(file, self.len).is_ok_and(|found| found == *self)
    }
}
