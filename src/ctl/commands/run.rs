//! `mocactl run`: serves one log in the foreground.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::geteuid;

use crate::ctl::error::{Error, Outcome};
use crate::ctl::paths::Directories;
use crate::ctl::ui::output::print_note;

const SERVER: &str = "moca-file-log";

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name of the log
    name: String,
}

/// Replaces this process by the server of the log.
pub(crate) fn run(args: &Args, directories: &Directories) -> Outcome {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(SERVER));
    let server = beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(SERVER));
    let mut command = Command::new(&server);
    command.arg("--config-dir").arg(&directories.config).arg("--log-dir").arg(&directories.logs);
    command.arg("--state-dir").arg(&directories.state);
    let mut run_dir = &directories.run;
    // The service cannot write to files that root creates, so the server runs as the owner of the
    // state directory.
    if let (true, Ok(state)) = (geteuid().is_root(), std::fs::metadata(&directories.state))
        && state.uid() != 0
    {
        let (owner, group) = (state.uid(), state.gid());
        print_note(format_args!(
            "mocactl: running as user {owner}, who owns {}",
            directories.state.display()
        ));
        command.uid(owner).gid(group);
        // The directory of systemd's sockets belongs to root.
        if !std::fs::metadata(run_dir).is_ok_and(|run| run.uid() == owner) {
            run_dir = &directories.state;
        }
    }
    command.arg("--run-dir").arg(run_dir).arg("--").arg(&args.name);
    // `exec` returns only when it fails.
    let error = command.exec();
    Err(Error::of_program(&server.to_string_lossy(), &error))
}
