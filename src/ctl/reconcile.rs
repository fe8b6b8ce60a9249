//! Applies `log.json` and `server.json` to the units of systemd.
//!
//! Only the units of changed logs are started, stopped or restarted. The processes of other logs
//! keep running.

use std::path::Path;

use crate::config::LogName;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::lint;
use crate::ctl::paths::Directories;
use crate::ctl::system::systemctl;
use crate::ctl::system::units::{generated, other_sockets};
use crate::ctl::ui::output::{Printer, print_note};
use crate::exit::Exit;
use crate::systemd::generator::{
    self, Diff, FileStamp, Plan, admin_socket_unit, applied, diff, service_unit, socket_unit, store,
};

/// Maximum number of rounds when the files are edited again and again.
const MAX_ROUNDS: usize = 10;

/// Applies the configuration as a whole. If a file is invalid, nothing changes.
///
/// systemd does not report edits that are made while this runs, so the function compares the files
/// again at the end.
pub(crate) fn apply(if_edited: bool, directories: &Directories, printer: &mut Printer) -> Outcome {
    let kept = generated();
    if if_edited {
        let last = FileStamp::kept(&kept.snapshot);
        if last.is_none_or(|stamp| stamp == FileStamp::of(&directories.config)) {
            return Ok(0);
        }
    }
    for _ in 0..MAX_ROUNDS {
        let stamp = FileStamp::of(&directories.config);
        // The stamp is kept for refused files as well. Its error does not matter, because the plan
        // then cannot be written either, and that is reported.
        let _kept = stamp.keep(&kept.snapshot);
        apply_once(directories, &kept, printer)?;
        if FileStamp::of(&directories.config) == stamp {
            break;
        }
    }
    Ok(0)
}

fn apply_once(directories: &Directories, kept: &generator::Directories, printer: &mut Printer) -> Outcome {
    let judged = lint::lint(directories);
    if !judged.errors.is_empty() {
        print_note("mocactl: the configuration is not valid; what is applied stays as it is");
        return Err(Error::of_findings(&judged.errors));
    }
    let new = generator::plan(&directories.config).map_err(|findings| Error::of_findings(&findings))?;
    let old = applied(&kept.snapshot).unwrap_or_else(|error| {
        print_note(format_args!("mocactl: {error}; everything counts as new"));
        None
    });
    let old = old.unwrap_or_default();
    let diff = diff(&old, &new);
    save_plan(&kept.snapshot, &new)?;
    save_plan(&kept.lasting, &new)?;
    expect_success(systemctl::daemon_reload(printer)?, "daemon-reload")?;
    reconcile(&diff, &old, &new, printer)?;
    print_changes(&diff, printer)
}

fn save_plan(dir: &Path, plan: &Plan) -> Result<(), Error> {
    store(dir, plan).map_err(|error| Error::new(Exit::CantCreate, error.to_string()))
}

/// Changes the units. All stops come before the first start, because two logs may have swapped
/// their ports.
fn reconcile(diff: &Diff, old: &Plan, new: &Plan, printer: &mut Printer) -> Result<(), Error> {
    let mut stop: Vec<String> = diff.removed.iter().flat_map(|log| all_units(log, old)).collect();
    for log in &diff.listen {
        stop.push(socket_unit(log));
        stop.extend(other_sockets(log, old));
    }
    stop.extend(diff.sockets.iter().flat_map(|log| other_sockets(log, old)));
    let mut start: Vec<String> = diff.added.iter().flat_map(|log| all_units(log, new)).collect();
    for log in &diff.listen {
        start.push(socket_unit(log));
        start.extend(other_sockets(log, new));
        start.push(service_unit(log));
    }
    start.extend(diff.sockets.iter().flat_map(|log| other_sockets(log, new)));
    // A service takes its sockets when it starts.
    let restart: Vec<String> = diff.service.iter().chain(&diff.sockets).map(service_unit).collect();
    for (verb, units) in [("stop", stop), ("start", start), ("restart", restart)] {
        if !units.is_empty() {
            expect_success(systemctl::run(printer, &[verb], &units)?, verb)?;
        }
    }
    Ok(())
}

fn all_units(log: &LogName, plan: &Plan) -> Vec<String> {
    let mut units = vec![socket_unit(log), admin_socket_unit(log)];
    units.extend(other_sockets(log, plan));
    units.push(service_unit(log));
    units
}

fn expect_success(status: u8, verb: &str) -> Result<(), Error> {
    if status == 0 {
        return Ok(());
    }
    if !systemctl::is_booted() {
        let message = "systemd does not run here; a server takes its address from log.json when it starts";
        return Err(Error::new(Exit::Unavailable, message));
    }
    Err(Error::new(
        Exit::Unavailable,
        format!("systemctl {verb} failed ({status}); see journalctl -u 'moca-file-log*'"),
    ))
}

fn print_changes(diff: &Diff, printer: &mut Printer) -> Outcome {
    let lists = [
        (&diff.added, "started"),
        (&diff.removed, "stopped"),
        (&diff.listen, "moved to another address"),
        (&diff.sockets, "restarted with other sockets"),
        (&diff.service, "restarted in another sandbox"),
        (&diff.backlog, "gets its new backlog when its socket is started the next time"),
    ];
    for (logs, what) in lists {
        for log in logs {
            printer.line(format_args!("{log}: {what}"))?;
        }
    }
    if diff.is_empty() {
        printer.line("nothing to start, stop or restart")?;
    }
    Ok(0)
}
