//! All files together: read from the directory or from texts, and valid as a whole or not at all.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::finding::Finding;
use super::{Files, api_key, http_toml, ip_set, log_json, server, system};

/// Files that are in order, and what is worth a word about them.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// the configuration
    pub files: Files,
    /// what does not stop anything: unknown options, options without effect, weak secrets
    pub warnings: Vec<Finding>,
}

/// The texts of the files; `None` = the file does not exist.
#[derive(Clone, Default)]
pub struct Sources {
    /// `log.json`, the only one that has to exist
    pub log: Option<String>,
    /// `api_key.json`
    pub api_key: Option<String>,
    /// `server.json`
    pub server: Option<String>,
    /// `system.json`
    pub system: Option<String>,
    /// `ip_blacklist.json`
    pub ip_blacklist: Option<String>,
    /// `http.toml`
    pub http: Option<String>,
}

/// Keys and passwords stand in clear in these texts.
impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sources { … }")
    }
}

/// The names of the files in the directory.
pub(super) const NAMES: [&str; 6] =
    [log_json::FILE, api_key::FILE, server::FILE, system::FILE, ip_set::BLACKLIST, http_toml::FILE];

/// Reads all files of the directory.
///
/// # Errors
/// The first error of each file that is not in order; nothing of the others is in force then either.
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
        api_key: read(api_key::FILE),
        server: read(server::FILE),
        system: read(system::FILE),
        ip_blacklist: read(ip_set::BLACKLIST),
        http: read(http_toml::FILE),
    };
    let parsed = Files::parse(&sources);
    if unreadable.is_empty() {
        let mut loaded = parsed?;
        if dir.join("sanic.json").exists() {
            let finding = Finding::of_file("sanic.json", "this file is not read");
            loaded.warnings.push(finding.with_remedy("its options stand in http.toml, in lower case"));
        }
        return Ok(loaded);
    }
    // what could not be read is not missing as well
    let mut errors = parsed.err().unwrap_or_default();
    errors.retain(|error| unreadable.iter().all(|finding| finding.file != error.file));
    unreadable.append(&mut errors);
    Err(unreadable)
}

impl Files {
    /// Reads the texts of all files.
    ///
    /// # Errors
    /// The first error of each file that is not in order.
    pub fn parse(sources: &Sources) -> Result<Loaded, Vec<Finding>> {
        let mut reading = Reading::default();
        let logs = match &sources.log {
            Some(_) => reading.file(sources.log.as_deref(), log_json::read),
            None => {
                let missing =
                    Finding::of_file(log_json::FILE, "the file is missing, expected the logs in it");
                reading.errors.push(missing.with_remedy("create it in the configuration directory"));
                None
            }
        };
        let keys = reading.file(sources.api_key.as_deref(), api_key::read);
        if sources.api_key.is_none() {
            let missing =
                Finding::of_file(api_key::FILE, "the file is missing: no key, every record is refused");
            reading.warnings.push(missing.with_remedy("add a key with `mocactl key add`"));
        }
        let server = reading.file(sources.server.as_deref(), server::read);
        let system = reading.file(sources.system.as_deref(), system::read);
        let blacklist = reading.file(sources.ip_blacklist.as_deref(), ip_set::read_blacklist);
        let http = reading.file(sources.http.as_deref(), http_toml::read);
        match (logs, keys, server, system, blacklist, http) {
            (Some(logs), Some(keys), Some(server), Some(system), Some(blacklist), Some(http)) => {
                let files = Self { logs, keys, server, system, blacklist, http };
                reading.warnings.append(&mut files.mistaken_for_access_logs());
                Ok(Loaded { files, warnings: reading.warnings })
            }
            _ => Err(reading.errors),
        }
    }
}

#[derive(Default)]
struct Reading {
    warnings: Vec<Finding>,
    errors: Vec<Finding>,
}

impl Reading {
    /// The file's value, its default when it does not exist, or `None` and an error.
    fn file<T: Default>(
        &mut self,
        text: Option<&str>,
        read: impl FnOnce(&str, &mut Vec<Finding>) -> Result<T, Finding>,
    ) -> Option<T> {
        let Some(text) = text else { return Some(T::default()) };
        read(text, &mut self.warnings).map_err(|error| self.errors.push(error)).ok()
    }
}

/// `None` = the file does not exist.
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
        // a symlink that points nowhere is a mistake, not an absent file
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
        // everything before the first bad byte stands in the lossy text as it was
        finding.at(&text, valid).with_remedy("save the file as UTF-8")
    })
}
