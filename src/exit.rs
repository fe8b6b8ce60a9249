//! Exit statuses by `sysexits.h`: what a script, or systemd's `RestartPreventExitStatus=`, can tell apart.

use std::process::ExitCode;

/// Why a program of ours ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// the command line is wrong: unknown flag or command, a log name that cannot be one
    Usage = 64,
    /// data is wrong: a log file, segment or archive that is not what it should be
    DataErr = 65,
    /// something named does not exist or cannot be read: a log, a package file, a key
    NoInput = 66,
    /// what we talk to is away: an instance that does not run, systemd, a taken address
    Unavailable = 69,
    /// a defect of ours
    Software = 70,
    /// the operating system refused what it should always give: threads, signals, inotify
    OsErr = 71,
    /// a file or folder cannot be created: the log, its folder, the state
    CantCreate = 73,
    /// reading or writing failed half way: a failing disk
    IoErr = 74,
    /// not now: it may work when tried again (maintenance, overload, a timeout)
    TempFail = 75,
    /// the caller may not: not root, not in the group, wrong file modes
    NoPerm = 77,
    /// the configuration is invalid or incomplete; starting again without an edit is useless
    Config = 78,
}

impl Exit {
    /// The number.
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
    fn as_in_sysexits() {
        assert_eq!([Exit::Usage, Exit::Unavailable, Exit::Config].map(Exit::code), [64, 69, 78]);
        assert_eq!(ExitCode::from(Exit::Config), ExitCode::from(78));
    }
}
