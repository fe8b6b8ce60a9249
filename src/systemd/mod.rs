//! What a server has to do with systemd: passed sockets, notification and watchdog, the journal, signals.
//!
//! All of it is silent or falls back where systemd is not there, so the same program runs in a terminal.

pub mod generator;
pub mod journal;
mod notify;
mod signals;
mod sockets;

pub use notify::Notifier;
pub use signals::{Signal, listen};
pub use sockets::{Listener, PassedSocket, SocketError, passed};

#[cfg(test)]
mod child {
    //! Tests of what reads the environment: it cannot be changed in a process with threads, so the test runs itself
    //! again as a child with another one.

    use std::process::Command;

    /// A command that runs the one ignored test `name` (its full path) of this test program.
    pub(super) fn command(name: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments(name));
        command
    }

    /// Runs it to its end. A name that matches no test would succeed as well, hence the count.
    pub(super) fn run(command: &mut Command) -> std::process::Output {
        let output = command.output().unwrap();
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(
            report.contains("test result: ok. 1 passed"),
            "{report}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    pub(super) fn arguments(name: &str) -> [&str; 5] {
        ["--exact", name, "--ignored", "--nocapture", "--test-threads=1"]
    }
}
