//! Tests values that are accepted with a warning.

use super::{LOG, parse};

fn warned(file: &str, text: &str) -> Vec<String> {
    let loaded = parse(file, text).unwrap_or_else(|errors| panic!("{errors:?}"));
    loaded.warnings.iter().map(ToString::to_string).collect()
}

fn warning(file: &str, text: &str) -> String {
    let mut all = warned(file, text);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

#[test]
fn unknown_options_get_a_warning_with_a_suggestion() {
    let log = LOG.replace("}}", ",\n \"levle\": 3, \"zzz\": {\"port\": 1}, \"rotate\": {\"kep\": 3}}}");
    assert_eq!(
        warned("log.json", &log),
        [
            "log.json:2:11: sample1.levle: unknown option, ignored (did you mean `level`?)",
            "log.json:2:21: sample1.zzz: unknown option, ignored",
            "log.json:2:52: sample1.rotate.kep: unknown option, ignored (did you mean `keep`?)",
        ]
    );
    let key = r#"[{"key": "k", "alowed_path": [], "required": {"header": {}}}]"#;
    assert_eq!(
        warned("api_key.json", key),
        [
            "api_key.json:1:30: [0].alowed_path: unknown option, ignored (did you mean `allowed_path`?)",
            "api_key.json:1:57: [0].required.header: unknown option, ignored (did you mean `headers`?)",
        ]
    );
    assert!(
        warning("server.json", r#"{"ssl": {"certs": null}}"#)
            .contains("ssl.certs: unknown option, ignored (did")
    );
    assert!(warning("system.json", r#"{"referer": {"forced": 1}}"#).contains("did you mean `force`?"));
    assert_eq!(
        warning("http.toml", "workers = 1\nworker = 1\n"),
        "http.toml:2:1: worker: unknown option, ignored (did you mean `workers`?)"
    );
    assert!(warning("http.toml", "KEEP_ALIVE_TIMEOUT = 5").contains("in lower case: `keep_alive_timeout`"));
    assert!(warning("http.toml", "[proxies]\ncount = 5\n").starts_with("http.toml:1:"));
}

#[test]
fn names_of_fields_without_effect_get_a_warning() {
    let log = |options: &str| LOG.replace("}}", &format!(", {options}}}}}"));
    let all = warned("log.json", &log(r#""drop_fields": ["a"], "fields": false"#));
    assert!(all.len() == 1 && all[0].contains("sample1.drop_fields: has no effect"), "{all:?}");
    assert!(warned("log.json", &log(r#""drop_fields": [], "fields": false"#)).is_empty());
    assert!(warned("log.json", &log(r#""drop_fields": ["a"]"#)).is_empty());
}

#[test]
fn rotation_options_without_effect_get_a_warning() {
    for (rotate, warns) in [
        (r#"{"keep": 3}"#, true),
        (r#"{"compress": "zstd", "min_free": 5}"#, true),
        (r#"{"min_free": "1GB"}"#, false),
        (r#"{"keep": 3, "max_size": "1GB"}"#, false),
        (r#"{"compress": "gzip", "max_age": "1d"}"#, false),
        ("null", false),
    ] {
        let log = LOG.replace("}}", &format!(", \"rotate\": {rotate}}}}}"));
        let all = warned("log.json", &log);
        assert_eq!(all.len(), usize::from(warns), "{rotate}: {all:?}");
        assert!(all.iter().all(|warning| warning.contains("sample1.rotate: nothing is rotated")), "{all:?}");
    }
}

#[test]
fn warnings_about_unknown_options_are_limited() {
    let options: Vec<_> = (0..5_000).map(|n| format!("\"x{n}\": {n}")).collect();
    let all = warned("server.json", &format!("{{{}}}", options.join(",\n")));
    assert_eq!(all.len(), 101);
    assert_eq!(all[100], "server.json: 4900 more unknown options, ignored");
}

#[test]
fn options_without_effect_get_a_warning() {
    let log = LOG.replace("}}", r#", "google_spread_sheets_auth": "a.json", "spread_sheets_key": "k"}}"#);
    assert_eq!(warned("log.json", &log).iter().filter(|w| w.contains("Google Sheets")).count(), 2);
    let system = warned("system.json", r#"{"__access_token__": null, "__private__": false}"#);
    assert!(system.len() == 2 && system.iter().all(|w| w.contains("changes nothing")), "{system:?}");
    assert!(warning("server.json", r#"{"stream_large_files": true}"#).contains("changes nothing"));
    let queue = warning("http.toml", "request_buffer_queue_size = 100");
    assert!(queue.starts_with("http.toml:1:1: request_buffer_queue_size: bodies are bounded"), "{queue}");
}

#[test]
fn doubtful_values_get_a_warning() {
    let twice =
        warning("api_key.json", "[{\"key\": \"k\"},\n{\"key\": \"j\"},\n{\"info\": null, \"key\": \"k\"}]");
    assert!(twice.starts_with("api_key.json:3:23: [2].key: the same key as [0]"), "{twice}");
    let hashed =
        format!(r#"[{{"key": "k"}}, {{"key": "sha256:{}"}}]"#, super::super::KeyDigest::of("k").to_hex());
    assert!(warning("api_key.json", &hashed).contains("[1].key: the same key as [0]"));
    assert!(warning("api_key.json", r#"[{"key": "mochimochi", "status": true}]"#).contains("documentation"));
    assert!(warning("system.json", r#"{"root_pass": "mochimochi"}"#).contains("documentation"));
    let star = warning("server.json", r#"{"access_control_allowed_origins": ["*"]}"#);
    assert!(
        star.starts_with(
            "server.json:1:36: access_control_allowed_origins: origins that are admitted by `*`"
        ),
        "{star}"
    );
    assert!(warning("http.toml", "request_max_size = 200000000").contains("fewer than"));
    assert!(warning("log.json", "{}").contains("no log"));
}
