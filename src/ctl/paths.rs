//! Where an installation keeps its things: the options that every command has.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::LogName;
use crate::systemd::generator::admin_path;

/// The directories of an installation.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Directories")]
pub(crate) struct Directories {
    /// Where log.json and the other configuration files are
    #[arg(long = "config-dir", global = true, value_name = "DIR", default_value = "/etc/moca-file-log")]
    pub(crate) config: PathBuf,
    /// What relative log files are relative to
    #[arg(long = "log-dir", global = true, value_name = "DIR", default_value = "/var/log/moca-file-log")]
    pub(crate) logs: PathBuf,
    /// Where the service keeps what it must remember
    #[arg(long = "state-dir", global = true, value_name = "DIR", default_value = "/var/lib/moca-file-log")]
    pub(crate) state: PathBuf,
    /// Where the admin sockets of running instances are
    #[arg(long = "run-dir", global = true, value_name = "DIR", default_value = "/run/moca-file-log")]
    pub(crate) run: PathBuf,
}

impl Directories {
    /// Returns the path of the admin socket of a log.
    pub(crate) fn admin_socket(&self, log: &LogName) -> PathBuf {
        self.run.join(Path::new(&admin_path(log)).file_name().unwrap_or_default())
    }
}
