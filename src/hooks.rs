//! The operator's own programs around the life of a server: `startup.py`, then `startup.sh` before it serves;
//! `atexit.py`, then `atexit.sh` after it stopped serving.
//!
//! Each runs when it exists in the configuration directory, in that directory, with `MOCA_LOG` naming the log, and is
//! waited for. No shell sees any name. A failing startup hook stops the start and those after it; a failing exit hook
//! is reported and changes nothing. Hooks run with the server's rights and output; what systemd handed to the server
//! itself (notification, watchdog, sockets) is kept from them.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Why a hook did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// it ended without success
    #[error("the hook {} failed ({status}); correct it, or remove it to go on without it", hook.display())]
    Failed {
        /// the file
        hook: PathBuf,
        /// how it ended
        status: ExitStatus,
    },
    /// there is nothing to run it with
    #[error("the hook {} needs `{program}`, which is not in PATH; install it, or remove the hook", hook.display())]
    NoProgram {
        /// the file
        hook: PathBuf,
        /// `python3` or `sh`
        program: &'static str,
    },
    /// it could not be looked at or started
    #[error("the hook {} cannot be run: {source}; check the modes of it and of its folder", hook.display())]
    Start {
        /// the file
        hook: PathBuf,
        /// what the system said
        source: io::Error,
    },
}

/// Runs the startup hooks of the configuration directory `dir` for the log `log`.
///
/// Call it after the passed sockets were taken, so that no hook inherits them.
///
/// # Errors
/// The first hook that does not end with success; those after it have not run.
pub fn run_startup(dir: &Path, log: &str) -> Result<(), HookError> {
    run(dir, "startup.py", "python3", log)?;
    run(dir, "startup.sh", "sh", log)
}

/// Runs the exit hooks; each gets its turn whatever became of the other.
pub fn run_atexit(dir: &Path, log: &str) {
    for (file, program) in [("atexit.py", "python3"), ("atexit.sh", "sh")] {
        if let Err(error) = run(dir, file, program, log) {
            crate::event!(warn, HOOK_FAILED; "{error}");
        }
    }
}

fn run(dir: &Path, file: &str, program: &'static str, log: &str) -> Result<(), HookError> {
    // absolute, because the directory may be relative to ours and the hook starts in it
    let hook = std::path::absolute(dir.join(file)).unwrap_or_else(|_| dir.join(file));
    match hook.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(source) => return Err(HookError::Start { hook, source }),
    }
    let mut command = Command::new(program);
    command.arg(&hook).current_dir(dir).env("MOCA_LOG", log).stdin(Stdio::null());
    for ours in
        ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]
    {
        command.env_remove(ours);
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(HookError::Failed { hook, status }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(HookError::NoProgram { hook, program }),
        Err(source) => Err(HookError::Start { hook, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn python_then_shell_in_the_directory_with_the_name() {
        let dir = tempfile::tempdir().unwrap();
        let name = "a b; touch x $(id) \"'";
        fs::write(
            dir.path().join("startup.py"),
            "import os\nopen('order', 'a').write('py ' + os.environ['MOCA_LOG'])\n",
        )
        .unwrap();
        fs::write(dir.path().join("startup.sh"), "printf ' sh %s' \"$MOCA_LOG\" >> order\n").unwrap();
        run_startup(dir.path(), name).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("order")).unwrap(), format!("py {name} sh {name}"));
        assert!(!dir.path().join("x").exists());
    }

    #[test]
    fn absent_hooks_are_fine() {
        let dir = tempfile::tempdir().unwrap();
        run_startup(dir.path(), "sample1").unwrap();
        run_atexit(dir.path(), "sample1");
    }

    #[test]
    fn a_failing_startup_hook_is_named_and_stops_the_rest() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("startup.py"), "raise SystemExit(3)\n").unwrap();
        fs::write(dir.path().join("startup.sh"), "touch ran\n").unwrap();
        let text = run_startup(dir.path(), "sample1").unwrap_err().to_string();
        assert!(text.contains("startup.py") && text.contains("exit status: 3"), "{text}");
        assert!(!dir.path().join("ran").exists());
        fs::remove_file(dir.path().join("startup.py")).unwrap();
        fs::write(dir.path().join("startup.sh"), "kill -9 $$\n").unwrap();
        let text = run_startup(dir.path(), "sample1").unwrap_err().to_string();
        assert!(text.contains("startup.sh") && text.contains("signal: 9"), "{text}");
    }

    #[test]
    fn exit_hooks_all_run() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("atexit.py"), "raise SystemExit(1)\n").unwrap();
        fs::write(dir.path().join("atexit.sh"), "touch ran\n").unwrap();
        run_atexit(dir.path(), "sample1");
        assert!(dir.path().join("ran").exists());
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("startup.py"), "").unwrap();
        let error = run(dir.path(), "startup.py", "no-such-python3", "sample1").unwrap_err();
        assert!(error.to_string().contains("needs `no-such-python3`"), "{error}");
    }
}
