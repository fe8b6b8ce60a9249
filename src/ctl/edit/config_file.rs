//! Edits configuration files.
//!
//! Only one command edits at a time. A file is replaced as a whole where that is possible, keeps its
//! mode and owners, and is never replaced by a text that the server would refuse.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::unistd::{Group, geteuid};

use crate::config::{Files, Sources};
use crate::ctl::edit::json_edit::NotStrictJson;
use crate::ctl::error::Error;
use crate::ctl::ui::output::print_note;
use crate::exit::Exit;

/// Names a file that commands edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    ApiKey,
    System,
}

impl Target {
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key.json",
            Self::System => "system.json",
        }
    }

    /// Returns the text of a file that does not exist yet.
    const fn empty(self) -> &'static str {
        match self {
            Self::ApiKey => "[]\n",
            Self::System => "{}\n",
        }
    }

    /// Parses the text as the server does.
    pub(crate) fn parse(self, text: &str) -> Result<Files, Error> {
        let mut sources = Sources { log: Some("{}".to_owned()), ..Sources::default() };
        match self {
            Self::ApiKey => sources.api_key = Some(text.to_owned()),
            Self::System => sources.system = Some(text.to_owned()),
        }
        Files::parse(&sources).map(|loaded| loaded.files).map_err(|findings| Error::of_findings(&findings))
    }

    /// Reads the file of this directory. An absent file is an empty list or object.
    pub(crate) fn read(self, dir: &Path) -> Result<String, Error> {
        let path = dir.join(self.file());
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.empty().to_owned()),
            Err(error) => Err(Error::of_file("read", &path, &error)),
        }
    }

    /// Replaces the file by the text that `change` returns.
    ///
    /// # Errors
    /// Fails when the old or the new text is not valid, and when the file cannot be read or
    /// written.
    pub(crate) fn edit(
        self,
        dir: &Path,
        change: impl FnOnce(&str, &Files) -> Result<String, Error>,
    ) -> Result<(), Error> {
        // The lock keeps two commands from undoing each other's edit. It ends with the descriptor.
        let lock = File::open(dir).map_err(|error| Error::of_file("open", dir, &error))?;
        lock.lock().map_err(|error| Error::of_file("lock", dir, &error))?;
        let before = self.read(dir)?;
        let files = self.parse(&before)?;
        let after = change(&before, &files)?;
        self.parse(&after)?;
        if after != before {
            let path = dir.join(self.file());
            if let Some(copy) = replace(&path, after.as_bytes())? {
                print_note(format_args!(
                    "mocactl: {} is mounted by itself, so it was written in place; its text of before is in {}",
                    path.display(),
                    copy.display()
                ));
            }
        }
        Ok(())
    }

    /// Returns the error for a file that is not changed, because it is not strict JSON.
    pub(crate) fn not_strict_json(self, why: NotStrictJson) -> Error {
        Error::new(Exit::DataErr, format!("{} is not changed: {why}", self.file()))
    }
}

/// Replaces a file as a whole and syncs it to the disk. If the path is a link, the function
/// replaces its target.
///
/// A file that is mounted by itself, as containers do, cannot be replaced by a rename. It is written
/// in place, after a copy of it was made beside it. Returns the path of this copy.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<Option<PathBuf>, Error> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match rename_over(&target, content) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => overwrite(&target, content).map(Some),
        Err(error) => Err(Error::of_file("write", path, &error)),
    }
}

/// Writes a new file and renames it over `target`.
fn rename_over(target: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary(target)?;
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let outcome = write_like(target, &temporary, content).and_then(|()| fs::rename(&temporary, target));
    if outcome.is_err() {
        drop(fs::remove_file(&temporary));
    }
    outcome?;
    sync_parent(target)
}

/// Copies `target` to `FILE.bak` and writes it in place. A reader may see a part of the new text for
/// a moment. The server then refuses the file, and reads it again after the next change.
fn overwrite(target: &Path, content: &[u8]) -> Result<PathBuf, Error> {
    let copy = backup(target).map_err(|error| {
        let message = format!(
            "{} can only be written in place, and no copy of it can be made beside it: {error}; nothing was changed",
            target.display()
        );
        Error::new(Exit::CantCreate, message)
    })?;
    let write = || {
        // Not truncated at the start, because the old text is better than an empty file if the disk
        // is full.
        let mut file = OpenOptions::new().write(true).open(target)?;
        file.write_all(content)?;
        file.set_len(content.len() as u64)?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(copy),
        Err(error) => {
            let (target, copy) = (target.display(), copy.display());
            let message = format!("writing {target} failed: {error}; its text of before is in {copy}");
            Err(Error::new(Exit::IoErr, message))
        }
    }
}

/// Copies a file to `FILE.bak`, with its mode and owners.
fn backup(target: &Path) -> io::Result<PathBuf> {
    let mut name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(".bak");
    let copy = target.with_file_name(name);
    let temporary = temporary(&copy)?;
    let content = fs::read(target)?;
    drop(fs::remove_file(&temporary));
    let outcome = write_like(target, &temporary, &content).and_then(|()| fs::rename(&temporary, &copy));
    outcome.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    sync_parent(&copy)?;
    Ok(copy)
}

/// Writes `temporary` with the mode and the owners of `target`. Other users cannot read it before
/// it is complete.
fn write_like(target: &Path, temporary: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    let (mode, owner, group) = match fs::metadata(target) {
        Ok(old) => (old.mode() & 0o7777, Some(old.uid()), Some(old.gid())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (0o640, None, service_group()),
        Err(error) => return Err(error),
    };
    let made = file.metadata()?;
    let differs = |wanted: Option<u32>, is: u32| wanted.is_some_and(|wanted| wanted != is);
    if differs(owner, made.uid()) || differs(group, made.gid()) {
        fchown(&file, owner, group)?;
    }
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Returns the group that may read secrets, if it exists and the user is root. Only root can give a
/// file to a group without being in it.
fn service_group() -> Option<u32> {
    let group = geteuid().is_root().then(|| Group::from_name("moca-file-log"))?;
    Some(group.ok()??.gid.as_raw())
}

fn temporary(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp");
    Ok(target.with_file_name(hidden))
}

/// Syncs the directory of `path`, so that a rename or removal in it is durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all()
    })
}
