//! The names of all options, for what has to know every one of them.

use super::files::{api_key_json, http_toml, log_json, server_json, system_json};
use super::syntax::document::KnownOptions;
use super::syntax::step::Step;

/// File and name of every option that counts, those inside of another one as `ssl.cert`.
#[must_use]
pub fn options() -> Vec<(&'static str, String)> {
    let name = |name: &str| Step::Name(name.to_owned());
    // where options stand in each file, and those that hold others
    let places: [(&'static str, &KnownOptions, &[Step], &[&str]); 5] = [
        (log_json::FILE, &log_json::KNOWN_OPTIONS, &[name("log")], &["rotate"]),
        (api_key_json::FILE, &api_key_json::KNOWN_OPTIONS, &[Step::Index(0)], &["required"]),
        (server_json::FILE, &server_json::KNOWN_OPTIONS, &[], &["ssl"]),
        (system_json::FILE, &system_json::KNOWN_OPTIONS, &[], &["referer"]),
        (http_toml::FILE, &http_toml::KNOWN_OPTIONS, &[], &[]),
    ];
    let mut all = Vec::new();
    for (file, known_options, place, holders) in places {
        let at = |inside: &[&str]| {
            let inside = inside.iter().copied().chain([""]).map(name);
            (known_options.siblings)(&place.iter().cloned().chain(inside).collect::<Vec<_>>())
        };
        for option in at(&[]) {
            if holders.contains(option) {
                all.extend(at(&[option]).iter().map(|inner| (file, format!("{option}.{inner}"))));
            } else {
                all.push((file, (*option).to_owned()));
            }
        }
    }
    all
}
