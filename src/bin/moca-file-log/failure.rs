//! Defines the error that stops the start of the service.

use moca_file_log::exit::Exit;

/// The reason why the service cannot start: a message of one line, and an exit status for scripts.
#[derive(Debug)]
pub(crate) struct StartError {
    pub(crate) exit: Exit,
    pub(crate) message: String,
}

impl StartError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}
