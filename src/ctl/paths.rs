//! Defines the directories of an installation, which every command has as options.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::LogName;
use crate::systemd::generator::admin_path;

/// The directories of an installation, as options of the command line.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Directories")]
pub(crate) struct Directories {
    /// Directory of log.json and the other configuration files
    #[arg(long = "config-dir", global = true, value_name = "DIR", default_value = "/etc/moca-file-log")]
    pub(crate) config: PathBuf,
    /// Directory of log files that log.json gives as relative paths
    #[arg(long = "log-dir", global = true, value_name = "DIR", default_value = "/var/log/moca-file-log")]
    pub(crate) logs: PathBuf,
    /// Directory of the state that the service keeps
    #[arg(long = "state-dir", global = true, value_name = "DIR", default_value = "/var/lib/moca-file-log")]
    pub(crate) state: PathBuf,
    /// Directory of the admin sockets of running instances
    #[arg(long = "run-dir", global = true, value_name = "DIR", default_value = "/run/moca-file-log")]
    pub(crate) run: PathBuf,
}

impl Directories {
    /// Returns the path of the admin socket of a log.
    pub(crate) fn admin_socket(&self, log: &LogName) -> PathBuf {
        self.run.join(Path::new(&admin_path(log)).file_name().unwrap_or_default())
    }
}
