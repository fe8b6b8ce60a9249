//! Connects the service to systemd: passed sockets, notification, watchdog, journal, signals.
//!
//! Without systemd, each part does nothing or falls back, so the same program runs in a terminal.

pub mod generator;
pub mod journal;
mod notify;
mod signals;
mod sockets;

pub use notify::Notifier;
pub use signals::{Signal, listen};
pub use sockets::{LISTEN_NAME, Listener, PassedSocket, SocketError, passed};

#[cfg(test)]
mod child {
    //! Runs a test in a child process with another environment. The environment cannot be changed
    //! in a process with threads.

    use std::process::Command;

    /// Returns a command that runs one ignored test of this test program, given by its full path.
    pub(super) fn command(name: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments(name));
        command
    }

    /// Runs the command to its end. Checks that it ran one test, since a wrong name succeeds too.
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
