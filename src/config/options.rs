//! The names of all options, for what has to know every one of them.

use super::files::{api_key_json, http_toml, log_json, server_json, system_json};
use super::syntax::document::Vocabulary;
use super::syntax::step::Step;

/// File and name of every option that counts, those inside of another one as `ssl.cert`.
#[must_use]
pub fn options() -> Vec<(&'static str, String)> {
    let name = |name: &str| Step::Name(name.to_owned());
    // where options stand in each file, and those that hold others
    let places: [(&'static str, &Vocabulary, &[Step], &[&str]); 5] = [
        (log_json::FILE, &log_json::VOCABULARY, &[name("log")], &["rotate"]),
        (api_key_json::FILE, &api_key_json::VOCABULARY, &[Step::Index(0)], &["required"]),
        (server_json::FILE, &server_json::VOCABULARY, &[], &["ssl"]),
        (system_json::FILE, &system_json::VOCABULARY, &[], &["referer"]),
        (http_toml::FILE, &http_toml::VOCABULARY, &[], &[]),
    ];
    let mut all = Vec::new();
    for (file, vocabulary, place, holders) in places {
        let at = |inside: &[&str]| {
            let inside = inside.iter().copied().chain([""]).map(name);
            (vocabulary.siblings)(&place.iter().cloned().chain(inside).collect::<Vec<_>>())
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
