//! `mocactl reset-system`: restores the shipped configuration and removes all data, after an
//! archive of both.
//!
//! Nothing is changed before the archive is complete and has been read back.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;

use crate::config;
use crate::ctl::edit::config_file::{replace, sync_parent};
use crate::ctl::edit::secrets::fresh_secrets;
use crate::ctl::error::{Error, Outcome};
use crate::ctl::log_selection::LogSelection;
use crate::ctl::paths::Directories;
use crate::ctl::reconcile::apply;
use crate::ctl::system::systemctl;
use crate::ctl::system::units::TARGET;
use crate::ctl::system::user::must_be_root;
use crate::ctl::ui::output::{Printer, print_note};
use crate::ctl::ui::prompt;
use crate::exit::Exit;
use crate::store;

/// Arguments of `reset-system`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    /// Directory for the archive of configuration and data
    #[arg(long, value_name = "DIR", default_value = "/var/backups")]
    backup_dir: PathBuf,
    /// Directory of the shipped configuration
    #[arg(long, value_name = "DIR", default_value = "/usr/share/moca-file-log/configs")]
    shipped_dir: PathBuf,
}

/// Patterns of all units of MocaFileLog that systemd may have loaded.
const ALL_UNITS: [&str; 5] = [
    TARGET,
    "moca-file-log@*",
    "moca-file-log-admin@*",
    "moca-file-log-stream@*",
    "moca-file-log-datagram@*",
];

pub(crate) fn run(args: &Args, directories: &Directories, printer: &mut Printer) -> Outcome {
    must_be_root()?;
    let shipped = &args.shipped_dir;
    config::load(shipped).map_err(|findings| {
        let findings = Error::of_findings(&findings);
        Error::new(Exit::NoInput, format!("no shipped configuration in {}: {findings}", shipped.display()))
    })?;
    let elsewhere = files_elsewhere(directories);
    let question = format!(
        "Reset {} and remove every log in {}, after an archive of both in {}?",
        directories.config.display(),
        directories.logs.display(),
        args.backup_dir.display()
    );
    if !prompt::confirm(&question, args.yes)? {
        return Ok(1);
    }
    let units: Vec<String> = ALL_UNITS.iter().map(ToString::to_string).collect();
    let ran = stop(&units, printer)?;
    let restart = |printer: &mut Printer| -> Outcome {
        if ran { systemctl::run(printer, &["start"], &[TARGET.to_owned()]) } else { Ok(0) }
    };
    let archive = match archive(&args.backup_dir, directories, &elsewhere) {
        Ok(archive) => archive,
        Err(error) => {
            restart(printer)?;
            return Err(error);
        }
    };
    printer.line(format_args!("archive: {}", archive.display()))?;
    printer.flush()?;
    restore(shipped, directories, &elsewhere)?;
    printer.line(format_args!(
        "{} is as shipped, with a fresh key and root password in it",
        directories.config.display()
    ))?;
    if ran && let Err(error) = apply(false, directories, printer) {
        print_note(format_args!("mocactl: {error}"));
    }
    restart(printer)
}

/// Stops all units. Returns whether one of them was active.
fn stop(units: &[String], printer: &mut Printer) -> Result<bool, Error> {
    let Some(before) = systemctl::show(units, &["Id", "ActiveState"])? else {
        print_note(
            "mocactl: there is no systemd here; stop servers that you started yourself before you go on",
        );
        return Ok(false);
    };
    let up = |states: &[systemctl::UnitProperties]| {
        states.iter().any(|unit| !matches!(unit.get("ActiveState"), "" | "inactive" | "failed"))
    };
    if !up(&before) {
        return Ok(false);
    }
    let status = systemctl::run(printer, &["stop"], units)?;
    let after = systemctl::show(units, &["Id", "ActiveState"])?.unwrap_or_default();
    if status != 0 || up(&after) {
        return Err(Error::new(Exit::Unavailable, "not everything could be stopped; nothing was changed"));
    }
    Ok(true)
}

/// Returns the files of logs outside the log directory, with their rotated segments.
fn files_elsewhere(directories: &Directories) -> Vec<PathBuf> {
    // The names of logs in an invalid log.json cannot be read.
    let Ok(logs) = LogSelection::load(directories) else { return Vec::new() };
    let outside = logs.entries.values().map(|log| &log.file);
    let outside = outside.filter(|file| file.is_absolute() && !file.starts_with(&directories.logs));
    outside.flat_map(|file| with_segments(file)).collect()
}

fn with_segments(file: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else { return Vec::new() };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let parts = entries.filter(|entry| is_part_of(&entry.file_name(), name));
    parts.map(|entry| entry.path()).collect()
}

/// Returns whether a file is the log file `name` or one of its rotated segments.
fn is_part_of(candidate: &OsStr, name: &OsStr) -> bool {
    store::is_file_of(name, candidate)
}

/// Writes the archive, which only root can read, and reads it back.
fn archive(backup_dir: &Path, directories: &Directories, elsewhere: &[PathBuf]) -> Result<PathBuf, Error> {
    fs::create_dir_all(backup_dir).map_err(|error| Error::of_file("create", backup_dir, &error))?;
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let path = backup_dir.join(format!("moca-file-log-{stamp}.tar.gz"));
    let unfinished = backup_dir.join(format!("moca-file-log-{stamp}.tar.gz.tmp"));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
    let file = file.map_err(|error| Error::of_file("create", &unfinished, &error))?;
    let outcome = pack(&file, directories, elsewhere)
        .and_then(|()| file.sync_all().map_err(|error| Error::of_file("write", &unfinished, &error)))
        .and_then(|()| read_back(&unfinished))
        .and_then(|()| {
            let kept = fs::rename(&unfinished, &path).and_then(|()| sync_parent(&path));
            kept.map_err(|error| Error::of_file("write", &path, &error))
        });
    if let Err(error) = outcome {
        drop(fs::remove_file(&unfinished));
        return Err(Error::new(Exit::CantCreate, format!("no archive, so nothing was changed: {error}")));
    }
    Ok(path)
}

fn pack(archive: &fs::File, directories: &Directories, elsewhere: &[PathBuf]) -> Result<(), Error> {
    let output = archive.try_clone().map_err(|error| Error::new(Exit::OsErr, error.to_string()))?;
    let mut command = Command::new("tar");
    command.args(["--create", "--gzip", "--file=-", "--directory=/", "--"]);
    let directories = [&directories.config, &directories.logs, &directories.state];
    for path in directories.into_iter().chain(elsewhere) {
        // The archive leaves out a directory that the installation does not have.
        let Ok(path) = fs::canonicalize(path) else { continue };
        command.arg(path.strip_prefix("/").unwrap_or(&path));
    }
    let status = command.stdin(Stdio::null()).stdout(output).status();
    succeeded("tar", status)
}

fn read_back(archive: &Path) -> Result<(), Error> {
    let mut file = OsString::from("--file=");
    file.push(archive);
    let mut command = Command::new("tar");
    command.args(["--list", "--gzip"]).arg(file).stdin(Stdio::null()).stdout(Stdio::null());
    succeeded("tar", command.status())
}

fn succeeded(program: &str, status: io::Result<std::process::ExitStatus>) -> Result<(), Error> {
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::new(Exit::IoErr, format!("`{program}` failed ({status})"))),
        Err(error) => Err(Error::of_program(program, &error)),
    }
}

fn restore(shipped: &Path, directories: &Directories, elsewhere: &[PathBuf]) -> Result<(), Error> {
    let names = names_in(shipped)?;
    for name in &names {
        let content =
            fs::read(shipped.join(name)).map_err(|e| Error::of_file("read", &shipped.join(name), &e))?;
        let path = directories.config.join(name);
        // A copy of a file that is mounted by itself is in the archive as well, and is removed below.
        let _copy = replace(&path, &content)?;
    }
    fresh_secrets(&directories.config)?;
    for name in names_in(&directories.config)?.iter().filter(|name| !names.contains(name)) {
        remove(&directories.config.join(name))?;
    }
    for folder in [&directories.logs, &directories.state] {
        if folder.exists() {
            for name in names_in(folder)? {
                remove(&folder.join(name))?;
            }
        }
    }
    elsewhere.iter().try_for_each(|file| remove(file))
}

fn names_in(folder: &Path) -> Result<Vec<OsString>, Error> {
    let names =
        fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    names.map_err(|error| Error::of_file("read", folder, &error))
}

/// Removes a file or a directory without following links.
fn remove(path: &Path) -> Result<(), Error> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let outcome = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    outcome.map_err(|error| Error::of_file("remove", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_its_file_and_its_segments() {
        let belongs = |candidate: &str| is_part_of(candidate.as_ref(), "a.log".as_ref());
        for part in [
            "a.log",
            "a.log.20261123T050229Z-1",
            "a.log.20261123T050229Z-12.zst",
            "a.log.20261123T050229Z-2.gz",
        ] {
            assert!(belongs(part), "{part}");
        }
        for other in [
            "a.log2",
            "b.log",
            "a.log.bak",
            "a.log.20261123T050229Z-",
            "a.log.2026T05Z-1",
            "a.log.1.gz",
            "a.lo",
        ] {
            assert!(!belongs(other), "{other}");
        }
    }
}
