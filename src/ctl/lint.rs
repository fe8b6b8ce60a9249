//! Checks a whole configuration. It finds the errors that the server would report, and valid
//! settings that have no effect or refuse every request.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::{self, Files, Finding, HttpSettings, KeyEntry, RootPassword, Sources};
use crate::ctl::paths::Directories;
use crate::ctl::start_errors::start_errors;
use crate::http;

const KEYS: &str = "api_key.json";
const SYSTEM: &str = "system.json";
const SERVER: &str = "server.json";
const HTTP: &str = "http.toml";

/// Holds the findings about a configuration.
pub(crate) struct LintResult {
    /// Errors. With one of them the server does not start, and a running one keeps the last good
    /// configuration.
    pub(crate) errors: Vec<Finding>,
    /// Settings that the operator should look at.
    pub(crate) warnings: Vec<Finding>,
}

/// Reads and checks all files as the server does.
pub(crate) fn lint(directories: &Directories) -> LintResult {
    match config::load(&directories.config) {
        Ok(loaded) => {
            let mut warnings = loaded.warnings;
            warnings.extend(ineffective_options(&loaded.files));
            warnings.extend(modes(&directories.config, &loaded.files));
            let (errors, of_units) = start_errors(directories, &loaded.files);
            warnings.extend(of_units);
            LintResult { errors, warnings }
        }
        Err(errors) => {
            let warnings = warnings_of_the_others(&directories.config, &errors);
            LintResult { errors, warnings }
        }
    }
}

/// Returns the warnings about the valid files when other files are invalid. Reads each file alone.
fn warnings_of_the_others(dir: &Path, errors: &[Finding]) -> Vec<Finding> {
    let text = |file: &str| {
        let broken = errors.iter().any(|error| error.file == file);
        if broken { None } else { fs::read_to_string(dir.join(file)).ok() }
    };
    let no_log = || Some("{}".to_owned());
    let alone = [
        ("log.json", Sources { log: text("log.json"), ..Sources::default() }),
        ("api_key.json", Sources { api_key: text("api_key.json"), log: no_log(), ..Sources::default() }),
        ("server.json", Sources { server: text("server.json"), log: no_log(), ..Sources::default() }),
        ("system.json", Sources { system: text("system.json"), log: no_log(), ..Sources::default() }),
        (
            "ip_blacklist.json",
            Sources { ip_blacklist: text("ip_blacklist.json"), log: no_log(), ..Sources::default() },
        ),
        ("http.toml", Sources { http: text("http.toml"), log: no_log(), ..Sources::default() }),
    ];
    let of_file = |(file, sources): (&'static str, Sources)| {
        let warnings = Files::parse(&sources).map(|loaded| loaded.warnings).unwrap_or_default();
        let broken = errors.iter().any(|error| error.file == file);
        warnings.into_iter().filter(move |warning| !broken && warning.file == file)
    };
    alone.into_iter().flat_map(of_file).collect()
}

/// Returns the warnings about settings that have no effect or refuse every request.
fn ineffective_options(files: &Files) -> Vec<Finding> {
    let mut warnings = Vec::new();
    about_keys(files, &mut warnings);
    about_system(files, &mut warnings);
    about_proxies(files, &mut warnings);
    about_redis(files, &mut warnings);
    about_http(files, &mut warnings);
    about_connections(files, &mut warnings);
    warnings
}

/// Warns of a missing limit where other machines can connect.
fn about_connections(files: &Files, warnings: &mut Vec<Finding>) {
    if files.http.max_connections_per_ip.is_none() && files.listens_beyond_loopback() {
        let message = "not set: one address may have all connections that wait for a request or an answer";
        let remedy = "set it, for example to 100, unless all clients come through one proxy";
        warnings.push(Finding::of_option(HTTP, "max_connections_per_ip", message).with_remedy(remedy));
    }
}

/// Warns of options that another option makes ineffective.
fn about_http(files: &Files, warnings: &mut Vec<Finding>) {
    let (http, usual) = (&files.http, HttpSettings::default());
    let table = [
        (
            http.forwarded_for_header != usual.forwarded_for_header && http.proxies_count.is_none(),
            "forwarded_for_header",
            "this header is read only to count proxies in it: this changes nothing",
            "set proxies_count",
        ),
        (
            http.keep_alive_timeout != usual.keep_alive_timeout && !http.keep_alive,
            "keep_alive_timeout",
            "no connection is kept between requests: this changes nothing",
            "set keep_alive to true",
        ),
        (
            http.body_timeout != usual.body_timeout && http.body_timeout >= http.request_timeout,
            "body_timeout",
            "request_timeout is over before: this changes nothing",
            "make it shorter than request_timeout",
        ),
        (
            http.max_connections_per_ip.is_some_and(|limit| limit.get() >= http.max_connections),
            "max_connections_per_ip",
            "max_connections is reached before: this changes nothing",
            "make it smaller than max_connections",
        ),
        (
            http.access_log.is_some() && files.server.access_log.is_some(),
            "access_log",
            "`access_log` of server.json decides: this changes nothing",
            "set it in one of the files only",
        ),
    ];
    for (_, option, message, remedy) in table.into_iter().filter(|(applies, ..)| *applies) {
        warnings.push(Finding::of_option(HTTP, option, message).with_remedy(remedy));
    }
}

fn about_keys(files: &Files, warnings: &mut Vec<Finding>) {
    if !files.keys.is_empty() && files.keys.iter().all(|key| !key.status) {
        let message = "no key is on: every record is refused";
        warnings.push(Finding::of_file(KEYS, message).with_remedy("set `status` of one to true"));
    }
    for (index, key) in files.keys.iter().enumerate() {
        about_key(files, index, key, warnings);
    }
}

fn about_key(files: &Files, index: usize, key: &KeyEntry, warnings: &mut Vec<Finding>) {
    let mut warn = |option: &str, message: &str, remedy: &str| {
        let finding = Finding::of_option(KEYS, format!("[{index}].{option}"), message);
        warnings.push(finding.with_remedy(remedy));
    };
    if key.ip.as_ref().is_some_and(crate::config::IpSet::is_empty) {
        warn("ip", "an empty list: the key is refused from everywhere", "list addresses, or write \"*\"");
    }
    if key.allowed_path.is_empty() {
        warn("allowed_path", "an empty list: the key is refused everywhere", "list paths, such as \"/\"");
    }
    if key.rate.as_slice().iter().any(|limit| limit.amount == 0) {
        warn("rate", "a limit of 0: every request is refused", "raise it, or set `status` to false");
    }
    for (place, path) in key.allowed_path.iter().enumerate() {
        if !may_match(files, &path.path) {
            let option = format!("allowed_path[{place}]");
            warn(&option, "no route of any log is at or below this path", "begin it with /moca-file-log");
        }
        if key.allowed_path[..place].iter().any(|earlier| is_below(&earlier.path, &path.path)) {
            let option = format!("allowed_path[{place}]");
            warn(
                &option,
                "an earlier path admits all of this already, and the first one counts",
                "put it first",
            );
        }
    }
}

/// Returns whether a route that needs a key is at or below `path`, in the table of routes.
fn may_match(files: &Files, path: &str) -> bool {
    let keyed = || http::all_routes().filter(|route| route.access.needs_key());
    let is_route = |log| keyed().any(|route| route.paths(log).iter().any(|full| is_below(path, full)));
    files.logs.is_empty() || files.logs.keys().any(is_route)
}

fn is_below(allowed: &str, path: &str) -> bool {
    let rest = path.strip_prefix(allowed.strip_suffix('/').unwrap_or(allowed));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn about_system(files: &Files, warnings: &mut Vec<Finding>) {
    let system = &files.system;
    if system.root_pass == RootPassword::Closed {
        let message = "no root password: reading and clearing work through mocactl only";
        warnings
            .push(Finding::of_option(SYSTEM, "root_pass", message).with_remedy("`mocactl passwd` sets one"));
    }
    if system.maintenance_mode {
        let message = "true: every request is answered 503, also after `mocactl turn-on`";
        warnings.push(Finding::of_option(SYSTEM, "maintenance_mode", message));
    }
    if system.force_referer && system.allowed_referer.list.is_empty() && !system.allowed_referer.any {
        let message = "a Referer is forced and none is allowed: every request is refused";
        let remedy = "list origins in allowed_referer, or set force to false";
        warnings.push(Finding::of_option(SYSTEM, "referer", message).with_remedy(remedy));
    }
    let everywhere = |ip: &str| ip.parse::<IpAddr>().is_ok_and(|address| files.blacklist.contains(address));
    if everywhere("127.0.0.1") || everywhere("::1") {
        let message = "loopback is in the list: programs on this machine are refused as well";
        warnings.push(Finding::of_file("ip_blacklist.json", message));
    }
}

fn about_proxies(files: &Files, warnings: &mut Vec<Finding>) {
    let http = &files.http;
    let proxied =
        http.forwarded_secret.is_some() || http.real_ip_header.is_some() || http.proxies_count.is_some();
    if http.trusted_proxies.is_some() && !proxied {
        let message = "no header is configured that a proxy could send: this changes nothing";
        let remedy = "set real_ip_header, proxies_count or forwarded_secret";
        warnings.push(Finding::of_option(HTTP, "trusted_proxies", message).with_remedy(remedy));
    }
}

fn about_redis(files: &Files, warnings: &mut Vec<Finding>) {
    let is_limited =
        |key: &KeyEntry| !key.rate.is_empty() || key.allowed_path.iter().any(|path| !path.rate.is_empty());
    if files.server.rate_limiter_redis_storage.is_some() && !files.keys.iter().any(is_limited) {
        let message = "no key has a limit, so there is nothing to share: Redis is never asked";
        let remedy = "give keys a `rate`, or write null";
        warnings.push(Finding::of_option(SERVER, "rate_limiter_redis_storage", message).with_remedy(remedy));
    }
}

/// Returns a warning for each file with secrets that every user of this machine can read.
fn modes(dir: &Path, files: &Files) -> Vec<Finding> {
    let mut secret = vec![KEYS, SYSTEM];
    if files.server.pyjs_secret.is_some() || files.server.rate_limiter_redis_storage.is_some() {
        secret.push(SERVER);
    }
    if files.http.forwarded_secret.is_some() {
        secret.push(HTTP);
    }
    let open = |file: &&str| fs::metadata(dir.join(file)).is_ok_and(|metadata| metadata.mode() & 0o007 != 0);
    let finding = |file| {
        let message = "everybody on this machine may open this file, and it holds secrets";
        Finding::of_file(file, message).with_remedy("chgrp moca-file-log and chmod 640")
    };
    let mut findings: Vec<Finding> = secret.into_iter().filter(open).map(finding).collect();
    if let Some(pair) = &files.server.tls
        && fs::metadata(dir.join(&pair.key)).is_ok_and(|metadata| metadata.mode() & 0o007 != 0)
    {
        let message = format!("everybody on this machine may open the private key {}", pair.key.display());
        let finding = Finding::of_option("server.json", "ssl.key", message);
        findings.push(finding.with_remedy("chgrp moca-file-log and chmod 640"));
    }
    findings
}
