//! Defines the errors of commands, each with a message for the operator and an exit status for
//! scripts.

use std::io;

use crate::config::Finding;
use crate::exit::Exit;

/// Says why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command failed.
    #[error("{message}")]
    Failed {
        /// The exit status.
        exit: Exit,
        /// The message, without the name of the program.
        message: String,
    },
    /// The output cannot be written.
    #[error("writing the output failed: {0}")]
    Output(io::Error),
}

/// The exit status of a command that ran, or the reason why it failed.
pub(crate) type Outcome = Result<u8, Error>;

impl Error {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Failed { exit, message: message.into() }
    }

    /// Returns the error for a file or folder that cannot be read or written. `what` is the verb,
    /// such as "read".
    pub(crate) fn of_file(what: &str, path: &std::path::Path, error: &io::Error) -> Self {
        let exit = match error.kind() {
            io::ErrorKind::PermissionDenied => Exit::NoPerm,
            io::ErrorKind::NotFound => Exit::NoInput,
            _ => Exit::IoErr,
        };
        let advice = if exit == Exit::NoPerm { "; run it as root (sudo)" } else { "" };
        Self::new(exit, format!("can't {what} {}: {error}{advice}", path.display()))
    }

    /// Returns the error for a program that cannot be started.
    pub(crate) fn of_program(program: &str, error: &io::Error) -> Self {
        let message = match error.kind() {
            io::ErrorKind::NotFound => format!("`{program}` is not in PATH"),
            _ => format!("`{program}` cannot be run: {error}"),
        };
        Self::new(Exit::Unavailable, message)
    }

    /// Returns the error for configuration files with these findings.
    pub(crate) fn of_findings(findings: &[Finding]) -> Self {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        Self::new(Exit::Config, lines.join("\n"))
    }

    /// Returns the exit status of the process.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Failed { exit, .. } => exit.code(),
            // `mocactl … | head` is not a failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) => Exit::IoErr.code(),
        }
    }

    /// Returns whether no message is printed, because the reader of the output is gone.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
