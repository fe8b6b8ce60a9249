//! Runs a real redis-server for one test, which the test can kill, stop and start again.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{cannot_run, eventually, free_port};

/// Runs a redis-server in its own folder, without persistence, on a Unix socket and a port.
/// Dropping it kills the process.
pub(crate) struct Redis {
    folder: tempfile::TempDir,
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl Redis {
    /// Starts a redis-server. Returns `None` and reports that the test cannot run when none is
    /// installed.
    pub(crate) fn start(options: &[&str]) -> Option<Self> {
        let mut redis = Self::later(options)?;
        redis.respawn();
        Some(redis)
    }

    /// Prepares a redis-server without starting it.
    pub(crate) fn later(options: &[&str]) -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            cannot_run("no redis-server");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary directory");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Some(Self { folder, port: free_port(), options, child: None })
    }

    pub(crate) fn respawn(&mut self) {
        assert!(self.child.is_none(), "Redis still runs");
        eventually("the port of Redis is free", Duration::from_secs(5), || {
            TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).is_ok()
        });
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--unixsocket"]);
        command
            .arg(self.socket())
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path());
        command.args(&self.options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("start redis-server"));
        eventually("Redis answers", Duration::from_secs(10), || {
            // An answer NOAUTH also shows that the server runs.
            let said = self.run(&["PING"]);
            said.status.success() && !said.stdout.is_empty()
        });
    }

    /// Kills the process (SIGKILL).
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kill Redis");
            child.wait().expect("reap Redis");
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().expect("a running Redis").id();
        kill(Pid::from_raw(i32::try_from(pid).expect("a process id")), signal).expect("send a signal");
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the output of redis-cli for a command.
    pub(crate) fn say(&self, command: &[&str]) -> String {
        let output = self.run(command);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
    }

    fn run(&self, command: &[&str]) -> Output {
        let mut cli = Command::new("redis-cli");
        cli.arg("-s").arg(self.socket()).args(command).stdin(Stdio::null());
        cli.output().expect("run redis-cli")
    }

    /// Returns the names of all counters, sorted.
    pub(crate) fn counters(&self) -> Vec<String> {
        let mut names: Vec<String> = self.say(&["KEYS", "LIMITER/*"]).lines().map(str::to_owned).collect();
        names.retain(|name| name != "LIMITER/probe" && !name.is_empty());
        names.sort();
        names
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
