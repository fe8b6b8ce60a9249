//! Loads all configuration files together, from the directory or from texts.
//!
//! The result is valid as a whole, because an error in one file rejects all of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Component, Path};

use super::files::api_key_json::{self, KeyEntry};
use super::files::http_toml::{self, HttpSettings};
use super::files::ip_blacklist_json;
use super::files::log_json::{self, LogEntry};
use super::files::server_json::{self, Server};
use super::files::system_json::{self, System};
use super::syntax::finding::Finding;
use super::values::ip_set::IpSet;
use super::values::listen_address::ListenAddress;
use super::values::log_name::LogName;

/// The content of all configuration files, valid as a whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Files {
    /// The logs of `log.json`, by name.
    pub logs: BTreeMap<LogName, LogEntry>,
    /// The entries of `api_key.json` in file order. Of two entries with the same key, the first one
    /// counts.
    pub keys: Vec<KeyEntry>,
    /// The content of `server.json`.
    pub server: Server,
    /// The content of `system.json`.
    pub system: System,
    /// The addresses and networks of `ip_blacklist.json`.
    pub blacklist: IpSet,
    /// The content of `http.toml`.
    pub http: HttpSettings,
}

/// A valid configuration with its warnings.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub files: Files,
    /// Findings that are no errors: unknown options, options without effect, weak secrets.
    pub warnings: Vec<Finding>,
}

/// The texts of the files; `None` for a file that does not exist.
#[derive(Clone, Default)]
pub struct Sources {
    /// The text of `log.json`, the only file that must exist.
    pub log: Option<String>,
    /// The text of `api_key.json`.
    pub api_key: Option<String>,
    /// The text of `server.json`.
    pub server: Option<String>,
    /// The text of `system.json`.
    pub system: Option<String>,
    /// The text of `ip_blacklist.json`.
    pub ip_blacklist: Option<String>,
    /// The text of `http.toml`.
    pub http: Option<String>,
}

/// Hides the texts, which hold keys and passwords in clear.
impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sources { … }")
    }
}

/// The names of all files in the configuration directory.
pub(crate) const FILE_NAMES: [&str; 6] = [
    log_json::FILE,
    api_key_json::FILE,
    server_json::FILE,
    system_json::FILE,
    ip_blacklist_json::FILE,
    http_toml::FILE,
];

/// Loads all files of the configuration directory `dir`.
///
/// # Errors
/// Returns the first error of each invalid file.
pub fn load(dir: &Path) -> Result<Loaded, Vec<Finding>> {
    let mut unreadable = Vec::new();
    let mut read = |name| {
        read_text(dir, name).unwrap_or_else(|finding| {
            unreadable.push(finding);
            None
        })
    };
    let sources = Sources {
        log: read(log_json::FILE),
        api_key: read(api_key_json::FILE),
        server: read(server_json::FILE),
        system: read(system_json::FILE),
        ip_blacklist: read(ip_blacklist_json::FILE),
        http: read(http_toml::FILE),
    };
    let parsed = Files::parse(&sources);
    if unreadable.is_empty() {
        let mut loaded = parsed?;
        if dir.join("sanic.json").exists() {
            let finding = Finding::of_file("sanic.json", "this file is not read");
            loaded.warnings.push(finding.with_remedy("write its options in http.toml, in lower case"));
        }
        return Ok(loaded);
    }
    // A file that cannot be read is reported once, and not as missing in addition.
    let mut errors = parsed.err().unwrap_or_default();
    errors.retain(|error| unreadable.iter().all(|finding| finding.file != error.file));
    unreadable.append(&mut errors);
    Err(unreadable)
}

impl Files {
    /// Parses the texts of all files.
    ///
    /// # Errors
    /// Returns the first error of each invalid file.
    pub fn parse(sources: &Sources) -> Result<Loaded, Vec<Finding>> {
        let mut parser = FileParser::default();
        let logs = match &sources.log {
            Some(_) => parser.file(sources.log.as_deref(), log_json::read),
            None => {
                let missing =
                    Finding::of_file(log_json::FILE, "the file is missing, expected the logs in it");
                parser.errors.push(missing.with_remedy("create it in the configuration directory"));
                None
            }
        };
        let keys = parser.file(sources.api_key.as_deref(), api_key_json::read);
        if sources.api_key.is_none() {
            let missing = Finding::of_file(
                api_key_json::FILE,
                "the file is missing: without keys, every record is refused",
            );
            parser.warnings.push(missing.with_remedy("add a key with `mocactl key add`"));
        }
        let server = parser.file(sources.server.as_deref(), server_json::read);
        let system = parser.file(sources.system.as_deref(), system_json::read);
        let blacklist = parser.file(sources.ip_blacklist.as_deref(), ip_blacklist_json::read);
        let http = parser.file(sources.http.as_deref(), http_toml::read);
        match (logs, keys, server, system, blacklist, http) {
            (Some(logs), Some(keys), Some(server), Some(system), Some(blacklist), Some(http)) => {
                let files = Self { logs, keys, server, system, blacklist, http };
                // The generator reads two files only.
                if sources.api_key.is_some() {
                    let errors = files.check_listen(&mut parser.warnings);
                    if !errors.is_empty() {
                        return Err(errors);
                    }
                }
                parser.warnings.append(&mut files.access_log_conflicts());
                parser.warnings.extend(files.believed_proxies());
                Ok(Loaded { files, warnings: parser.warnings })
            }
            _ => Err(parser.errors),
        }
    }

    /// Returns whether the server writes an access log. If both `server.json` and `http.toml` have
    /// the option, `server.json` decides.
    #[must_use]
    pub fn writes_access_log(&self) -> bool {
        self.server.access_log.or(self.http.access_log).unwrap_or(false)
    }

    /// Returns whether a log that is switched on listens beyond loopback.
    #[must_use]
    pub fn listens_beyond_loopback(&self) -> bool {
        let is_local = |host: &str| {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|host| host.to_canonical().is_loopback())
        };
        self.logs.values().any(|log| log.status && !is_local(&log.host))
    }

    /// Checks what the sockets in `listen` need of the other files.
    fn check_listen(&self, warnings: &mut Vec<Finding>) -> Vec<Finding> {
        let mut errors = Vec::new();
        let sockets = self.logs.iter().flat_map(|(name, log)| {
            log.listen
                .iter()
                .enumerate()
                .map(move |(index, socket)| (format!("{name}.listen[{index}]"), socket))
        });
        for (place, socket) in sockets {
            let finding = |option: &str, message: String| {
                Finding::of_option(log_json::FILE, format!("{place}.{option}"), message)
            };
            match self.keys.iter().find(|key| key.name == socket.key) {
                None => {
                    let message = format!("no key has the name `{}`", socket.key);
                    errors.push(finding("key", message).with_remedy("use a `name` of api_key.json"));
                }
                Some(key) if !key.status => {
                    let message = format!("the key `{}` is switched off: every message is refused", key.name);
                    warnings.push(finding("key", message).with_remedy("set its `status` to true"));
                }
                Some(_) => {}
            }
            if matches!(socket.on, ListenAddress::Tls(_)) && self.server.tls.is_none() {
                let message = format!("`{}` needs a certificate, and there is none", socket.on);
                errors.push(finding("on", message).with_remedy("set `ssl` in server.json"));
            }
        }
        errors
    }

    /// Returns a warning when every client may report an address.
    fn believed_proxies(&self) -> Option<Finding> {
        let http = &self.http;
        let is_believed = http.real_ip_header.is_some() || http.proxies_count.is_some();
        (is_believed && http.trusted_proxies.is_none() && self.listens_beyond_loopback()).then(|| {
            let message = "a client that connects directly may claim any address";
            Finding::of_option(http_toml::FILE, "trusted_proxies", message)
                .with_remedy("list the addresses of the proxies")
        })
    }

    /// Returns a warning for each log whose file is the access log of a log.
    fn access_log_conflicts(&self) -> Vec<Finding> {
        if !self.writes_access_log() {
            return Vec::new();
        }
        let mistaken = |file: &Path| {
            let mut parts = file.components().filter(|part| *part != Component::CurDir);
            let only = parts.next().filter(|_| parts.next().is_none() && file.is_relative());
            self.logs
                .keys()
                .find(|log| only.is_some_and(|part| part.as_os_str() == log.access_log_file().as_str()))
        };
        self.logs
            .iter()
            .filter_map(|(name, log)| {
                let owner = mistaken(&log.file)?;
                let message = format!("this is the access log of {owner}: only one of the two is written");
                let finding = Finding::of_option(log_json::FILE, format!("{name}.file"), message);
                Some(finding.with_remedy("give this log another file"))
            })
            .collect()
    }
}

/// Parses files one after the other and collects their findings.
#[derive(Default)]
struct FileParser {
    warnings: Vec<Finding>,
    errors: Vec<Finding>,
}

impl FileParser {
    /// Returns the value of the file: its default if the file does not exist, and `None` if it is
    /// invalid.
    fn file<T: Default>(
        &mut self,
        text: Option<&str>,
        read: impl FnOnce(&str, &mut Vec<Finding>) -> Result<T, Finding>,
    ) -> Option<T> {
        let Some(text) = text else { return Some(T::default()) };
        read(text, &mut self.warnings).map_err(|error| self.errors.push(error)).ok()
    }
}

/// Reads the text of a file; `None` if the file does not exist.
fn read_text(dir: &Path, name: &'static str) -> Result<Option<String>, Finding> {
    let path = dir.join(name);
    let cannot = |error: std::io::Error| {
        let finding = Finding::of_file(name, format!("{} cannot be read: {error}", path.display()));
        match error.kind() {
            ErrorKind::PermissionDenied => {
                finding.with_remedy("let the service's group read it: chgrp moca-file-log and chmod 640")
            }
            _ => finding,
        }
    };
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        // A symbolic link without a target is a mistake of the operator, not an absent file.
        Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(&path).is_err() => {
            return Ok(None);
        }
        Err(error) => return Err(cannot(error)),
    };
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a directory" } else { "not a regular file" };
        let finding = Finding::of_file(name, format!("{} is {what}, expected a text file", path.display()));
        return Err(finding.with_remedy("put a file in its place, or remove it"));
    }
    let bytes = fs::read(&path).map_err(cannot)?;
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        let finding = Finding::of_file(name, format!("byte {} is not UTF-8 text", valid + 1));
        // The text before the first invalid byte is the same in the lossy text.
        finding.at(&text, valid).with_remedy("save the file as UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_file_that_is_an_access_log_is_warned_about() {
        let warnings = |file: &str, server: &str, http: &str| {
            let log = format!(
                r#"{{"a": {{"host": "127.0.0.1", "port": 1, "file": "{file}"}},
                    "b": {{"host": "127.0.0.1", "port": 2, "file": "b.log"}}}}"#
            );
            let sources = Sources {
                log: Some(log),
                api_key: Some("[]".into()),
                server: Some(server.into()),
                http: Some(http.into()),
                ..Sources::default()
            };
            let warnings = Files::parse(&sources).unwrap().warnings;
            warnings.iter().filter(|warning| warning.path == "a.file").count()
        };
        let on = r#"{"access_log": true}"#;
        assert_eq!(warnings("b.access.log", on, ""), 1);
        assert_eq!(warnings("./a.access.log", on, ""), 1);
        assert_eq!(warnings("a.access.log", "{}", "access_log = true"), 1);
        assert_eq!(warnings("a.access.log", r#"{"access_log": false}"#, "access_log = true"), 0);
        for other in ["a.log", "x/a.access.log", "/a.access.log", "c.access.log"] {
            assert_eq!(warnings(other, on, ""), 0, "{other}");
        }
    }
}
