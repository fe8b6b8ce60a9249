//! Writes a plan as drop-ins and links into the output directory of the generator.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::plan::{LogUnits, Plan, Sandbox};
use super::units::{TARGET, admin_path, admin_path_is_plain, admin_socket_unit, service_unit, socket_unit};
use super::units::{datagram_socket_unit, stream_socket_unit};
use crate::config::{ListenAddress, LogName};
use crate::systemd::sockets::LISTEN_NAME;

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
        let others = other_sockets(name, units);
        for other in &others {
            let address = format!("{}.d/50-address.conf", other.unit);
            outcomes.push(write_file(&dir.join(address), &other.text(units.backlog)));
            let link = dir.join(format!("{TARGET}.wants")).join(&other.unit);
            outcomes.push(make_link(&format!("{UNITS}/{}", other.template), &link));
        }
        if let Some(text) = service(&units.sandbox, &others) {
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

/// A socket unit for sockets that are not HTTP.
struct OtherSockets<'a> {
    unit: String,
    template: &'static str,
    /// `ListenStream` or `ListenDatagram`.
    option: &'static str,
    addresses: &'a [ListenAddress],
}

/// Returns the socket units of a log that has such sockets.
fn other_sockets<'a>(name: &LogName, units: &'a LogUnits) -> Vec<OtherSockets<'a>> {
    let streams = OtherSockets {
        unit: stream_socket_unit(name),
        template: "moca-file-log-stream@.socket",
        option: "ListenStream",
        addresses: &units.sockets.streams,
    };
    let datagrams = OtherSockets {
        unit: datagram_socket_unit(name),
        template: "moca-file-log-datagram@.socket",
        option: "ListenDatagram",
        addresses: &units.sockets.datagrams,
    };
    [streams, datagrams].into_iter().filter(|unit| !unit.addresses.is_empty()).collect()
}

impl OtherSockets<'_> {
    fn text(&self, backlog: u32) -> String {
        let mut text = HEADER.to_owned();
        text.push_str("[Unit]\nSourcePath=/etc/moca-file-log/log.json\n\n[Socket]\n");
        line(&mut text, "FileDescriptorName", LISTEN_NAME);
        for address in self.addresses {
            let address = match (address.ip(), address.path()) {
                (Some(address), _) => address.to_string(),
                (None, path) => {
                    path.unwrap_or_else(|| Path::new("")).display().to_string().replace('%', "%%")
                }
            };
            line(&mut text, self.option, &address);
        }
        if self.addresses.iter().any(|address| matches!(address.ip(), Some(SocketAddr::V6(_)))) {
            line(&mut text, "BindIPv6Only", "both");
        }
        if self.option == "ListenStream" {
            line(&mut text, "Backlog", &backlog.to_string());
        }
        text
    }
}

fn admin_socket(name: &LogName) -> String {
    let mut text = HEADER.to_owned();
    text.push_str("[Socket]\n");
    line(&mut text, "ListenStream", "");
    line(&mut text, "ListenStream", &admin_path(name).replace('%', "%%"));
    text
}

/// Returns the drop-in of a service; `None` if the packaged unit is sufficient.
fn service(sandbox: &Sandbox, others: &[OtherSockets<'_>]) -> Option<String> {
    if *sandbox == Sandbox::default() && others.is_empty() {
        return None;
    }
    let mut text = HEADER.to_owned();
    if !others.is_empty() {
        let units: Vec<String> = others.iter().map(|other| other.unit.replace('%', "%%")).collect();
        let units = units.join(" ");
        // When such a socket moves to another address, the service restarts with it.
        _ = writeln!(text, "[Unit]\nWants={units}\nPartOf={units}\nAfter={units}\n");
    }
    if sandbox.folder.is_some() {
        // A sandbox can open only an existing folder, so another service creates it before, as
        // root.
        text.push_str("[Unit]\nWants=moca-file-log-folders.service\nAfter=moca-file-log-folders.service\n\n");
    }
    if *sandbox == Sandbox::default() {
        return Some(text);
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
