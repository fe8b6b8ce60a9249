//! Runs a server under strace, which writes the system calls to a file and can change their
//! results.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Server, cannot_run, eventually};

/// Traces a server into a file of its system calls.
pub(crate) struct Trace {
    child: Child,
    file: std::path::PathBuf,
}

impl Trace {
    pub(crate) fn attach(server: &Server) -> Option<Self> {
        Self::with(server, &[])
    }

    /// Attaches strace with an option `--inject` (strace(1)) for each of `injected`.
    pub(crate) fn with(server: &Server, injected: &[&str]) -> Option<Self> {
        let file = server.root_dir().join("strace.out");
        let errors = server.root_dir().join("strace.err");
        let calls = "trace=write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,fdatasync,fsync";
        let mut strace = Command::new("strace");
        strace.args(["-f", "-y", "-s", "200", "-e", calls, "-o"]).arg(&file);
        strace.args(injected.iter().map(|what| format!("--inject={what}")));
        strace.args(["-p", &server.pid().to_string()]);
        strace.stderr(std::fs::File::create(&errors).unwrap()).stdin(Stdio::null());
        let Ok(mut child) = strace.spawn() else {
            cannot_run("no strace");
            return None;
        };
        let mut refused = false;
        eventually("strace is attached", Duration::from_secs(5), || {
            refused = child.try_wait().unwrap().is_some();
            refused || std::fs::read_to_string(&errors).unwrap_or_default().contains("attached")
        });
        if refused {
            cannot_run(&std::fs::read_to_string(&errors).unwrap_or_default());
            return None;
        }
        Some(Self { child, file })
    }

    /// Detaches strace. Returns the calls in order.
    pub(crate) fn finish(mut self) -> Vec<String> {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGINT).unwrap();
        self.child.wait().unwrap();
        std::fs::read_to_string(&self.file).unwrap().lines().map(str::to_owned).collect()
    }
}
