//! Tests the files as a whole: valid ones, invalid ones, and that no text makes the parser panic.

mod defaults;
mod directory;
mod listen;
mod properties;
mod refusals;
mod warnings;
mod watching;

use super::{Files, Finding, Loaded, Sources};

const LOG: &str = r#"{"sample1": {"host": "127.0.0.1", "port": 5700, "file": "sample1.log"}}"#;

/// Returns a valid configuration with `text` in one file.
fn with(file: &str, text: &str) -> Sources {
    let mut sources =
        Sources { log: Some(LOG.to_owned()), api_key: Some("[]".to_owned()), ..Sources::default() };
    let slot = match file {
        "log.json" => &mut sources.log,
        "api_key.json" => &mut sources.api_key,
        "server.json" => &mut sources.server,
        "system.json" => &mut sources.system,
        "ip_blacklist.json" => &mut sources.ip_blacklist,
        "http.toml" => &mut sources.http,
        other => panic!("no file {other}"),
    };
    *slot = Some(text.to_owned());
    sources
}

fn parse(file: &str, text: &str) -> Result<Loaded, Vec<Finding>> {
    Files::parse(&with(file, text))
}

/// Parses a valid text and checks that there is no warning.
fn accepted(file: &str, text: &str) -> Files {
    let loaded = parse(file, text).unwrap_or_else(|errors| panic!("{file} {text}: {errors:?}"));
    assert_eq!(loaded.warnings, [], "{file} {text}");
    loaded.files
}

/// Parses an invalid text and returns the only error.
fn refused(file: &str, text: &str) -> Finding {
    match parse(file, text) {
        Ok(loaded) => panic!("accepted: {file} {text}: {:?}", loaded.files),
        Err(mut errors) => {
            assert_eq!(errors.len(), 1, "{errors:?}");
            errors.remove(0)
        }
    }
}
