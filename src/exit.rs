//! Defines the exit statuses of the three programs, numbered as in `sysexits.h`
//! (sysexits.h(3head)).
//!
//! Scripts and systemd's `RestartPreventExitStatus=` decide by these numbers.

use std::process::ExitCode;

/// The reason why a program ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command line is wrong: an unknown option or command, or an invalid log name.
    Usage = 64,
    /// The data is wrong: a log file, segment or archive is damaged or of another kind.
    DataErr = 65,
    /// A log, package file or key that the caller named does not exist or cannot be read.
    NoInput = 66,
    /// A service is unavailable: the instance does not run, systemd does not answer, or the
    /// address is taken.
    Unavailable = 69,
    /// The program has a defect.
    Software = 70,
    /// The operating system refused a basic resource: a thread, a signal handler, inotify.
    OsErr = 71,
    /// A file or folder cannot be created: the log, its folder, the state.
    CantCreate = 73,
    /// Reading or writing failed half way, for example because of a failing disk.
    IoErr = 74,
    /// The failure is temporary: maintenance, overload or a timeout. A retry may succeed.
    TempFail = 75,
    /// The caller lacks permission: not root, not in the group, or wrong file modes.
    NoPerm = 77,
    /// The configuration is invalid or incomplete. A restart without an edit fails again.
    Config = 78,
}

impl Exit {
    /// Returns the exit status as a number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_match_sysexits_h() {
        assert_eq!([Exit::Usage, Exit::Unavailable, Exit::Config].map(Exit::code), [64, 69, 78]);
        assert_eq!(ExitCode::from(Exit::Config), ExitCode::from(78));
    }
}
