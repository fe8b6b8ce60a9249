//! Defines the options of a log that concern the file engine.

use std::path::{Path, PathBuf};

use crate::config::{Durability, LogEntry, Rotate};
use crate::record::LineFormat;

/// The settings of a file store. All of them can change while the store is open.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// The path of the active file.
    pub(crate) path: PathBuf,
    /// The format of new lines.
    pub(crate) format: LineFormat,
    /// The durability of a completed append.
    pub(crate) durability: Durability,
    /// Rotation and retention. `None`: the active file grows without limit.
    pub(crate) rotate: Option<Rotate>,
}

impl Settings {
    /// Returns the settings of `log`. A relative path of its file begins in `log_dir`.
    pub(crate) fn of(log: &LogEntry, log_dir: &Path) -> Self {
        Self {
            path: log_dir.join(&log.file),
            format: log.format,
            durability: log.durability,
            rotate: log.rotate.clone(),
        }
    }
}
