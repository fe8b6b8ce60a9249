//! Checks that the sample configuration is valid, equals the defaults, and contains every option of
//! HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::too_many_lines)]

use std::fs;
use std::path::{Path, PathBuf};

use moca_file_log::config::{self, Finding, HttpSettings, Loaded, LogEntry, Server, System};
use serde::Deserialize;
use serde::de::value::Error;
use serde::de::{Deserializer, Error as _, Visitor};

const JSON: [&str; 5] = ["log.json", "api_key.json", "server.json", "system.json", "ip_blacklist.json"];

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

fn load(directory: &Path) -> Loaded {
    config::load(directory).unwrap_or_else(|errors| panic!("{}: {}", directory.display(), shown(&errors)))
}

fn shown(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Returns file and option of each finding.
fn places(findings: &[Finding]) -> Vec<(&str, &str)> {
    findings.iter().map(|finding| (finding.file, finding.path.as_str())).collect()
}

#[test]
fn only_the_public_secrets_get_a_warning() {
    let warnings = load(&configs()).warnings;
    let expected = [("api_key.json", "[0].key"), ("system.json", "root_pass")];
    assert_eq!(places(&warnings), expected, "{}", shown(&warnings));
    for public in &warnings {
        assert!(public.message.contains("in every copy of the documentation"), "{public}");
    }
}

#[test]
fn samples_listen_on_loopback_only() {
    let files = load(&configs()).files;
    let logs: Vec<_> = files
        .logs
        .iter()
        .map(|(name, LogEntry { status, host, port, file, .. })| {
            (name.as_str(), *status, host.as_str(), *port, file.to_str().unwrap())
        })
        .collect();
    assert_eq!(
        logs,
        [
            ("sample1", true, "127.0.0.1", 5700, "sample1.log"),
            ("sample2", true, "127.0.0.1", 5701, "sample2.log")
        ]
    );
    let [key] = files.keys.as_slice() else { panic!("one key") };
    assert!(key.status && key.rate.is_empty() && key.ip.is_none() && key.required_args.is_empty());
    assert!(files.blacklist.is_empty());
}

#[test]
fn sample_values_equal_the_defaults() {
    let files = load(&configs()).files;
    assert!(files.http == HttpSettings::default(), "http.toml differs from the defaults");
    let server = Server { access_log: Some(false), ..Server::default() };
    assert!(files.server == server, "server.json differs from the defaults");
    let System { maintenance_mode, force_referer, force_headers, dos_detect, .. } = files.system;
    let default = System::default();
    assert_eq!(
        (maintenance_mode, force_referer, force_headers, dos_detect),
        (default.maintenance_mode, default.force_referer, default.force_headers, default.dos_detect)
    );
}

/// `jq` and other JSON tools must be able to edit the samples.
#[test]
fn json_samples_have_no_comments() {
    for name in JSON {
        let text = fs::read_to_string(configs().join(name)).unwrap();
        if let Err(error) = serde_json::from_str::<serde_json::Value>(&text) {
            panic!("{name}: {error}");
        }
    }
}

#[test]
fn http_toml_is_valid_with_all_options_uncommented() {
    let directory = tempfile::tempdir().unwrap();
    for name in JSON {
        fs::copy(configs().join(name), directory.path().join(name)).unwrap();
    }
    let text = fs::read_to_string(configs().join("http.toml")).unwrap();
    let uncommented: Vec<_> = text.lines().map(|line| commented_option(line).unwrap_or(line)).collect();
    fs::write(directory.path().join("http.toml"), uncommented.join("\n")).unwrap();
    let loaded = load(directory.path());
    let warnings: Vec<_> = loaded.warnings.into_iter().filter(|w| w.file == "http.toml").collect();
    assert_eq!(places(&warnings), [("http.toml", "request_buffer_queue_size")], "{}", shown(&warnings));
    let http = loaded.files.http;
    assert!(http.proxies_count.is_some() && http.real_ip_header.is_some() && http.forwarded_secret.is_some());
    assert!(http.trusted_proxies.is_some() && http.max_connections_per_ip.is_some());
    assert_eq!(http.access_log, Some(false));
}

#[test]
fn http_toml_contains_every_option_once() {
    let text = fs::read_to_string(configs().join("http.toml")).unwrap();
    let mut named: Vec<_> =
        text.lines().filter_map(|line| option_name(commented_option(line).unwrap_or(line))).collect();
    let mut known = Vec::new();
    HttpSettings::deserialize(Fields(&mut known)).unwrap_err();
    assert!(known.len() > 20, "{known:?}");
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known);
}

/// Returns `name = value` from a line `# name = value`.
fn commented_option(line: &str) -> Option<&str> {
    line.strip_prefix("# ").filter(|rest| option_name(rest).is_some())
}

fn option_name(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(" = ")?;
    name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some(name)
}

/// Deserializes no value. It records the names of the fields of a struct and then fails.
struct Fields<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("no value"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.extend(fields);
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
