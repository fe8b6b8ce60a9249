//! Why a command did not do its work: one line for a person, a status for a script.

use std::io;

use crate::config::Finding;
use crate::exit::Exit;

/// Why a command ended without success.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// the work could not be done
    #[error("{message}")]
    Failed {
        /// for scripts
        exit: Exit,
        /// for people
        message: String,
    },
    /// nobody can read what the command has to say
    #[error("writing the output failed: {0}")]
    Output(io::Error),
}

/// The exit status of a command that ran, or why it did not.
pub(crate) type Outcome = Result<u8, Error>;

impl Error {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Failed { exit, message: message.into() }
    }

    /// A file or folder that cannot be read or written.
    pub(crate) fn of_file(what: &str, path: &std::path::Path, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::NoPerm,
            io::ErrorKind::NotFound => Exit::NoInput,
            _ => Exit::IoErr,
        };
        let advice = if exit == Exit::NoPerm { "; run it as root (sudo)" } else { "" };
        Self::new(exit, format!("can't {what} {}: {error}{advice}", path.display()))
    }

    /// A program that cannot be started.
    pub(crate) fn of_program(program: &str, error: &io::Error) -> Self {
        let message = match error.kind() {
            io::ErrorKind::NotFound => format!("`{program}` is not in PATH"),
            _ => format!("`{program}` cannot be run: {error}"),
        };
        Self::new(Exit::Unavailable, message)
    }

    /// Files that are not in order.
    pub(crate) fn of_findings(findings: &[Finding]) -> Self {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        Self::new(Exit::Config, lines.join("\n"))
    }

    /// What the process ends with.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Failed { exit, .. } => exit.code(),
            // `mocactl … | head` is no failure
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => Exit::IoErr.code(),
        }
    }

    /// Whether there is anybody to tell about it.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
