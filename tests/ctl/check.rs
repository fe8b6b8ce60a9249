//! Findings with their places, and statuses for scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::installation::{Installation, entry};

#[test]
fn files_in_order() {
    let installation = Installation::of_one();
    let said = installation.run(&["check"]).ok();
    assert!(said.contains("is in order: 0 errors, 0 warnings"), "{said}");
    let judged = installation.run(&["check", "--json"]).json();
    assert_eq!(judged, json!({"ok": true, "errors": [], "warnings": []}));
}

#[test]
fn every_finding_of_every_file() {
    let installation = Installation::of_one();
    installation.write("log.json", "{\n  \"a\": {\"host\": \"h\", \"port\": 70000, \"file\": \"a\"}\n}");
    installation.write("api_key.json", "[{\"key\": 5}]");
    installation.write("system.json", "{\n \"dos_detect\": -1\n}");
    installation.write("http.toml", "workers = \"many\"\n");
    installation.write("server.json", "{\"debgu\": true}");
    installation.write("ip_blacklist.json", "[\"x\"]");
    let said = installation.run(&["check"]);
    assert_eq!(said.status, 78);
    for place in
        ["log.json:2:", "a.port", "api_key.json:1:", "system.json:2:", "http.toml:1:", "ip_blacklist.json:1:"]
    {
        assert!(said.out.contains(place), "{place}: {}", said.out);
    }
    assert!(
        said.out.contains("warning: server.json:1:") && said.out.contains("did you mean `debug`?"),
        "{}",
        said.out
    );
    assert!(said.out.contains("5 errors, 1 warning\n"), "{}", said.out);
    let said = installation.run(&["check", "--json"]);
    assert_eq!(said.status, 78);
    let judged = said.json();
    assert_eq!((&judged["ok"], judged["errors"].as_array().unwrap().len()), (&json!(false), 5));
    assert_eq!((&judged["errors"][0]["path"], &judged["errors"][0]["line"]), (&json!("a.port"), &json!(2)));
    assert_eq!(judged["warnings"][0]["remedy"], "did you mean `debug`?");
}

#[test]
fn what_is_valid_and_makes_no_sense() {
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
    let said = installation.run(&["check"]).ok();
    for words in [
        "api_key.json: no key is on",
        "[0].ip: an empty list",
        "[0].rate: a limit of 0",
        "[0].allowed_path[0]: no route",
        "[0].allowed_path[2]: an earlier path",
        "api_key.json: everybody on this machine",
        "root_pass: no root password",
        "maintenance_mode: true",
        "trusted_proxies: whoever connects",
        "loopback is in the list",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    installation
        .write("server.json", r#"{"rate_limiter_redis_storage": "redis://h", "stream_large_files": true}"#);
    let said = installation.run(&["check"]).ok();
    assert_eq!(said.matches("rate_limiter_redis_storage").count(), 1, "once for all logs: {said}");
    assert!(said.contains("stream_large_files"), "{said}");
}

#[test]
fn what_the_server_refuses_is_refused() {
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
    let said = installation.run(&["check"]).ok();
    assert!(said.contains("0 errors, 0 warnings"), "{said}");
    fs::set_permissions(installation.config("k.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let said = installation.run(&["check"]).ok();
    assert!(said.contains("everybody on this machine may open the private key"), "{said}");
    fs::remove_file(installation.config("log.json")).unwrap();
    installation.run(&["check"]).failed(78);
}
