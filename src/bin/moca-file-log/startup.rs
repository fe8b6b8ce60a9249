//! Prepares the start of an instance: arguments, directories, configuration.

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
    /// Directory of log.json and the other configuration files [default: $CONFIGURATION_DIRECTORY
    /// or ./configs]
    #[arg(long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// Directory of log files with a relative path [default: $LOGS_DIRECTORY or ./client_logs]
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Directory of the state that survives a restart [default: $STATE_DIRECTORY or ./state]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Directory of the admin socket, which is made where systemd passes no sockets [default:
    /// $RUNTIME_DIRECTORY or ./run]
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
}

/// The directories of an instance.
#[derive(Debug, Clone)]
pub(crate) struct Directories {
    pub(crate) config: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) state: PathBuf,
    /// The directory of the admin socket.
    pub(crate) run: PathBuf,
}

/// The input of an instance before its configuration is read.
pub(crate) struct Startup {
    pub(crate) name: LogName,
    pub(crate) directories: Directories,
    /// The program as it was at the start.
    pub(crate) program: Program,
    pub(crate) passed: Vec<PassedSocket>,
}

/// Determines the name and the directories from the arguments and the environment.
pub(crate) fn prepare(arguments: &Arguments, passed: Vec<PassedSocket>) -> Result<Startup, StartError> {
    let place = |given: &Option<PathBuf>, variable: &str, fallback: &str| {
        // systemd separates several directories by colons, and the first one counts.
        let from_systemd =
            || std::env::var_os(variable).and_then(|value| std::env::split_paths(&value).next());
        given.clone().or_else(from_systemd).unwrap_or_else(|| PathBuf::from(fallback))
    };
    let directories = Directories {
        config: place(&arguments.config_dir, "CONFIGURATION_DIRECTORY", "configs"),
        logs: place(&arguments.log_dir, "LOGS_DIRECTORY", "client_logs"),
        state: place(&arguments.state_dir, "STATE_DIRECTORY", "state"),
        run: place(&arguments.run_dir, "RUNTIME_DIRECTORY", "run"),
    };
    let name: LogName = arguments.name.parse().map_err(|error| {
        StartError::new(Exit::Usage, format!("{:?} is not the name of a log: {error}", arguments.name))
    })?;
    Ok(Startup { name, directories, program: Program::current(), passed })
}

/// The configuration with which an instance starts.
pub(crate) struct Configured {
    pub(crate) log: LogEntry,
    pub(crate) files: Files,
    pub(crate) warnings: Vec<Finding>,
    /// The certificate and its key; `None` for plain HTTP.
    pub(crate) identity: Option<Identity>,
    /// The reason why the kept files are in force and not those of the directory, if they are.
    pub(crate) refused: Option<String>,
}

/// Loads the configuration.
///
/// If systemd holds the sockets and the files are invalid, the last valid files are used instead,
/// so that the service still serves.
pub(crate) fn load(startup: &Startup) -> Result<Configured, StartError> {
    let directories = &startup.directories;
    match config::load(&directories.config) {
        Ok(loaded) => configured(startup, loaded.files, loaded.warnings, None),
        Err(findings) => {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            let lines = lines.join("\n");
            let kept = if startup.passed.is_empty() {
                None
            } else {
                last_good::read(&directories.state, &startup.name)
            };
            match kept {
                Some(files) => configured(startup, files, Vec::new(), Some(lines)),
                None => Err(StartError::new(Exit::Config, lines)),
            }
        }
    }
}

fn configured(
    startup: &Startup,
    files: Files,
    warnings: Vec<Finding>,
    refused: Option<String>,
) -> Result<Configured, StartError> {
    let name = &startup.name;
    let log_json = startup.directories.config.join("log.json");
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
        .map(|pair| net::certificate::load(pair, &startup.directories.config))
        .transpose();
    let identity = identity.map_err(|finding| StartError::new(Exit::Config, finding.to_string()))?;
    Ok(Configured { log, files, warnings, identity, refused })
}

/// Creates a directory of the service. Under systemd it exists already.
pub(crate) fn create_directory(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path).map_err(|error| {
        StartError::new(Exit::CantCreate, format!("can't create {}: {error}", path.display()))
    })
}
