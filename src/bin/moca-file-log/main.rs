//! The server of one log: `moca-file-log NAME`.
//!
//! Under systemd it serves the sockets that were passed to it, elsewhere it binds the address of `log.json` itself.
//! What can go wrong before the first request ends in one clear line and an exit status of `sysexits.h`.

mod certificate;
mod instance;
mod last_good;
mod listen;
mod reload;
mod renewal;
mod workers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use moca_file_log::config::{self, Files, Finding, LogEntry, LogName};
use moca_file_log::ctl;
use moca_file_log::event;
use moca_file_log::exit::Exit;
use moca_file_log::http;
use moca_file_log::systemd::{self, PassedSocket, journal};
use moca_file_log::tls::{self, Identity};
use renewal::Program;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Serves one log over HTTP: what it acknowledges is on disk.
#[derive(Debug, Parser)]
#[command(name = "moca-file-log", version = concat!("(", env!("CARGO_PKG_VERSION"), ")"))]
struct Arguments {
    /// The name of the log in log.json
    name: String,
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
struct Places {
    config: PathBuf,
    logs: PathBuf,
    state: PathBuf,
}

/// What is known before the configuration is read.
struct Start {
    name: LogName,
    places: Places,
    /// the program as it was when it started
    program: Program,
    passed: Vec<PassedSocket>,
}

/// Why the service does not start: one line, and a status for scripts.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

/// Installed, the three programs are one file under three names, since most of what they are made of is the same.
fn main() -> ExitCode {
    let called = std::env::args_os().next().map(PathBuf::from);
    match called.as_deref().and_then(Path::file_name).and_then(std::ffi::OsStr::to_str) {
        Some("mocactl") => ctl::main(),
        Some("moca-file-log-generator") => systemd::generator::main(),
        _ => serve(),
    }
}

fn serve() -> ExitCode {
    // Before anything starts a thread or opens a descriptor.
    let passed = systemd::passed();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nothing can be said when even the terminal is gone.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    if let Err(error) = journal::init(&arguments.name, log::LevelFilter::Info) {
        eprintln!("moca-file-log: {error}");
        return Exit::Software.into();
    }
    let outcome = passed
        .map_err(|error| Failure::new(Exit::OsErr, error.to_string()))
        .and_then(|passed| prepare(&arguments, passed))
        .and_then(run);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            event!(error, START_FAILED; "{}", failure.message);
            failure.exit.into()
        }
    }
}

fn prepare(arguments: &Arguments, passed: Vec<PassedSocket>) -> Result<Start, Failure> {
    let place = |given: &Option<PathBuf>, variable: &str, fallback: &str| {
        // systemd separates several directories by colons; the first one is ours.
        let from_systemd =
            || std::env::var_os(variable).and_then(|value| std::env::split_paths(&value).next());
        given.clone().or_else(from_systemd).unwrap_or_else(|| PathBuf::from(fallback))
    };
    let places = Places {
        config: place(&arguments.config_dir, "CONFIGURATION_DIRECTORY", "configs"),
        logs: place(&arguments.log_dir, "LOGS_DIRECTORY", "client_logs"),
        state: place(&arguments.state_dir, "STATE_DIRECTORY", "state"),
    };
    let name: LogName = arguments.name.parse().map_err(|error| {
        Failure::new(Exit::Usage, format!("{:?} is no name of a log: {error}", arguments.name))
    })?;
    Ok(Start { name, places, program: Program::of_this_process(), passed })
}

/// What an instance begins with.
struct Configured {
    log: LogEntry,
    files: Files,
    warnings: Vec<Finding>,
    /// of HTTPS, where it is configured
    identity: Option<Identity>,
    /// why these are the files that were in force last, and not those of the directory
    refused: Option<String>,
}

/// The configuration of the log of `start`. Where systemd holds the sockets, broken files are no reason not to serve:
/// the last good ones are in force then.
fn load(start: &Start) -> Result<Configured, Failure> {
    let places = &start.places;
    match config::load(&places.config) {
        Ok(loaded) => configured(start, loaded.files, loaded.warnings, None),
        Err(findings) => {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            let lines = lines.join("\n");
            let kept =
                if start.passed.is_empty() { None } else { last_good::read(&places.state, &start.name) };
            match kept {
                Some(files) => configured(start, files, Vec::new(), Some(lines)),
                None => Err(Failure::new(Exit::Config, lines)),
            }
        }
    }
}

fn configured(
    start: &Start,
    files: Files,
    warnings: Vec<Finding>,
    refused: Option<String>,
) -> Result<Configured, Failure> {
    let name = &start.name;
    let log_json = start.places.config.join("log.json");
    let log_json = log_json.display();
    let Some(log) = files.logs.get(name).cloned() else {
        let known: Vec<&str> = files.logs.keys().map(LogName::as_str).collect();
        let known = if known.is_empty() { "no log".to_owned() } else { known.join(", ") };
        let message = format!("unknown log \"{name}\": {log_json} has {known}");
        return Err(Failure::new(Exit::Config, message));
    };
    if !log.status {
        let message = format!("the log \"{name}\" is switched off: \"status\": false in {log_json}");
        return Err(Failure::new(Exit::Config, message));
    }
    let identity = files.server.tls.as_ref().map(|pair| tls::load(pair, &start.places.config)).transpose();
    let identity = identity.map_err(|finding| Failure::new(Exit::Config, finding.to_string()))?;
    Ok(Configured { log, files, warnings, identity, refused })
}

fn run(start: Start) -> Result<(), Failure> {
    // A mistake is told before a hook does anything.
    load(&start)?;
    raise_descriptor_limit();
    // One thread serves and writes: a record then never waits for another thread to wake up. Readers and slow hashes
    // have a small pool beside it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
        .map_err(|error| Failure::new(Exit::OsErr, format!("can't start the event loop: {error}")))?;
    let by_systemd = !start.passed.is_empty() || std::env::var_os("NOTIFY_SOCKET").is_some();
    let program = start.program.clone();
    let outcome = runtime.block_on(instance::serve(start));
    runtime.shutdown_background();
    match outcome? {
        Ended::Stopped => Ok(()),
        // systemd starts what it finds; its sockets have never been closed.
        Ended::Outdated if by_systemd => Ok(()),
        Ended::Outdated => Err(program.start_again()),
    }
}

/// Why an instance has stopped.
enum Ended {
    /// it was told to
    Stopped,
    /// the installed program is another one (`auto_reload`)
    Outdated,
}

/// Every connection is a descriptor; the soft limit is a default for programs that use select(2).
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log::warn!("can't raise the limit of open files: {error}");
    }
}

/// Creates a directory that the service needs; systemd has done it already where it starts us.
fn create_directory(path: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(path)
        .map_err(|error| Failure::new(Exit::CantCreate, format!("can't create {}: {error}", path.display())))
}

/// The policy of an instance under these files.
fn policy(name: &LogName, log: &LogEntry, files: &Files) -> http::Policy {
    http::Policy::new(name, log.clone(), files.clone())
}
