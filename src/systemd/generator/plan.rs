//! Plans the units: the addresses and sandboxes of all logs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::units::too_long;
use crate::config::{
    self, Files, Finding, Listen, ListenAddress, LogEntry, LogName, RedisPlace, addresses_overlap,
};

/// The units of all logs that are switched on.
///
/// `mocactl apply` compares and stores it, and the generator writes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The units of each log, by its name.
    pub logs: BTreeMap<LogName, LogUnits>,
}

/// The settings of the units of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogUnits {
    /// The address on which systemd listens.
    pub listen: SocketAddr,
    /// Length of the accept queue in connections.
    pub backlog: u32,
    /// The sockets that are not HTTP, as a socket unit names them.
    #[serde(default, skip_serializing_if = "Sockets::is_empty")]
    pub sockets: Sockets,
    /// The permissions of the service beyond the packaged sandbox.
    #[serde(default)]
    pub sandbox: Sandbox,
}

/// The sockets of the option `listen`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sockets {
    /// Sockets for connections.
    pub streams: Vec<ListenAddress>,
    /// Sockets for datagrams.
    pub datagrams: Vec<ListenAddress>,
}

impl Sockets {
    fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.datagrams.is_empty()
    }
}

/// Permissions beyond the packaged sandbox; none by default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// The folder of an absolute `file`, which becomes writable and is created if it is missing.
    pub folder: Option<PathBuf>,
    /// Outgoing connections, for Redis over TCP.
    pub network: bool,
    /// Access to `/home`, `/root` and `/run/user`, if a configured file is there.
    pub homes: bool,
    /// Access to the real `/tmp` and `/var/tmp`, if a configured file is there.
    pub tmp: bool,
}

/// Returns the plan of the configuration directory `config_dir`.
///
/// # Errors
/// Returns all findings if one of the six files is invalid or systemd cannot serve a log.
pub fn plan(config_dir: &Path) -> Result<Plan, Vec<Finding>> {
    let (plan, findings) = Plan::of(&config::load(config_dir)?.files);
    if findings.is_empty() { Ok(plan) } else { Err(findings) }
}

impl Plan {
    /// Returns the plan of these files, and a finding for each log that systemd cannot serve.
    #[must_use]
    pub fn of(files: &Files) -> (Self, Vec<Finding>) {
        let mut plan = Self::default();
        let mut findings = Vec::new();
        for (name, log) in files.logs.iter().filter(|(_, log)| log.status) {
            match LogUnits::of(name, log, files).and_then(|units| plan.add(name, units)) {
                Ok(()) => {}
                Err(finding) => findings.push(finding),
            }
        }
        (plan, findings)
    }

    fn add(&mut self, name: &LogName, units: LogUnits) -> Result<(), Finding> {
        let is_taken = |other: &LogUnits| addresses_overlap(other.listen, units.listen);
        if let Some((other, _)) = self.logs.iter().find(|(_, other)| is_taken(other)) {
            let message = format!("{} is taken by log `{other}`", units.listen);
            return Err(finding(name, "port", message)
                .with_remedy("give each log its own port, or set `status` of one to false"));
        }
        self.logs.insert(name.clone(), units);
        Ok(())
    }
}

impl LogUnits {
    fn of(name: &LogName, log: &LogEntry, files: &Files) -> Result<Self, Finding> {
        if let Some(message) = too_long(name) {
            return Err(Finding::of_option(LOG_JSON, name.as_str(), message).with_remedy("shorten it"));
        }
        let address = address(log).ok_or_else(|| {
            let message = format!("`{}` is a name, expected an IP address or localhost", log.host);
            finding(name, "host", message).with_remedy("systemd listens before names can be looked up")
        })?;
        let folder = folder(log);
        if folder.is_some_and(|folder| folder.to_string_lossy().contains(char::is_control)) {
            let message = "a control character in the path of the folder, expected none";
            return Err(finding(name, "file", message));
        }
        let redis = files.server.rate_limiter_redis_storage.as_ref().map(|url| &url.place);
        let redis_socket = match redis {
            Some(RedisPlace::Unix(path)) => Some(path.as_path()),
            _ => None,
        };
        let tls = files.server.tls.iter().flat_map(|tls| [tls.cert.as_path(), tls.key.as_path()]);
        let needed: Vec<&Path> = folder.into_iter().chain(redis_socket).chain(tls).collect();
        let any_in =
            |places: &[&str]| needed.iter().any(|path| places.iter().any(|place| path.starts_with(place)));
        let sandbox = Sandbox {
            folder: folder.map(Path::to_owned),
            network: matches!(redis, Some(RedisPlace::Tcp { .. })),
            homes: any_in(&["/home", "/root", "/run/user"]),
            tmp: any_in(&["/tmp", "/var/tmp"]),
        };
        let (datagrams, streams): (Vec<_>, Vec<_>) =
            log.listen.iter().partition(|socket| socket.is_datagram());
        let addresses = |sockets: Vec<&Listen>| sockets.into_iter().map(|socket| socket.on.clone()).collect();
        let sockets = Sockets { streams: addresses(streams), datagrams: addresses(datagrams) };
        let listen = SocketAddr::new(address, log.port);
        Ok(Self { listen, backlog: files.server.backlog, sockets, sandbox })
    }
}

const LOG_JSON: &str = "log.json";

/// The directory of relative files, which the packaged sandbox already makes writable.
const LOG_DIR: &str = "/var/log/moca-file-log";

fn finding(name: &LogName, option: &str, message: impl Into<String>) -> Finding {
    Finding::of_option(LOG_JSON, format!("{name}.{option}"), message)
}

/// Returns the address of a log; `None` for a host name, which systemd could not resolve at boot.
fn address(log: &LogEntry) -> Option<IpAddr> {
    if !log.host.eq_ignore_ascii_case("localhost") {
        return log.host.parse().ok();
    }
    Some(if log.use_ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() })
}

/// Returns the folder of an absolute file, if the packaged sandbox does not make it writable.
fn folder(log: &LogEntry) -> Option<&Path> {
    log.file.parent().filter(|folder| folder.is_absolute() && !folder.starts_with(LOG_DIR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn of(log: &str, server: &str) -> (Plan, Vec<String>) {
        let sources =
            Sources { log: Some(log.to_owned()), server: Some(server.to_owned()), ..Sources::default() };
        let (plan, findings) = Plan::of(&Files::parse(&sources).unwrap().files);
        (plan, findings.iter().map(ToString::to_string).collect())
    }

    fn sandbox(file: &str, server: &str) -> Sandbox {
        let log = format!(r#"{{"a": {{"host": "127.0.0.1", "port": 1, "file": "{file}"}}}}"#);
        let (plan, findings) = of(&log, server);
        assert!(findings.is_empty(), "{findings:?}");
        plan.logs.into_values().next().unwrap().sandbox
    }

    #[test]
    fn hosts_become_addresses() {
        let (plan, findings) = of(
            r#"{
            "a": {"host": "LocalHost", "port": 1, "file": "a"},
            "b": {"host": "localhost", "port": 5, "file": "b", "use_ipv6": true},
            "c": {"host": "::", "port": 2, "file": "c", "use_ipv6": true},
            "d": {"host": "0.0.0.0", "port": 3, "file": "d"},
            "e": {"host": "127.0.0.1", "port": 4, "file": "e", "status": false}}"#,
            r#"{"backlog": 7}"#,
        );
        assert!(findings.is_empty(), "{findings:?}");
        let listen: Vec<String> = plan.logs.values().map(|units| units.listen.to_string()).collect();
        assert_eq!(listen, ["127.0.0.1:1", "[::1]:5", "[::]:2", "0.0.0.0:3"]);
        assert!(plan.logs.values().all(|units| units.backlog == 7 && units.sandbox == Sandbox::default()));
    }

    #[test]
    fn impossible_logs_are_reported_and_the_others_planned() {
        let long = " ".repeat(58);
        let (plan, findings) = of(
            &format!(
                r#"{{
            "a": {{"host": "127.0.0.1", "port": 1, "file": "a"}},
            "b": {{"host": "localhost", "port": 1, "file": "b"}},
            "c": {{"host": "logs.example", "port": 2, "file": "c"}},
            "d": {{"host": "127.0.0.1", "port": 3, "file": "/srv/\n/d"}},
            "{long}": {{"host": "127.0.0.1", "port": 4, "file": "e"}}}}"#
            ),
            "{}",
        );
        assert_eq!(plan.logs.len(), 1);
        let expected = [
            "4 characters too long",
            "b.port: 127.0.0.1:1 is taken",
            "c.host: `logs.example`",
            "d.file: a con",
        ];
        for (finding, expected) in findings.iter().zip(expected) {
            assert!(finding.contains(expected), "{finding}");
        }
        assert_eq!(findings.len(), 4);
    }

    #[test]
    fn sandbox_opens_only_what_the_configuration_needs() {
        let none = Sandbox::default;
        assert_eq!(sandbox("a.log", "{}"), none());
        assert_eq!(sandbox("/var/log/moca-file-log/sub/a.log", "{}"), none());
        let folder = |path: &str| Some(PathBuf::from(path));
        assert_eq!(sandbox("/srv/x/a.log", "{}"), Sandbox { folder: folder("/srv/x"), ..none() });
        let home = Sandbox { folder: folder("/home/u"), homes: true, ..none() };
        assert_eq!(sandbox("/home/u/a.log", "{}"), home);
        let tmp = Sandbox { folder: folder("/tmp"), tmp: true, ..none() };
        assert_eq!(sandbox("/tmp/a.log", "{}"), tmp);
        let redis = |url: &str| sandbox("a", &format!(r#"{{"rate_limiter_redis_storage": "{url}"}}"#));
        for url in ["redis://h", "rediss://h:1/2"] {
            assert_eq!(redis(url), Sandbox { network: true, ..none() });
        }
        assert_eq!(redis("redis+unix:///run/redis/redis.sock"), none());
        assert_eq!(redis("redis+unix:///tmp/redis.sock?db=1"), Sandbox { tmp: true, ..none() });
        let tls = r#"{"ssl": {"cert": "/root/c.pem", "key": "k.pem"}}"#;
        assert_eq!(sandbox("a", tls), Sandbox { homes: true, ..none() });
    }
}
