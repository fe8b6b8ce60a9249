//! Selects the logs that a command works on.
//!
//! It reads only `log.json`, because a mistake in another file must not prevent an operator from
//! stopping a log.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::config::{Files, LogEntry, LogName, Sources};
use crate::ctl::error::{Error, Outcome};
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::print_note;
use crate::exit::Exit;

/// The names of logs on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct LogNames {
    /// Names of logs; without a name, all that are switched on
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<LogName>,
}

/// Holds the logs of `log.json`, from which a command selects.
pub(crate) struct LogSelection {
    pub(crate) entries: BTreeMap<LogName, LogEntry>,
    file: PathBuf,
}

impl LogSelection {
    /// Reads `log.json`.
    pub(crate) fn load(directories: &Directories) -> Result<Self, Error> {
        let file = directories.config.join("log.json");
        let text = fs::read_to_string(&file).map_err(|error| Error::of_file("read", &file, &error))?;
        let sources = Sources { log: Some(text), ..Sources::default() };
        match Files::parse(&sources) {
            Ok(loaded) => Ok(Self { entries: loaded.files.logs, file }),
            Err(findings) => Err(Error::of_findings(&findings)),
        }
    }

    /// Returns the logs with these names, each once. Without a name it returns all that are
    /// switched on.
    ///
    /// # Errors
    /// Fails when a name is unknown, and when no log is left.
    pub(crate) fn select(&self, names: &[LogName]) -> Result<Vec<LogName>, Error> {
        if names.is_empty() {
            let enabled: Vec<LogName> =
                self.entries.iter().filter(|(_, log)| log.status).map(|(name, _)| name.clone()).collect();
            if enabled.is_empty() {
                let message = format!("no log is switched on in {}", self.file.display());
                return Err(Error::new(Exit::NoInput, message));
            }
            return Ok(enabled);
        }
        let mut selected: Vec<LogName> = Vec::with_capacity(names.len());
        for name in names {
            self.known(name)?;
            if !selected.contains(name) {
                selected.push(name.clone());
            }
        }
        Ok(selected)
    }

    /// Returns the log with this name, or the only one that is switched on.
    pub(crate) fn one(&self, name: Option<&LogName>) -> Result<LogName, Error> {
        if let Some(name) = name {
            return self.known(name).map(|_| name.clone());
        }
        let mut enabled = self.select(&[])?;
        if enabled.len() > 1 {
            let names: Vec<&str> = enabled.iter().map(LogName::as_str).collect();
            let message = format!("which log? Name one of {}", names.join(", "));
            return Err(Error::new(Exit::Usage, message));
        }
        Ok(enabled.remove(0))
    }

    /// Returns the entry with this name.
    pub(crate) fn known(&self, name: &LogName) -> Result<&LogEntry, Error> {
        self.entries.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.entries.keys().map(LogName::as_str).collect();
            let known = if known.is_empty() { "no log".to_owned() } else { known.join(", ") };
            let message = format!("unknown log {:?}: {} has {known}", name.as_str(), self.file.display());
            Error::new(Exit::NoInput, message)
        })
    }
}

/// Does the same work for each log, even if it fails for some logs. Returns the status of the first
/// failure.
///
/// # Errors
/// Fails when the output cannot be written.
pub(crate) fn for_each_log<'n>(
    names: &'n [LogName],
    mut work: impl FnMut(&'n LogName) -> Result<(), Error>,
) -> Outcome {
    let mut status = 0;
    for name in names {
        match work(name) {
            Ok(()) => {}
            Err(error @ Error::Output(_)) => return Err(error),
            Err(error) => {
                print_note(format_args!("mocactl: {error}"));
                if status == 0 {
                    status = error.status();
                }
            }
        }
    }
    Ok(status)
}
