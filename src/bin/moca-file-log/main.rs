//! Serves one log: `moca-file-log NAME`.
//!
//! Under systemd the program serves the passed sockets. Otherwise it binds the address in
//! `log.json` and the admin socket itself. An error during the start ends it with a message of one
//! line and an exit status of `sysexits.h`.

mod admin_socket;
mod failure;
mod instance;
mod last_good;
mod listen_sockets;
mod program_update;
mod reload;
mod sockets;
mod startup;
mod workers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use moca_file_log::ctl;
use moca_file_log::event;
use moca_file_log::exit::Exit;
use moca_file_log::systemd::{self, journal};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use failure::StartError;
use instance::ExitReason;
use startup::{Arguments, Startup, load, prepare};
use tikv_jemallocator::Jemalloc;

/// jemalloc returns freed memory to the system within seconds, in a thread of its own. glibc keeps
/// nearly everything that a flood took.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Runs one of the three programs, chosen by the name that it was called with. The package installs
/// the three programs as one file with three names, since they share most of their code.
fn main() -> ExitCode {
    let called = std::env::args_os().next().map(PathBuf::from);
    match called.as_deref().and_then(Path::file_name).and_then(std::ffi::OsStr::to_str) {
        Some("mocactl") => ctl::main(),
        Some("moca-file-log-generator") => systemd::generator::main(),
        _ => serve(),
    }
}

fn serve() -> ExitCode {
    // Must run before any thread starts and any descriptor is opened.
    let passed = systemd::passed();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Without a terminal there is no place to report the error.
            drop(error.print());
            return if error.use_stderr() { Exit::Usage.into() } else { ExitCode::SUCCESS };
        }
    };
    if let Err(error) = journal::init(&arguments.name, log::LevelFilter::Info) {
        eprintln!("moca-file-log: {error}");
        return Exit::Software.into();
    }
    let outcome = passed
        .map_err(|error| StartError::new(Exit::OsErr, error.to_string()))
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

fn run(startup: Startup) -> Result<(), StartError> {
    // Reports an error in the configuration before any hook runs.
    load(&startup)?;
    raise_descriptor_limit();
    // One thread serves and appends, so that a record never waits for another thread to wake up.
    // Readers and password hashes run in a small pool of blocking threads.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
        .map_err(|error| StartError::new(Exit::OsErr, format!("can't start the event loop: {error}")))?;
    let by_systemd = !startup.passed.is_empty() || std::env::var_os("NOTIFY_SOCKET").is_some();
    let program = startup.program.clone();
    let outcome = runtime.block_on(instance::serve(startup));
    runtime.shutdown_background();
    match outcome? {
        ExitReason::Stopped => Ok(()),
        // systemd starts the new program and holds the sockets meanwhile.
        ExitReason::Outdated if by_systemd => Ok(()),
        ExitReason::Outdated => Err(program.re_exec()),
    }
}

/// Raises the soft limit of open files to the hard limit, since each connection needs a descriptor.
/// The soft limit is low only for programs that use select(2).
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log::warn!("can't raise the limit of open files: {error}");
    }
}
