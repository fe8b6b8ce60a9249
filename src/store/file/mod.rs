//! Keeps a log as one plain text file. `append_buffer` takes records, and `committer` writes them
//! in groups through `log_file`. `published` holds the part of the log that readers may see, and a
//! `snapshot` is one state of that part. `state` repairs the file when it is opened, `maintenance`
//! rotates it, and `segments` holds the rotated segments.

mod append_buffer;
mod changes;
mod committer;
mod disk_thread;
mod follow;
mod log_file;
mod maintenance;
mod published;
mod reader;
mod search;
mod segments;
mod settings;
mod shared;
mod snapshot;
mod state;
mod store;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;

use self::segments::segment::SiblingFile;
use self::settings::Settings;
use crate::config::LogEntry;
use crate::store::{Opened, Places};

pub(crate) use self::store::FileStore;

/// Returns whether `other` is, by its name, a file with records of the log whose active file has the
/// name `file`. It is this file, or a rotated segment, finished or not.
#[must_use]
pub fn is_file_of(file: &OsStr, other: &OsStr) -> bool {
    file == other || SiblingFile::of(file, other).is_some()
}

/// Opens a log that is kept in files.
///
/// # Errors
/// Fails when the file or its state can't be opened, created or repaired.
pub(crate) fn open(log: &LogEntry, places: &Places, queue_bytes: usize) -> io::Result<Opened> {
    let settings = Settings::of(log, &places.log_dir);
    let (store, committer) = FileStore::open(&settings, &places.log_dir, &places.state_path, queue_bytes)?;
    Ok((Arc::new(store), tokio::spawn(committer)))
}
