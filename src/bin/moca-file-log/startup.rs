//! What an instance begins with: its arguments, its directories, its configuration.

use std::path::{Path, PathBuf};

use clap::Parser;
use moca_file_log::config::{self, Files, Finding, LogEntry, LogName};
use moca_file_log::exit::Exit;
use moca_file_log::net;
use moca_file_log::net::certificate::Identity;
use moca_file_log::systemd::PassedSocket;

use crate::failure::StartError;
use crate::last_good;
use crate::program_update::Program;

/// Serves one log over HTTP: what it acknowledges is on disk.
#[derive(Debug, Parser)]
#[command(name = "moca-file-log", version = concat!("(", env!("CARGO_PKG_VERSION"), ")"))]
pub(crate) struct Arguments {
    /// The name of the log in log.json
    pub(crate) name: String,
    /// Where log.json and the other configuration files are [default: $CONFIGURATION_DIRECTORY or ./configs]
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// What relative log files are relative to [default: $LOGS_DIRECTORY or ./client_logs]
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Where the service keeps what it must remember [default: $STATE_DIRECTORY or ./state]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

/// Where things are.
#[derive(Debug, Clone)]
pub(crate) struct Directories {
    pub(crate) config: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) state: PathBuf,
}

/// What is known before the configuration is read.
pub(crate) struct Startup {
    pub(crate) name: LogName,
    pub(crate) directories: Directories,
    /// the program as it was when it started
    pub(crate) program: Program,
    pub(crate) passed: Vec<PassedSocket>,
}

pub(crate) fn prepare(arguments: &Arguments, passed: Vec<PassedSocket>) -> Result<Startup, StartError> {
    let place = |given: &Option<PathBuf>, variable: &str, fallback: &str| {
        // systemd separates several directories by colons; the first one is ours.
        let from_systemd =
            || std::env::var_os(variable).and_then(|value| std::env::split_paths(&value).next());
        given.clone().or_else(from_systemd).unwrap_or_else(|| PathBuf::from(fallback))
    };
    let directories = Directories {
        config: place(&arguments.config_dir, "CONFIGURATION_DIRECTORY", "configs"),
        logs: place(&arguments.log_dir, "LOGS_DIRECTORY", "client_logs"),
        state: place(&arguments.state_dir, "STATE_DIRECTORY", "state"),
    };
    let name: LogName = arguments.name.parse().map_err(|error| {
        StartError::new(Exit::Usage, format!("{:?} is no name of a log: {error}", arguments.name))
    })?;
    Ok(Startup { name, directories, program: Program::of_this_process(), passed })
}

/// What an instance begins with.
pub(crate) struct Configured {
    pub(crate) log: LogEntry,
    pub(crate) files: Files,
    pub(crate) warnings: Vec<Finding>,
    /// of HTTPS, where it is configured
    pub(crate) identity: Option<Identity>,
    /// why these are the files that were in force last, and not those of the directory
    pub(crate) refused: Option<String>,
}

/// The configuration of the log of `start`. Where systemd holds the sockets, broken files are no reason not to serve:
/// the last good ones are in force then.
pub(crate) fn load(start: &Startup) -> Result<Configured, StartError> {
    let directories = &start.directories;
    match config::load(&directories.config) {
        Ok(loaded) => configured(start, loaded.files, loaded.warnings, None),
        Err(findings) => {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            let lines = lines.join("\n");
            let kept =
                if start.passed.is_empty() { None } else { last_good::read(&directories.state, &start.name) };
            match kept {
                Some(files) => configured(start, files, Vec::new(), Some(lines)),
                None => Err(StartError::new(Exit::Config, lines)),
            }
        }
    }
}

fn configured(
    start: &Startup,
    files: Files,
    warnings: Vec<Finding>,
    refused: Option<String>,
) -> Result<Configured, StartError> {
    let name = &start.name;
    let log_json = start.directories.config.join("log.json");
    let log_json = log_json.display();
    let Some(log) = files.logs.get(name).cloned() else {
        let known: Vec<&str> = files.logs.keys().map(LogName::as_str).collect();
        let known = if known.is_empty() { "no log".to_owned() } else { known.join(", ") };
        let message = format!("unknown log \"{name}\": {log_json} has {known}");
        return Err(StartError::new(Exit::Config, message));
    };
    if !log.status {
        let message = format!("the log \"{name}\" is switched off: \"status\": false in {log_json}");
        return Err(StartError::new(Exit::Config, message));
    }
    let identity = files
        .server
        .tls
        .as_ref()
        .map(|pair| net::certificate::load(pair, &start.directories.config))
        .transpose();
    let identity = identity.map_err(|finding| StartError::new(Exit::Config, finding.to_string()))?;
    Ok(Configured { log, files, warnings, identity, refused })
}

/// Creates a directory that the service needs; systemd has done it already where it starts us.
pub(crate) fn create_directory(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|error| {
        StartError::new(Exit::CantCreate, format!("can't create {}: {error}", path.display()))
    })
}
