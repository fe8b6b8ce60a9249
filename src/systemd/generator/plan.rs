//! What is to be, as far as systemd has a part in it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::units::too_long;
use crate::config::{self, Files, Finding, LogEntry, LogName, RedisPlace};

/// The units of all logs that are switched on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// by name
    pub logs: BTreeMap<LogName, LogUnits>,
}

/// What is particular to the units of one log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogUnits {
    /// the address that systemd listens on
    pub listen: SocketAddr,
    /// the length of its accept queue
    pub backlog: u32,
    /// what the service may do beyond the packaged sandbox
    #[serde(default)]
    pub sandbox: Sandbox,
}

/// Holes in the sandbox; none by default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sandbox {
    /// the folder of an absolute `file`, to be written to and created when it is missing
    pub folder: Option<PathBuf>,
    /// connections to elsewhere, for Redis over TCP
    pub network: bool,
    /// something that is needed is in `/home`, `/root` or `/run/user`
    pub homes: bool,
    /// something that is needed is in the real `/tmp` or `/var/tmp`
    pub tmp: bool,
}

/// The plan that the files of this directory ask for; all six of them have to be valid.
///
/// # Errors
/// Everything that is wrong with the files, or that systemd cannot do.
pub fn plan(config_dir: &Path) -> Result<Plan, Vec<Finding>> {
    let (plan, findings) = Plan::of(&config::load(config_dir)?.files);
    if findings.is_empty() { Ok(plan) } else { Err(findings) }
}

impl Plan {
    /// The plan of these files, and why a log that should be in it is not.
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
        if let Some((other, _)) = self.logs.iter().find(|(_, other)| overlap(other.listen, units.listen)) {
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
        Ok(Self { listen: SocketAddr::new(address, log.port), backlog: files.server.backlog, sandbox })
    }
}

const LOG_JSON: &str = "log.json";

/// Where relative files are, and where the service may write anyway.
const LOG_DIR: &str = "/var/log/moca-file-log";

fn finding(name: &LogName, option: &str, message: impl Into<String>) -> Finding {
    Finding::of_option(LOG_JSON, format!("{name}.{option}"), message)
}

/// `None` = a name that would have to be looked up.
fn address(log: &LogEntry) -> Option<IpAddr> {
    if !log.host.eq_ignore_ascii_case("localhost") {
        return log.host.parse().ok();
    }
    Some(if log.use_ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() })
}

/// The folder of an absolute file that the sandbox keeps closed.
fn folder(log: &LogEntry) -> Option<&Path> {
    log.file.parent().filter(|folder| folder.is_absolute() && !folder.starts_with(LOG_DIR))
}

/// Whether only one of the two can be had. `::` takes its port on every address.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |wide: IpAddr, other: IpAddr| {
        wide == other
            || wide == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            || (wide == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && other.is_ipv4())
    };
    a.port() == b.port() && (covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
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
    fn addresses() {
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
    fn what_systemd_cannot_do_is_said_and_the_rest_is_done() {
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
        let expected =
            ["4 letters too long", "b.port: 127.0.0.1:1 is taken", "c.host: `logs.example`", "d.file: a con"];
        for (finding, expected) in findings.iter().zip(expected) {
            assert!(finding.contains(expected), "{finding}");
        }
        assert_eq!(findings.len(), 4);
    }

    #[test]
    fn holes_are_as_small_as_the_configuration_lets_them_be() {
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
