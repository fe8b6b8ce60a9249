//! Makes configurations for tests.

use crate::config::{Files, HttpSettings, Sources, System};

/// Returns a configuration with every option at its default.
pub(super) fn files() -> Files {
    parsed("", "", "")
}

pub(super) fn system() -> System {
    files().system
}

pub(super) fn http() -> HttpSettings {
    files().http
}

/// Parses files with these texts. An empty text means that the file is missing.
pub(super) fn parsed(api_key: &str, system: &str, http: &str) -> Files {
    let file = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let sources = Sources {
        log: file("{}"),
        api_key: file(api_key),
        system: file(system),
        http: file(http),
        ..Sources::default()
    };
    Files::parse(&sources).unwrap().files
}
