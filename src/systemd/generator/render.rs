//! A plan as drop-ins and links, in the directory that systemd gave to the generator.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::plan::{LogUnits, Plan, Sandbox};
use super::units::{TARGET, admin_path, admin_path_is_plain, admin_socket_unit, service_unit, socket_unit};
use crate::config::LogName;

/// Writes the units of the plan into this directory.
///
/// # Errors
/// The first file or link that cannot be made; the others are made all the same.
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

/// Where `moca-file-log-folders.service` looks; no unit, so systemd passes over it.
const FOLDERS: &str = "moca-file-log-folders.conf";

/// Where the package has its units.
const UNITS: &str = "/usr/lib/systemd/system";

const HEADER: &str =
    "# Made by moca-file-log-generator from /etc/moca-file-log/log.json and server.json: edit those.\n";

fn socket(units: &LogUnits) -> String {
    let mut text = HEADER.to_owned();
    // SourcePath lets `systemctl status` say that the file was changed since
    text.push_str("[Unit]\nSourcePath=/etc/moca-file-log/log.json\n\n[Socket]\n");
    // an address that somebody added to the template would be a second one
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

/// `None` = the packaged sandbox is as it has to be.
fn service(sandbox: &Sandbox) -> Option<String> {
    if *sandbox == Sandbox::default() {
        return None;
    }
    let mut text = HEADER.to_owned();
    if sandbox.folder.is_some() {
        // root has to make it, outside of this sandbox and before it, since only what exists can be opened
        text.push_str("[Unit]\nWants=moca-file-log-folders.service\nAfter=moca-file-log-folders.service\n\n");
    }
    text.push_str("[Service]\n");
    if let Some(folder) = &sandbox.folder {
        // without it, the service itself says best what is wrong
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

/// The folders of all logs for `systemd-tmpfiles`; `None` = nothing is outside of the log directory.
fn folders(plan: &Plan) -> Option<String> {
    let mut text = HEADER.to_owned();
    let mut folders: Vec<_> = plan.logs.values().filter_map(|units| units.sandbox.folder.as_ref()).collect();
    folders.sort();
    folders.dedup();
    for folder in &folders {
        // mode and owner are those of a new folder: who may write to one that is there is for its owner to say
        let folder = quoted(&folder.to_string_lossy());
        _ = writeln!(text, "d {folder} :0750 :moca-file-log :moca-file-log -");
    }
    (!folders.is_empty()).then_some(text)
}

fn line(text: &mut String, option: &str, value: &str) {
    // writing to a string cannot fail
    _ = writeln!(text, "{option}={value}");
}

/// As one word in which systemd expands nothing.
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
