//! Defines the command line. Help, man pages and completions are made from this definition.

use clap::Parser;

use crate::ctl::commands::Command;
use crate::ctl::commands::completions::Generate;
use crate::ctl::paths::Directories;

const EXIT_STATUS: &str = "\
Exit status: 0 on success, else one of sysexits.h: 64 usage, 65 data, 66 no such log, key or file, 69 not running, \
75 try again, 77 not permitted, 78 configuration. `start`, `stop`, `restart` and `status` end with the status of \
systemctl, `update` and `update-system` with that of apt-get.";

/// The operator's tool of MocaFileLog: logs, keys, maintenance, updates.
#[derive(Debug, Parser)]
#[command(name = "mocactl", version, after_long_help = EXIT_STATUS)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) directories: Directories,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The command `mocactl generate`, which builds packages. It is apart from the commands of operators,
/// so that no suggestion, help or completion names it.
#[derive(Debug, Parser)]
#[command(name = "mocactl generate", disable_help_subcommand = true)]
pub(crate) struct PackageCli {
    #[command(subcommand)]
    pub(crate) what: Generate,
}
