//! Runs hooks, which are the operator's programs before and after a server.
//!
//! `startup.py` and then `startup.sh` run before the server starts to serve. `atexit.py` and then
//! `atexit.sh` run after it has stopped. The server looks for them in the configuration directory,
//! runs those that exist in that directory, and waits for each. `MOCA_LOG` holds the name of the
//! log; no name is passed through a shell.
//!
//! A failing startup hook stops the start, and later startup hooks do not run. A failing exit hook
//! is reported and has no other effect. Hooks have the server's user and output. The variables that
//! systemd set for the server itself (notification, watchdog, sockets) are removed for them.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// The reason why a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The hook ended without success.
    #[error("the hook {} failed ({status}); correct it, or remove it to go on without it", hook.display())]
    Failed {
        /// The path of the hook.
        hook: PathBuf,
        /// The exit status of the hook.
        status: ExitStatus,
    },
    /// The interpreter of the hook is not installed.
    #[error("the hook {} needs `{program}`, which is not in PATH; install it, or remove the hook", hook.display())]
    NoProgram {
        /// The path of the hook.
        hook: PathBuf,
        /// The interpreter: `python3` or `sh`.
        program: &'static str,
    },
    /// The hook could not be inspected or started.
    #[error("the hook {} cannot be run: {source}; check the modes of it and of its folder", hook.display())]
    Start {
        /// The path of the hook.
        hook: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Runs the startup hooks in the configuration directory `dir` for the log named `log`.
///
/// Blocks until they have ended. Call it after the passed sockets were taken, so that no hook
/// inherits them.
///
/// # Errors
/// Returns the error of the first hook that fails. Later hooks do not run.
pub fn run_startup(dir: &Path, log: &str) -> Result<(), HookError> {
    run(dir, "startup.py", "python3", log)?;
    run(dir, "startup.sh", "sh", log)
}

/// Runs all exit hooks in `dir`, also after one has failed, and logs each failure.
pub fn run_atexit(dir: &Path, log: &str) {
    for (file, program) in [("atexit.py", "python3"), ("atexit.sh", "sh")] {
        if let Err(error) = run(dir, file, program, log) {
            crate::event!(warn, HOOK_FAILED; "{error}");
        }
    }
}

fn run(dir: &Path, file: &str, program: &'static str, log: &str) -> Result<(), HookError> {
    // The hook starts in `dir`, so a path relative to the server's directory would not resolve.
    let hook = std::path::absolute(dir.join(file)).unwrap_or_else(|_| dir.join(file));
    match hook.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(()),
        Err(source) => return Err(HookError::Start { hook, source }),
    }
    let mut command = Command::new(program);
    command.arg(&hook).current_dir(dir).env("MOCA_LOG", log).stdin(Stdio::null());
    for variable in
        ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]
    {
        command.env_remove(variable);
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
    fn startup_hooks_run_in_order_in_the_directory_and_know_the_log() {
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
    fn missing_hooks_are_no_error() {
        let dir = tempfile::tempdir().unwrap();
        run_startup(dir.path(), "sample1").unwrap();
        run_atexit(dir.path(), "sample1");
    }

    #[test]
    fn failing_startup_hook_is_named_and_stops_the_rest() {
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
    fn exit_hook_runs_after_another_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("atexit.py"), "raise SystemExit(1)\n").unwrap();
        fs::write(dir.path().join("atexit.sh"), "touch ran\n").unwrap();
        run_atexit(dir.path(), "sample1");
        assert!(dir.path().join("ran").exists());
    }

    #[test]
    fn missing_interpreter_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("startup.py"), "").unwrap();
        let error = run(dir.path(), "startup.py", "no-such-python3", "sample1").unwrap_err();
        assert!(error.to_string().contains("needs `no-such-python3`"), "{error}");
    }
}
