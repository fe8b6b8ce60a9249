//! Changes files and folders so that the change survives a crash of the machine.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2};

/// Opens the file for appending, or creates it with its folders, and syncs new directory entries.
///
/// The file is locked (flock(2)) until it is closed, because two writers would cut off each other's
/// lines.
///
/// # Errors
/// Fails also when the path is not a regular file, or another process holds the lock.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // Without O_NONBLOCK, opening a FIFO without a reader would block.
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
        // The service also runs on a file system without locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Creates the missing folders of `path`, and syncs their directory entries.
pub(crate) fn create_folders(path: &Path) -> io::Result<()> {
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

/// Opens no file through a symbolic link at the end of the path. Such a link could name a file of
/// another program.
pub(crate) fn no_follow(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(OFlag::O_NOFOLLOW.bits())
}

/// Opens a file for reading, but not through a symbolic link.
pub(crate) fn open_no_follow(path: &Path) -> io::Result<File> {
    no_follow(OpenOptions::new().read(true)).open(path).map_err(not_a_link)
}

/// Says what is wrong when [`no_follow`] refused a path.
pub(crate) fn not_a_link(error: io::Error) -> io::Error {
    if is_link(&error) {
        let message = "it is a symbolic link, which is not followed here; remove it";
        return io::Error::new(io::ErrorKind::InvalidInput, message);
    }
    error
}

/// Returns whether [`no_follow`] refused a symbolic link.
pub(crate) fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ELOOP as i32)
}

/// Adds the path to the message of an error.
pub(crate) fn at_path(error: &io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Syncs the folder of `path`, which makes a new directory entry durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Renames a file. Fails if `to` exists.
pub(crate) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // Some file systems lack RENAME_NOREPLACE. A plain rename is safe there, because no other
        // program creates these names.
        Err(Errno::EINVAL | Errno::ENOSYS) if fs::symlink_metadata(to).is_err() => fs::rename(from, to),
        Err(Errno::EINVAL | Errno::ENOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
        other => Ok(other?),
    }
}

/// Returns whether the disk, or a quota, has no space left.
pub(crate) fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
