//! Writes a plan as drop-ins and links into the output directory of the generator.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::plan::{LogUnits, Plan, Sandbox};
use super::units::{TARGET, admin_path, admin_path_is_plain, admin_socket_unit, service_unit, socket_unit};
use crate::config::LogName;

/// Writes the units of `plan` into the directory `dir`.
///
/// # Errors
/// Returns the error of the first file or link that cannot be created, after trying all of them.
pub fn write(plan: &Plan, dir: &Path) -> io::Result<()> {
    let mut outcomes = Vec::new();
    for (name, units) in &plan.logs {
        let address = format!("{}.d/50-address.conf", socket_unit(name));
        outcomes.push(write_file(&dir.join(address), &socket(units)));
        if !admin_path_is_plain(name) {
            let path = format!("{}.d/50-path.conf", admin_socket_unit(name));
            outcomes.push(write_file(&dir.join(path), &admin_socket(name)));
        }
        if let Some(text) = service(&units.sandbox) {
            let log = format!("{}.d/50-log.conf", service_unit(name));
            outcomes.push(write_file(&dir.join(log), &text));
        }
        let instances = [
            (socket_unit(name), "moca-file-log@.socket"),
            (admin_socket_unit(name), "moca-file-log-admin@.socket"),
            (service_unit(name), "moca-file-log@.service"),
        ];
        for (instance, template) in instances {
            let link = dir.join(format!("{TARGET}.wants")).join(instance);
            outcomes.push(make_link(&format!("{UNITS}/{template}"), &link));
        }
    }
    if let Some(text) = folders(plan) {
        outcomes.push(write_file(&dir.join(FOLDERS), &text));
    }
    outcomes.into_iter().collect()
}

/// The configuration of `moca-file-log-folders.service`. It is no unit, so systemd ignores it.
const FOLDERS: &str = "moca-file-log-folders.conf";

/// The directory of the packaged units.
const UNITS: &str = "/usr/lib/systemd/system";

const HEADER: &str =
    "# Made by moca-file-log-generator from /etc/moca-file-log/log.json and server.json: edit those.\n";

fn socket(units: &LogUnits) -> String {
    let mut text = HEADER.to_owned();
    // With SourcePath, `systemctl status` tells that the file has changed since.
    text.push_str("[Unit]\nSourcePath=/etc/moca-file-log/log.json\n\n[Socket]\n");
    // The empty value removes an address of the template.
    line(&mut text, "ListenStream", "");
    line(&mut text, "ListenStream", &units.listen.to_string());
    if matches!(units.listen, SocketAddr::V6(_)) {
        line(&mut text, "BindIPv6Only", "both");
    }
    line(&mut text, "Backlog", &units.backlog.to_string());
    text
}

fn admin_socket(name: &LogName) -> String {
    let mut text = HEADER.to_owned();
    text.push_str("[Socket]\n");
    line(&mut text, "ListenStream", "");
    line(&mut text, "ListenStream", &admin_path(name).replace('%', "%%"));
    text
}

/// Returns the drop-in of a service; `None` if the packaged sandbox is sufficient.
fn service(sandbox: &Sandbox) -> Option<String> {
    if *sandbox == Sandbox::default() {
        return None;
    }
    let mut text = HEADER.to_owned();
    if sandbox.folder.is_some() {
        // A sandbox can open only an existing folder, so another service creates it before, as
        // root.
        text.push_str("[Unit]\nWants=moca-file-log-folders.service\nAfter=moca-file-log-folders.service\n\n");
    }
    text.push_str("[Service]\n");
    if let Some(folder) = &sandbox.folder {
        // With `-`, a missing folder does not stop the service, whose own error is clearer.
        line(&mut text, "ReadWritePaths", &quoted(&format!("-{}", folder.display())));
    }
    if sandbox.homes {
        line(&mut text, "ProtectHome", "read-only");
    }
    if sandbox.tmp {
        line(&mut text, "PrivateTmp", "no");
    }
    if sandbox.network {
        line(&mut text, "PrivateNetwork", "no");
        line(&mut text, "RestrictAddressFamilies", "AF_INET AF_INET6");
    }
    Some(text)
}

/// Returns the folders outside the log directory for systemd-tmpfiles(8); `None` if there are none.
fn folders(plan: &Plan) -> Option<String> {
    let mut text = HEADER.to_owned();
    let mut folders: Vec<_> = plan.logs.values().filter_map(|units| units.sandbox.folder.as_ref()).collect();
    folders.sort();
    folders.dedup();
    for folder in &folders {
        // `:` applies mode and owner only to a new folder. An existing folder keeps its own.
        let folder = quoted(&folder.to_string_lossy());
        _ = writeln!(text, "d {folder} :0750 :moca-file-log :moca-file-log -");
    }
    (!folders.is_empty()).then_some(text)
}

fn line(text: &mut String, option: &str, value: &str) {
    // Writing to a string never fails.
    _ = writeln!(text, "{option}={value}");
}

/// Quotes a text as one word without specifiers.
fn quoted(text: &str) -> String {
    let text = text.replace('\\', r"\\").replace('"', r#"\""#).replace('%', "%%");
    format!("\"{text}\"")
}

fn write_file(path: &Path, text: &str) -> io::Result<()> {
    create_parent(path).and_then(|()| fs::write(path, text)).map_err(|error| at(path, &error))
}

fn make_link(target: &str, link: &Path) -> io::Result<()> {
    create_parent(link).and_then(|()| symlink(target, link)).map_err(|error| at(link, &error))
}

fn create_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("can't create {}: {error}", path.display()))
}
