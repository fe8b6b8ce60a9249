//! `auto_reload`: when the installed program was replaced, the server makes room for the new one. Under systemd it stops
//! as it always does, and is started again behind sockets that stay open; elsewhere it becomes the new program itself.
//!
//! A file that is being written is not judged, and one that cannot even tell its version is not started: the server
//! that works goes on.

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

/// How often the file is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// So many looks in a row must find the same new file.
const STABLE_CHECKS: u32 = 2;

/// How long a program may take to tell its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// The file that this process was started from.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    /// `None` when there was none at the start: then nothing can be found changed
    at_start: Option<FileIdentity>,
}

/// What changes with a file that is replaced or written.
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
    /// To be called at the start. A symlink that the program was started by is followed anew with each look, so that
    /// pointing it elsewhere is a change.
    pub(crate) fn of_this_process() -> Self {
        let running = std::env::current_exe().unwrap_or_default();
        let identity = |path: &Path| std::fs::metadata(path).ok().map(|meta| FileIdentity::from(&meta));
        let named = std::env::args_os().next().map(PathBuf::from).filter(|path| path.is_absolute());
        let named = named.filter(|path| identity(path).is_some() && identity(path) == identity(&running));
        let path = named.unwrap_or(running);
        Self { at_start: identity(&path), path }
    }

    /// The file as it is now, when it is a program.
    fn now(&self) -> Option<FileIdentity> {
        let meta = std::fs::metadata(&self.path).ok()?;
        let executable = meta.is_file() && meta.permissions().mode() & 0o111 != 0;
        executable.then(|| FileIdentity::from(&meta))
    }

    /// Whether it is a server like this one, that runs here: it tells its version.
    async fn works(&self) -> Result<(), String> {
        let mut command = Command::new(&self.path);
        command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null());
        for ours in SYSTEMD_VARIABLES {
            command.env_remove(ours);
        }
        let mut command = tokio::process::Command::from(command);
        let outcome = timeout(VERSION_TIMEOUT, command.kill_on_drop(true).output()).await;
        let output = outcome
            .map_err(|_| "it does not tell its version in time".to_owned())?
            .map_err(|error| format!("it cannot be run: {error}"))?;
        if !output.status.success() {
            return Err(format!("asked for its version, it fails: {}", output.status));
        }
        if !output.stdout.starts_with(b"moca-file-log ") {
            return Err("it is another program".to_owned());
        }
        Ok(())
    }

    /// Becomes the new program, with the same arguments and environment; returns only when that fails.
    pub(crate) fn re_exec(&self) -> StartError {
        let error = Command::new(&self.path).args(std::env::args_os().skip(1)).exec();
        StartError::new(Exit::OsErr, format!("can't start {} again: {error}", self.path.display()))
    }
}

/// What systemd handed to this process and to no other.
const SYSTEMD_VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// Waits, while `auto_reload` is on, until another program that works was installed.
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
        let looks = seen.filter(|(before, _)| *before == now).map_or(1, |(_, looks)| looks + 1);
        seen = Some((now, looks));
        if looks < STABLE_CHECKS {
            continue;
        }
        match program.works().await {
            Ok(()) => {
                event!(info, RESTARTING; "{} was replaced: making room for it", program.path.display());
                return;
            }
            Err(why) => {
                let path = program.path.display();
                event!(error, RESTART_REFUSED; "{path} was replaced, but {why}; this one goes on");
                refused = Some(now);
            }
        }
    }
}
