//! Binds the admin socket of a server that systemd passed no sockets to, so that `mocactl` also works
//! in a terminal and in a container.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use moca_file_log::config::LogName;
use moca_file_log::exit::Exit;
use moca_file_log::systemd::generator::admin_socket_file;
use tokio::net::UnixListener;

use crate::failure::StartError;

/// The mode of the socket: the user and the group of the server. The server also checks the
/// credentials of each peer.
const SOCKET_MODE: u32 = 0o660;

/// The mode of a new directory for sockets.
const RUN_DIR_MODE: u32 = 0o755;

/// The file of an admin socket that this process bound. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct AdminSocketFile {
    path: PathBuf,
    /// Device and inode. Another process may have replaced the file since.
    identity: (u64, u64),
}

impl AdminSocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AdminSocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| (file.dev(), file.ino()) == self.identity) {
            // A file that remains is stale, and the next start replaces it.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Binds the admin socket of the log in `run_dir`, which is created if it is missing. Returns `None`,
/// and warns, if the system does not allow it. Then the log is served without `mocactl`.
///
/// # Errors
/// Fails if another process listens on this socket, and if the path belongs to another kind of file.
pub(crate) fn bind(
    run_dir: &Path,
    name: &LogName,
) -> Result<Option<(UnixListener, AdminSocketFile)>, StartError> {
    let path = run_dir.join(admin_socket_file(name));
    let free = create(run_dir).and_then(|()| is_free(&path));
    match free {
        Ok(true) => {}
        Ok(false) => {
            let message = format!(
                "another process serves {:?} on the admin socket {}; stop it, or choose another --run-dir",
                name.as_str(),
                path.display()
            );
            return Err(StartError::new(Exit::Unavailable, message));
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let message =
                format!("{} is in the place of the admin socket and is no socket; remove it", path.display());
            return Err(StartError::new(Exit::CantCreate, message));
        }
        Err(error) => {
            warn(&path, &error);
            return Ok(None);
        }
    }
    match listen(&path) {
        Ok(bound) => Ok(Some(bound)),
        Err(error) => {
            warn(&path, &error);
            Ok(None)
        }
    }
}

fn warn(path: &Path, error: &io::Error) {
    let path = path.display();
    log::warn!("mocactl can't reach this process: no admin socket at {path}: {error}; see --run-dir");
}

fn create(run_dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(RUN_DIR_MODE).create(run_dir)
}

/// Returns whether no process listens on the socket at `path`.
///
/// # Errors
/// Fails with `AlreadyExists` if the path is that of another kind of file.
fn is_free(path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => return Err(ErrorKind::AlreadyExists.into()),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Ok(false),
        // The process that bound it has ended.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(true),
        // The queue of the listener is full.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Binds the socket under another name and renames it, so that the path always leads to a socket with
/// the right mode.
fn listen(path: &Path) -> io::Result<(UnixListener, AdminSocketFile)> {
    let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
    drop(std::fs::remove_file(&unfinished));
    let bound = UnixListener::bind(&unfinished).and_then(|listener| {
        std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        let file = std::fs::symlink_metadata(&unfinished)?;
        std::fs::rename(&unfinished, path)?;
        let identity = (file.dev(), file.ino());
        Ok((listener, AdminSocketFile { path: path.to_owned(), identity }))
    });
    bound.inspect_err(|_| drop(std::fs::remove_file(&unfinished)))
}
