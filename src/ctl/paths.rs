//! Defines the directories of an installation, which every command has as options.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::LogName;
use crate::systemd::generator::{CONFIG_DIR, RUN_DIR, admin_socket_file};

/// The directories of an installation, as options of the command line. Without an option, the
/// variable counts that names the same directory to the server, and without it the place of the
/// package.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Directories")]
pub(crate) struct Directories {
    /// Directory of log.json and the other configuration files [default: $CONFIGURATION_DIRECTORY or
    /// /etc/moca-file-log]
    #[arg(long = "config-dir", global = true, value_name = "DIR", hide_default_value = true)]
    #[arg(default_value_os_t = CONFIG.default())]
    pub(crate) config: PathBuf,
    /// Directory of log files that log.json gives as relative paths [default: $LOGS_DIRECTORY or
    /// /var/log/moca-file-log]
    #[arg(long = "log-dir", global = true, value_name = "DIR", hide_default_value = true)]
    #[arg(default_value_os_t = LOGS.default())]
    pub(crate) logs: PathBuf,
    /// Directory of the state that the service keeps [default: $STATE_DIRECTORY or
    /// /var/lib/moca-file-log]
    #[arg(long = "state-dir", global = true, value_name = "DIR", hide_default_value = true)]
    #[arg(default_value_os_t = STATE.default())]
    pub(crate) state: PathBuf,
    /// Directory of the admin sockets of running instances [default: $RUNTIME_DIRECTORY or
    /// /run/moca-file-log]
    #[arg(long = "run-dir", global = true, value_name = "DIR", hide_default_value = true)]
    #[arg(default_value_os_t = RUN.default())]
    pub(crate) run: PathBuf,
}

/// Describes where a directory is when no option names it.
struct Place {
    option: &'static str,
    variable: &'static str,
    installed: &'static str,
}

const CONFIG: Place =
    Place { option: "--config-dir", variable: "CONFIGURATION_DIRECTORY", installed: CONFIG_DIR };
const LOGS: Place =
    Place { option: "--log-dir", variable: "LOGS_DIRECTORY", installed: "/var/log/moca-file-log" };
const STATE: Place =
    Place { option: "--state-dir", variable: "STATE_DIRECTORY", installed: "/var/lib/moca-file-log" };
const RUN: Place = Place { option: "--run-dir", variable: "RUNTIME_DIRECTORY", installed: RUN_DIR };

impl Place {
    fn default(&self) -> PathBuf {
        let value = std::env::var_os(self.variable).filter(|value| !value.is_empty());
        // systemd separates several directories by colons, and the first one counts.
        let first = value.and_then(|value| std::env::split_paths(&value).next());
        first.unwrap_or_else(|| PathBuf::from(self.installed))
    }
}

impl Directories {
    /// Returns the path of the admin socket of a log. `mocactl run` lets a server make it in the state
    /// directory if the user of the server cannot write to the usual directory.
    pub(crate) fn admin_socket(&self, log: &LogName) -> PathBuf {
        let file = admin_socket_file(log);
        let (usual, by_hand) = (self.run.join(&file), self.state.join(&file));
        if !usual.exists() && by_hand.exists() { by_hand } else { usual }
    }

    /// Returns a command line of mocactl for these directories, which the operator can paste.
    pub(crate) fn command_line(&self, command: &str, log: &LogName) -> String {
        let mut line = String::from("mocactl");
        let places = [(&CONFIG, &self.config), (&LOGS, &self.logs), (&STATE, &self.state), (&RUN, &self.run)];
        for (place, path) in places.into_iter().filter(|(place, path)| place.default() != **path) {
            line.push_str(&format!(" {} {}", place.option, quoted(&path.to_string_lossy())));
        }
        let end_of_options = if log.as_str().starts_with('-') { " --" } else { "" };
        line.push_str(&format!(" {command}{end_of_options} {}", quoted(log.as_str())));
        line
    }

    /// Returns whether these are the directories of the package, which systemd serves.
    pub(crate) fn are_installed(&self) -> bool {
        self.config == Path::new(CONFIG_DIR)
    }
}

/// Returns the text as one word of a POSIX shell.
fn quoted(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_each_text_as_one_word() {
        for text in ["", "sample1", "a b", "$(touch x)", "it's", "日本", "*?[a]'\"\\", "~", "a\nb", "#", "!x"]
        {
            let script = format!("printf %s {}", quoted(text));
            let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
        assert_eq!(quoted("/run/moca-file-log"), "/run/moca-file-log");
    }
}
