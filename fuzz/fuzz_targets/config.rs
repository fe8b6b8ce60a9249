//! Fuzzes the parsers of the six configuration files.
#![no_main]

use libfuzzer_sys::fuzz_target;
use moca_file_log::config::{Files, Sources};

const LOG: &str = r#"{"a": {"host": "127.0.0.1", "port": 1, "file": "a"}}"#;

// Any text of any file is read, or refused in one line that names the file.
fuzz_target!(|input: (u8, String)| {
    let (which, text) = input;
    let mut sources = Sources { log: Some(LOG.to_owned()), ..Sources::default() };
    let (file, slot) = match which % 6 {
        0 => ("log.json", &mut sources.log),
        1 => ("api_key.json", &mut sources.api_key),
        2 => ("server.json", &mut sources.server),
        3 => ("system.json", &mut sources.system),
        4 => ("ip_blacklist.json", &mut sources.ip_blacklist),
        _ => ("http.toml", &mut sources.http),
    };
    *slot = Some(text);
    let findings = match Files::parse(&sources) {
        Ok(loaded) => loaded.warnings,
        Err(errors) => {
            assert!(!errors.is_empty() && errors.iter().all(|error| error.file == file));
            errors
        }
    };
    assert!(findings.iter().all(|finding| !finding.to_string().contains(['\n', '\r'])));
});
