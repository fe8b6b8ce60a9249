//! Finds what would keep a server from starting, or the units from being made, although every file
//! is valid by itself.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{Files, Finding, LogEntry, LogName};
use crate::ctl::paths::Directories;
use crate::ctl::system::systemctl;
use crate::net::certificate;
use crate::systemd::generator::Plan;

const LOG_JSON: &str = "log.json";

/// The startup hooks and their interpreters.
const STARTUP_HOOKS: [(&str, &str); 2] = [("startup.py", "python3"), ("startup.sh", "sh")];

/// Returns the errors, and the warnings about what only systemd would refuse where it does not run.
pub(crate) fn start_errors(directories: &Directories, files: &Files) -> (Vec<Finding>, Vec<Finding>) {
    let pair = files.server.tls.as_ref();
    let mut errors: Vec<Finding> =
        pair.and_then(|pair| certificate::load(pair, &directories.config).err()).into_iter().collect();
    let (_, of_units) = Plan::of(files);
    // Without systemd, the server itself looks up the name of a host.
    let is_lookup = |finding: &Finding| finding.path.ends_with(".host") && !systemctl::is_booted();
    let (warnings, of_units) = of_units.into_iter().partition(is_lookup);
    errors.extend::<Vec<Finding>>(of_units);
    errors.extend(files_of_logs(directories, files));
    if !systemctl::is_booted() {
        errors.extend(enabled(files).filter_map(|(name, log)| host(name, log)));
    }
    errors.extend(folders(directories));
    errors.extend(STARTUP_HOOKS.iter().filter_map(|(hook, program)| interpreter(directories, hook, program)));
    (errors, warnings)
}

fn enabled(files: &Files) -> impl Iterator<Item = (&LogName, &LogEntry)> {
    files.logs.iter().filter(|(_, log)| log.status)
}

fn finding(name: &LogName, option: &str, message: impl Into<String>) -> Finding {
    Finding::of_option(LOG_JSON, format!("{name}.{option}"), message)
}

/// Returns a finding for each log whose file the server cannot open or shares with another log.
fn files_of_logs(directories: &Directories, files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut owners: BTreeMap<(u64, u64), &LogName> = BTreeMap::new();
    for (name, log) in enabled(files) {
        let path = directories.logs.join(&log.file);
        match fs::metadata(&path) {
            Ok(file) if !file.is_file() => {
                let message = format!("{} is not a regular file", path.display());
                findings.push(finding(name, "file", message).with_remedy("give the log a file of its own"));
            }
            Ok(file) => {
                if let Some(other) = owners.insert((file.dev(), file.ino()), name) {
                    let message = format!("{} is the file of log `{other}`, by a link", path.display());
                    findings.push(finding(name, "file", message).with_remedy("give each log its own file"));
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                findings.extend(not_creatable(&path).map(|message| finding(name, "file", message)));
            }
            // This user cannot tell.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => {
                let message = format!("{} cannot be opened: {error}", path.display());
                findings.push(finding(name, "file", message));
            }
        }
    }
    findings
}

/// Returns the reason why a missing file cannot be created, if it is known.
fn not_creatable(path: &Path) -> Option<String> {
    // The server creates folders, but not the folder of the target of a link.
    if let Ok(target) = fs::read_link(path) {
        let target = path.parent().unwrap_or_else(|| Path::new("/")).join(target);
        let folder = target.parent().filter(|folder| !folder.exists())?;
        return Some(format!("{} is a link into {}, which is missing", path.display(), folder.display()));
    }
    let existing = path.ancestors().skip(1).find(|folder| folder.symlink_metadata().is_ok())?;
    (!existing.is_dir()).then(|| format!("{} is not a directory", existing.display()))
}

/// Returns a finding if the server finds no address for the host of a log.
fn host(name: &LogName, log: &LogEntry) -> Option<Finding> {
    if log.host.parse::<IpAddr>().is_ok() {
        return None;
    }
    let of_family = (&*log.host, log.port).to_socket_addrs();
    match of_family.map(|mut all| all.any(|address| address.is_ipv6() == log.use_ipv6)) {
        Ok(true) => None,
        Ok(false) => {
            let family = if log.use_ipv6 { "IPv6" } else { "IPv4" };
            let message = format!("`{}` has no {family} address", log.host);
            Some(finding(name, "host", message).with_remedy("change use_ipv6, or write the address itself"))
        }
        Err(error) => {
            let message = format!("`{}` cannot be looked up: {error}", log.host);
            Some(finding(name, "host", message).with_remedy("write an IP address"))
        }
    }
}

/// Returns a finding for each directory of the service whose path leads to another kind of file.
fn folders(directories: &Directories) -> Vec<Finding> {
    let places: [(&'static str, &PathBuf); 2] =
        [("the log directory", &directories.logs), ("the state directory", &directories.state)];
    let wrong = |(what, path): (&'static str, &PathBuf)| {
        let existing = path.ancestors().find(|folder| folder.symlink_metadata().is_ok())?;
        let message = format!("{} is not a directory", existing.display());
        (!existing.is_dir()).then(|| Finding::of_file(what, message))
    };
    places.into_iter().filter_map(wrong).collect()
}

/// Returns a finding if a startup hook exists and its interpreter does not.
fn interpreter(directories: &Directories, hook: &'static str, program: &str) -> Option<Finding> {
    if !directories.config.join(hook).exists() {
        return None;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return None;
    }
    let message = format!("this hook needs `{program}`, which is not in PATH");
    Some(Finding::of_file(hook, message).with_remedy("install it, or remove the hook"))
}
