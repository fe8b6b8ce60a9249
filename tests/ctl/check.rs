//! Tests of `mocactl check`. They check the findings with their positions, and the exit statuses.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::installation::{Installation, entry};

#[test]
fn valid_files_have_no_errors() {
    let installation = Installation::of_one();
    let output = installation.run(&["check"]).ok();
    assert!(output.contains("is in order: 0 errors, 0 warnings"), "{output}");
    let judged = installation.run(&["check", "--json"]).json();
    assert_eq!(judged, json!({"ok": true, "errors": [], "warnings": []}));
}

#[test]
fn all_findings_of_all_files_are_printed() {
    let installation = Installation::of_one();
    installation.write("log.json", "{\n  \"a\": {\"host\": \"h\", \"port\": 70000, \"file\": \"a\"}\n}");
    installation.write("api_key.json", "[{\"key\": 5}]");
    installation.write("system.json", "{\n \"dos_detect\": -1\n}");
    installation.write("http.toml", "workers = \"many\"\n");
    installation.write("server.json", "{\"debgu\": true}");
    installation.write("ip_blacklist.json", "[\"x\"]");
    let output = installation.run(&["check"]);
    assert_eq!(output.status, 78);
    for place in
        ["log.json:2:", "a.port", "api_key.json:1:", "system.json:2:", "http.toml:1:", "ip_blacklist.json:1:"]
    {
        assert!(output.out.contains(place), "{place}: {}", output.out);
    }
    assert!(
        output.out.contains("warning: server.json:1:") && output.out.contains("did you mean `debug`?"),
        "{}",
        output.out
    );
    assert!(output.out.contains("5 errors, 1 warning\n"), "{}", output.out);
    let output = installation.run(&["check", "--json"]);
    assert_eq!(output.status, 78);
    let judged = output.json();
    assert_eq!((&judged["ok"], judged["errors"].as_array().unwrap().len()), (&json!(false), 5));
    assert_eq!((&judged["errors"][0]["path"], &judged["errors"][0]["line"]), (&json!("a.port"), &json!(2)));
    assert_eq!(judged["warnings"][0]["remedy"], "did you mean `debug`?");
}

#[test]
fn settings_that_refuse_everything_are_warnings() {
    let installation = Installation::new(
        &json!({"a": {"host": "0.0.0.0", "port": 5700, "file": "a"}, "b": entry(5701, "b")}),
    );
    installation.write("api_key.json", &json!([
        {"key": "k", "ip": [], "rate": "0/minute", "allowed_path": ["/save-log", "/moca-file-log", "/moca-file-log/a"]},
    ]).to_string());
    installation.write("system.json", r#"{"maintenance_mode": true}"#);
    installation.write("http.toml", "proxies_count = 1\n");
    installation.write("ip_blacklist.json", r#"["127.0.0.0/8"]"#);
    fs::set_permissions(installation.config("api_key.json"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = installation.run(&["check"]).ok();
    for words in [
        "api_key.json: no key is on",
        "[0].ip: an empty list",
        "[0].rate: a limit of 0",
        "[0].allowed_path[0]: no route",
        "[0].allowed_path[2]: an earlier path",
        "api_key.json: everybody on this machine",
        "root_pass: no root password",
        "maintenance_mode: true",
        "trusted_proxies: a client that connects",
        "max_connections_per_ip: not set",
        "loopback is in the list",
    ] {
        assert!(output.contains(words), "{words}: {output}");
    }
    installation.write("http.toml", "max_connections_per_ip = 100\n");
    assert!(!installation.run(&["check"]).ok().contains("max_connections_per_ip"), "a limit is set");
    installation
        .write("server.json", r#"{"rate_limiter_redis_storage": "redis://h", "stream_large_files": true}"#);
    let output = installation.run(&["check"]).ok();
    assert!(!output.contains("rate_limiter_redis_storage"), "it shares the limit of 0: {output}");
    installation.write("api_key.json", r#"[{"key": "k", "status": true}]"#);
    let said_without_limits = installation.run(&["check"]).ok();
    assert!(said_without_limits.contains("no key has a limit"), "{said_without_limits}");
    assert!(output.contains("stream_large_files"), "{output}");
}

#[test]
fn errors_of_the_server_are_errors_of_check() {
    let installation = Installation::of_one();
    installation.write("server.json", r#"{"ssl": {"cert": "c.pem", "key": "k.pem"}}"#);
    let checked = installation.run(&["check"]);
    let served = installation.run(&["run", "sample1"]);
    assert_eq!((checked.status, served.status), (78, 78), "{checked:?} {served:?}");
    assert!(checked.out.contains("ssl.cert") && checked.out.contains("cannot be read"), "{checked:?}");
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    installation.write("c.pem", &pair.cert.pem());
    installation.write("k.pem", &other.signing_key.serialize_pem());
    let checked = installation.run(&["check"]);
    assert!(checked.status == 78 && checked.out.contains("is not the private key"), "{checked:?}");
    installation.write("k.pem", &pair.signing_key.serialize_pem());
    fs::set_permissions(installation.config("k.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let output = installation.run(&["check"]).ok();
    assert!(output.contains("0 errors, 0 warnings"), "{output}");
    fs::set_permissions(installation.config("k.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = installation.run(&["check"]).ok();
    assert!(output.contains("everybody on this machine may open the private key"), "{output}");
    fs::remove_file(installation.config("log.json")).unwrap();
    installation.run(&["check"]).failed(78);
}

#[test]
fn every_option_without_effect_is_a_warning() {
    let installation = Installation::of_one();
    let mut log = entry(5700, "sample1.log");
    log["google_spread_sheets_auth"] = json!("auth.json");
    log["spread_sheets_key"] = json!("key");
    installation.write("log.json", &json!({"sample1": log}).to_string());
    installation.write("server.json", r#"{"stream_large_files": true, "access_log": false}"#);
    let system = r#"{"root_pass": "root-pass", "__access_token__": null, "__private__": false}"#;
    installation.write("system.json", system);
    installation.write(
        "http.toml",
        "request_buffer_queue_size = 100\ntrusted_proxies = []\nforwarded_for_header = \"X-Way\"\n\
         keep_alive = false\nkeep_alive_timeout = 7\nbody_timeout = 61\nmax_connections_per_ip = 20000\n\
         access_log = false\n",
    );
    let judged = installation.run(&["check", "--json"]).json();
    let explained: Vec<(&str, &str)> = judged["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| {
            let text = |name: &str| warning[name].as_str().unwrap_or_default();
            assert!(text("message").contains("nothing"), "{warning}");
            (text("file"), text("path"))
        })
        .collect();
    for expected in [
        ("log.json", "sample1.google_spread_sheets_auth"),
        ("log.json", "sample1.spread_sheets_key"),
        ("server.json", "stream_large_files"),
        ("system.json", "__access_token__"),
        ("system.json", "__private__"),
        ("http.toml", "request_buffer_queue_size"),
        ("http.toml", "trusted_proxies"),
        ("http.toml", "forwarded_for_header"),
        ("http.toml", "keep_alive_timeout"),
        ("http.toml", "body_timeout"),
        ("http.toml", "max_connections_per_ip"),
        ("http.toml", "access_log"),
    ] {
        assert!(explained.contains(&expected), "{expected:?}: {explained:?}");
    }
    assert_eq!(explained.len(), 12, "{explained:?}");
    // When the options that they need are set, there is no warning.
    let installation = Installation::of_one();
    installation.write(
        "http.toml",
        "trusted_proxies = []\nproxies_count = 1\nforwarded_for_header = \"X-Way\"\nkeep_alive_timeout = 7\n\
         body_timeout = 59\nmax_connections_per_ip = 19999\n",
    );
    let judged = installation.run(&["check", "--json"]).json();
    assert_eq!(judged["warnings"], json!([]));
}

#[test]
fn a_path_that_no_route_has_is_a_warning() {
    let installation = Installation::of_one();
    let paths = [
        ("/", true),
        ("/moca-file-log", true),
        ("/moca-file-log/sample1", true),
        ("/moca-file-log/save-log", true),
        ("/moca-file-log/sample1/get-logs", true),
        ("/metrics", true),
        ("/moca-file-log/save", false),
        ("/moca-file-log/other/save-log", false),
        ("/save-log", false),
        ("/status", false),
        ("/admin/status", false),
    ];
    for (path, is_route) in paths {
        let key = json!([{"key": "k", "status": true, "allowed_path": [path]}]);
        installation.write("api_key.json", &key.to_string());
        let judged = installation.run(&["check", "--json"]).json();
        let warnings = judged["warnings"].to_string();
        assert_eq!(!warnings.contains("no route of any log"), is_route, "{path}: {warnings}");
    }
}
