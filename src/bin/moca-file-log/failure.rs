//! Why the service does not start.

use moca_file_log::exit::Exit;

/// Why the service does not start: one line, and a status for scripts.
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
