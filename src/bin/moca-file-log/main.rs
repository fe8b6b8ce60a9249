//! The server of one log: `moca-file-log NAME`.
//!
//! Under systemd it serves the sockets that were passed to it, elsewhere it binds the address of `log.json` itself.
//! What can go wrong before the first request ends in one clear line and an exit status of `sysexits.h`.

mod certificate;
mod failure;
mod instance;
mod last_good;
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

fn run(start: Startup) -> Result<(), StartError> {
    // A mistake is told before a hook does anything.
    load(&start)?;
    raise_descriptor_limit();
    // One thread serves and writes: a record then never waits for another thread to wake up. Readers and slow hashes
    // have a small pool beside it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
        .map_err(|error| StartError::new(Exit::OsErr, format!("can't start the event loop: {error}")))?;
    let by_systemd = !start.passed.is_empty() || std::env::var_os("NOTIFY_SOCKET").is_some();
    let program = start.program.clone();
    let outcome = runtime.block_on(instance::serve(start));
    runtime.shutdown_background();
    match outcome? {
        ExitReason::Stopped => Ok(()),
        // systemd starts what it finds; its sockets have never been closed.
        ExitReason::Outdated if by_systemd => Ok(()),
        ExitReason::Outdated => Err(program.re_exec()),
    }
}

/// Every connection is a descriptor; the soft limit is a default for programs that use select(2).
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log::warn!("can't raise the limit of open files: {error}");
    }
}
