//! Notices that the installed program was replaced (`auto_reload`).
//!
//! Under systemd the server then stops, and systemd starts the new program behind sockets that stay
//! open. Otherwise the server executes the new program itself. The check waits until the file is
//! complete. It ignores a program that cannot print its version, and the server keeps running.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use moca_file_log::event;
use moca_file_log::exit::Exit;
use moca_file_log::http::App;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::failure::StartError;

/// Interval at which the file of the program is checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Number of checks in a row that must find the same new file, so that it is complete.
const STABLE_CHECKS: u32 = 2;

/// Maximum time that a new program may take to print its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// The file of the running program.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    /// The identity of the file at the start; `None` if it did not exist. Then no change is found.
    at_start: Option<FileIdentity>,
}

/// Metadata that changes when a file is replaced or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity {
    inode: (u64, u64),
    len: u64,
    modified: (i64, i64),
}

impl From<&Metadata> for FileIdentity {
    fn from(meta: &Metadata) -> Self {
        Self { inode: (meta.dev(), meta.ino()), len: meta.len(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

impl Program {
    /// Returns the program of this process. Call it at the start.
    ///
    /// If the program was started through a symbolic link, each check follows the link again. So a
    /// new target is a change.
    pub(crate) fn current() -> Self {
        let running = std::env::current_exe().unwrap_or_default();
        let identity = |path: &Path| std::fs::metadata(path).ok().map(|meta| FileIdentity::from(&meta));
        let named = std::env::args_os().next().map(PathBuf::from).filter(|path| path.is_absolute());
        let named = named.filter(|path| identity(path).is_some() && identity(path) == identity(&running));
        let path = named.unwrap_or(running);
        Self { at_start: identity(&path), path }
    }

    /// Returns the current identity of the file, if it is executable.
    fn now(&self) -> Option<FileIdentity> {
        let meta = std::fs::metadata(&self.path).ok()?;
        let executable = meta.is_file() && meta.permissions().mode() & 0o111 != 0;
        executable.then(|| FileIdentity::from(&meta))
    }

    /// Checks that the file is a server that runs on this machine, by asking it for its version.
    ///
    /// # Errors
    /// Returns the reason why it is not.
    async fn check_version(&self) -> Result<(), String> {
        let mut command = Command::new(&self.path);
        command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null());
        for variable in SYSTEMD_VARIABLES {
            command.env_remove(variable);
        }
        let mut command = tokio::process::Command::from(command);
        let outcome = timeout(VERSION_TIMEOUT, command.kill_on_drop(true).output()).await;
        let output = outcome
            .map_err(|_| "it does not print its version in time".to_owned())?
            .map_err(|error| format!("it cannot be run: {error}"))?;
        if !output.status.success() {
            return Err(format!("it fails to print its version: {}", output.status));
        }
        if !output.stdout.starts_with(b"moca-file-log ") {
            return Err("it is another program".to_owned());
        }
        Ok(())
    }

    /// Executes the new program in this process, with the same arguments and environment. Returns
    /// only if that fails.
    pub(crate) fn re_exec(&self) -> StartError {
        let error = Command::new(&self.path).args(std::env::args_os().skip(1)).exec();
        StartError::new(Exit::OsErr, format!("can't start {} again: {error}", self.path.display()))
    }
}

/// The variables that systemd sets for this process only.
const SYSTEMD_VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// Waits until a working new program is installed while `auto_reload` is on.
pub(crate) async fn outdated(program: Program, app: Arc<App>) {
    let mut ticks = interval(CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen: Option<(FileIdentity, u32)> = None;
    let mut refused: Option<FileIdentity> = None;
    loop {
        ticks.tick().await;
        if !app.policy().files.server.auto_reload {
            seen = None;
            continue;
        }
        let now = program.now().filter(|now| program.at_start.is_some_and(|start| start != *now));
        let Some(now) = now.filter(|now| refused != Some(*now)) else {
            seen = None;
            continue;
        };
        let checks = seen.filter(|(before, _)| *before == now).map_or(1, |(_, checks)| checks + 1);
        seen = Some((now, checks));
        if checks < STABLE_CHECKS {
            continue;
        }
        match program.check_version().await {
            Ok(()) => {
                event!(info, RESTARTING; "{} was replaced: stopping for the new one", program.path.display());
                return;
            }
            Err(why) => {
                let path = program.path.display();
                event!(error, RESTART_REFUSED; "{path} was replaced, but {why}; the old one keeps running");
                refused = Some(now);
            }
        }
    }
}
