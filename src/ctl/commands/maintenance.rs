//! `mocactl turn-off` and `turn-on`: begin and end maintenance.
//!
//! The command sends a signal to a service of systemd, and asks another server by its admin socket.
//! Both keep the state themselves. For an instance that does not run, the command writes or removes
//! the marker in the state directory, which the next start reads.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;
use std::process::Command as Process;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use http::Method;
use nix::unistd::{User, geteuid};
use serde::Deserialize;
use serde_json::json;

use crate::config::LogName;
use crate::ctl::client::admin_client::AdminClient;
use crate::ctl::edit::config_file::{Target, sync_parent};
use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::{LogNames, LogSelection, for_each_log};
use crate::ctl::paths::Directories;
use crate::ctl::system::instance_state::has_own_socket;
use crate::ctl::system::systemctl;
use crate::ctl::system::units::Units;
use crate::ctl::ui::output::{Printer, print_note};
use crate::exit::Exit;
use crate::guard::state_file;

/// Maximum time for an instance to finish its start or stop.
const STATE_CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// Says whether an instance can be sent a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunState {
    /// The instance handles signals.
    Running,
    /// The instance starts or stops. A signal may kill it, because its handlers may not be
    /// installed.
    Starting,
    NotRunning,
    /// The machine has no systemd that could report the state.
    Unknown,
}

/// The aliases `maintenance on` and `maintenance off`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Begin maintenance, as turn-off does
    On(LogNames),
    /// End maintenance, as turn-on does
    Off(LogNames),
}

pub(crate) fn run_alias(command: &Command, directories: &Directories, printer: &mut Printer) -> Outcome {
    match command {
        Command::On(names) => run(true, names, directories, printer),
        Command::Off(names) => run(false, names, directories, printer),
    }
}

pub(crate) fn run(on: bool, args: &LogNames, directories: &Directories, printer: &mut Printer) -> Outcome {
    // All names are checked before the first change.
    let names = LogSelection::load(directories)?.select(&args.names)?;
    let status = for_each_log(&names, |name| {
        let how = switch(on, name, directories)?;
        let what = if on { "maintenance is on" } else { "maintenance is off" };
        printer.line(format_args!("{name}: {what}{how}"))
    })?;
    printer.flush()?;
    if !on {
        warn_of_file(directories);
    }
    Ok(status)
}

fn switch(on: bool, name: &LogName, directories: &Directories) -> Result<&'static str, Error> {
    let units = Units::of(name)?;
    let until = Instant::now() + STATE_CHANGE_TIMEOUT;
    let mut marked = false;
    loop {
        match run_state(&units)? {
            RunState::Running => {
                signal(on, &units.service)?;
                return Ok("");
            }
            RunState::Starting if Instant::now() < until => std::thread::sleep(Duration::from_millis(100)),
            RunState::Starting => {
                let message = format!("{name}: it is neither started nor stopped after a minute; try again");
                return Err(Error::new(Exit::TempFail, message));
            }
            // The state is read once more after the change, because the instance may have started
            // before the marker was written.
            state @ (RunState::NotRunning | RunState::Unknown)
                if ask(on, name, directories, state == RunState::NotRunning)? =>
            {
                return Ok("");
            }
            RunState::NotRunning | RunState::Unknown if marked => return Ok(", from its next start on"),
            RunState::NotRunning | RunState::Unknown => {
                let marker = state_file(&directories.state, name, "maintenance");
                let outcome = if on { mark(&directories.state, &marker) } else { unmark(&marker) };
                outcome.map_err(|error| Error::of_file("change", &marker, &error))?;
                marked = true;
            }
        }
    }
}

/// Holds the answer of an instance.
#[derive(Deserialize)]
struct Switched {
    /// False if a restart will lose the new state.
    kept: bool,
}

/// Switches a server that systemd did not start, by its admin socket. Returns false if there is none.
fn ask(on: bool, name: &LogName, directories: &Directories, has_systemd: bool) -> Result<bool, Error> {
    if !has_own_socket(name, directories, has_systemd)? {
        return Ok(false);
    }
    let body = json!({ "on": on.to_string() });
    let answer = AdminClient::new(directories, name)?.value_for(Method::POST, "/admin/maintenance", &body);
    match answer {
        Ok(Switched { kept: true }) => Ok(true),
        Ok(Switched { kept: false }) => {
            print_note(format_args!("mocactl: {name}: the state cannot be written, a restart will lose it"));
            Ok(true)
        }
        // The socket is left over from a process that has ended.
        Err(Error::Failed { exit: Exit::Unavailable, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn run_state(units: &Units) -> Result<RunState, Error> {
    let shown = systemctl::show(std::slice::from_ref(&units.service), &["ActiveState", "SubState"])?;
    let Some(shown) = shown else { return Ok(RunState::Unknown) };
    let (active, sub) =
        shown.first().map_or(("", ""), |unit| (unit.get("ActiveState"), unit.get("SubState")));
    Ok(match active {
        "active" | "reloading" => RunState::Running,
        // Between two attempts to start, there is no process.
        "activating" if sub.starts_with("auto-restart") => RunState::NotRunning,
        "activating" | "deactivating" => RunState::Starting,
        _ => RunState::NotRunning,
    })
}

fn signal(on: bool, service: &str) -> Result<(), Error> {
    let signal = if on { "SIGUSR1" } else { "SIGUSR2" };
    let status = Process::new("systemctl")
        .args(["kill", "--kill-whom=main", "-s", signal, "--", service])
        .status()
        .map_err(|error| Error::of_program("systemctl", &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(Exit::Unavailable, format!("systemctl kill {service} failed ({status})")))
}

/// Writes the marker. The directory belongs to the service, so the function follows no link and
/// overwrites no file.
fn mark(state_dir: &Path, marker: &Path) -> io::Result<()> {
    if !state_dir.exists() {
        create_state_dir(state_dir)?;
    }
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o640).open(marker) {
        Ok(file) => file,
        // Only the presence of the marker matters.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    writeln!(file, "{{\"since\":{since}}}")?;
    if geteuid().is_root() {
        let owner = fs::metadata(state_dir)?;
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.sync_all()?;
    sync_parent(marker)
}

fn unmark(marker: &Path) -> io::Result<()> {
    match fs::remove_file(marker) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_parent(marker),
    }
}

/// Creates the state directory as systemd does at the first start.
fn create_state_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o750).recursive(true).create(dir)?;
    let service = geteuid().is_root().then(|| User::from_name("moca-file-log").ok().flatten()).flatten();
    if let Some(user) = service {
        fchown(File::open(dir)?, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    Ok(())
}

/// Prints a note when `maintenance_mode` of system.json keeps maintenance on, because no signal
/// changes that.
fn warn_of_file(directories: &Directories) {
    let target = Target::System;
    match target.read(&directories.config).and_then(|text| target.parse(&text)) {
        Ok(files) if files.system.maintenance_mode => {
            print_note(
                "mocactl: system.json keeps maintenance on: set maintenance_mode to false there as well",
            );
        }
        Ok(_) => {}
        Err(error) => {
            print_note(format_args!(
                "mocactl: whether system.json keeps maintenance on is not known: {error}"
            ));
        }
    }
}
