//! The name of a log as a part of file names: its state, its access log.

use std::path::{Component, Path};

use sha2::{Digest, Sha256};

use super::finding::Finding;
use super::{Files, LogName, log_json};

/// Longest encoded name in a file name, in bytes; with suffixes it stays below the 255 of Linux.
const LONGEST_STEM: usize = 200;

impl LogName {
    /// The name as the beginning of a file name. `%`, `/` and control characters are percent-encoded; what becomes too
    /// long for a file name is cut and ends in the first 16 hexadecimal digits of the name's SHA-256.
    #[must_use]
    pub fn file_stem(&self) -> String {
        stem(self.as_str())
    }

    /// The name of its access log, in the log directory.
    #[must_use]
    pub fn access_log_file(&self) -> String {
        format!("{}.access.log", self.file_stem())
    }
}

impl Files {
    /// Whether an access log is written: `server.json` decides where both files name it.
    #[must_use]
    pub fn writes_access_log(&self) -> bool {
        self.server.access_log.or(self.http.access_log).unwrap_or(false)
    }

    /// A warning for each log whose own file would be an access log.
    pub(super) fn mistaken_for_access_logs(&self) -> Vec<Finding> {
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
                let message =
                    format!("this is where the access log of {owner} stands: only one of them is written");
                let finding = Finding::of_option(log_json::FILE, format!("{name}.file"), message);
                Some(finding.with_remedy("give this log another file"))
            })
            .collect()
    }
}

fn stem(name: &str) -> String {
    let mut stem = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '%' | '/' => stem.push_str(&format!("%{:02X}", u32::from(character))),
            control if control.is_control() => {
                let mut utf8 = [0; 4];
                for byte in control.encode_utf8(&mut utf8).bytes() {
                    stem.push_str(&format!("%{byte:02X}"));
                }
            }
            plain => stem.push(plain),
        }
    }
    if stem.len() > LONGEST_STEM {
        let digest: String = Sha256::digest(name)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let longest = LONGEST_STEM - digest.len() - 1;
        stem.truncate((0..=longest).rev().find(|&at| stem.is_char_boundary(at)).unwrap_or(0));
        stem.push('%');
        stem.push_str(&digest);
    }
    stem
}

#[cfg(test)]
mod tests {
    use super::super::Sources;
    use super::*;

    #[test]
    fn names_become_parts_of_file_names() {
        assert_eq!(stem("a/\n\u{85}"), "a%2F%0A%C2%85");
        let long = ["%".repeat(200), format!("{}a", "%".repeat(199)), "ü".repeat(100)];
        assert!(long.iter().all(|name| stem(name).len() <= LONGEST_STEM));
        assert_ne!(stem(&long[0]), stem(&long[1]));
        assert_eq!(stem(&long[2]), long[2]);
        assert_eq!("100 %".parse::<LogName>().unwrap().access_log_file(), "100 %25.access.log");
    }

    #[test]
    fn a_log_in_the_place_of_an_access_log_is_told() {
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
