//! Lists the names of all options.

use super::files::{api_key_json, http_toml, log_json, server_json, system_json};
use super::syntax::document::KnownOptions;
use super::syntax::step::Step;

/// Returns the file and the name of every option that has an effect. A nested option has a name
/// such as `ssl.cert`.
#[must_use]
pub fn options() -> Vec<(&'static str, String)> {
    let name = |name: &str| Step::Name(name.to_owned());
    // For each file: its known options, the path of an object with options, and the options that
    // are objects themselves.
    let files: [(&'static str, &KnownOptions, &[Step], &[&str]); 5] = [
        (log_json::FILE, &log_json::KNOWN_OPTIONS, &[name("log")], &["rotate", "listen"]),
        (api_key_json::FILE, &api_key_json::KNOWN_OPTIONS, &[Step::Index(0)], &["required"]),
        (server_json::FILE, &server_json::KNOWN_OPTIONS, &[], &["ssl"]),
        (system_json::FILE, &system_json::KNOWN_OPTIONS, &[], &["referer"]),
        (http_toml::FILE, &http_toml::KNOWN_OPTIONS, &[], &[]),
    ];
    let mut all = Vec::new();
    for (file, known_options, parent, objects) in files {
        let options_in = |object: &[&str]| {
            let below = object.iter().copied().chain([""]).map(name);
            (known_options.siblings)(&parent.iter().cloned().chain(below).collect::<Vec<_>>())
        };
        for option in options_in(&[]) {
            if objects.contains(option) {
                all.extend(options_in(&[option]).iter().map(|inner| (file, format!("{option}.{inner}"))));
            } else {
                all.push((file, (*option).to_owned()));
            }
        }
    }
    all
}
