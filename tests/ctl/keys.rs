//! Tests of the commands that make, list and revoke keys.

use std::collections::HashSet;

use serde_json::json;

use crate::harness::{Setup, route, sha256_hex};
use crate::installation::Installation;

#[test]
fn a_key_is_shown_once_and_stored_as_its_hash() {
    let installation = Installation::of_one();
    let said = installation.run(&[
        "key",
        "add",
        "--name",
        "web",
        "--info",
        "the \"web\" servers",
        "--rate",
        "60/minute",
        "--ip",
        "10.0.0.0/8",
        "--ip",
        "::1",
        "--path",
        "/moca-file-log/sample1/save-log",
        "--path",
        "/moca-file-log:5/second",
    ]);
    assert!(said.err.contains("shown this once"), "{said:?}");
    let key = said.ok();
    let key = key.trim_end();
    assert!(key.starts_with("moca_") && key.len() == 48, "{key}");
    let text = installation.read("api_key.json");
    assert!(!text.contains(key));
    let entries: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        entries[1],
        json!({
            "key": format!("sha256:{}", sha256_hex(key)), "name": "web", "status": true, "rate": "60/minute",
            "info": "the \"web\" servers", "ip": ["10.0.0.0/8", "::1"],
            "allowed_path": ["/moca-file-log/sample1/save-log", "/moca-file-log:5/second"],
        })
    );
    installation.run(&["check"]).ok();
    let error = installation.run(&["key", "add", "--name", "web"]).failed(64);
    assert!(error.contains("already"), "{error}");

    let listed = installation.run(&["key", "list"]).ok();
    assert!(
        !listed.contains("test-key") && listed.contains("60 per minute") && listed.contains("10.0.0.0/8 ::1")
    );
    let listed = installation.run(&["key", "list", "--json"]).json();
    assert_eq!((&listed[1]["name"], &listed[0]["ip"]), (&json!("web"), &json!(null)));

    let json = installation.run(&["key", "add", "--json"]).json();
    let key = json["key"].as_str().unwrap();
    assert_eq!(json["hash"], format!("sha256:{}", sha256_hex(key)));
    assert_eq!(json["name"], sha256_hex(key)[..8]);
    let keys: HashSet<String> = (0..5).map(|_| installation.run(&["key", "add"]).ok()).collect();
    assert_eq!(keys.len(), 5);
}

#[test]
fn a_key_is_revoked_by_name_hash_or_key() {
    let installation = Installation::of_one();
    let count = || installation.run(&["key", "list", "--json"]).json().as_array().unwrap().len();
    let hash = sha256_hex("test-key");
    let whole = format!("sha256:{hash}");
    for which in ["test-key", &hash[..8], &whole] {
        installation.write("api_key.json", r#"[{"key": "other"}, {"key": "test-key", "status": true}]"#);
        installation.run(&["key", "revoke", which]).ok();
        assert_eq!((count(), installation.read("api_key.json").contains("other")), (1, true), "{which}");
    }
    installation.write("api_key.json", r#"[{"key": "--k"}]"#);
    installation.run_with(&["key", "revoke", "-"], "--k\n").ok();
    assert_eq!(installation.read("api_key.json"), "[]");
    let error = installation.run(&["key", "revoke", "s3cret"]).failed(66);
    assert!(!error.contains("s3cret"), "it may be a key: {error}");
    // If only the first entry of a key were removed, the second one would count.
    installation.write("api_key.json", r#"[{"key": "k"}, {"key": "x"}, {"key": "k", "status": true}]"#);
    installation.run(&["key", "revoke", "k"]).ok();
    assert_eq!(installation.read("api_key.json"), r#"[{"key": "x"}]"#);
    let ambiguous = r#"[{"key": "a", "name": "n"}, {"key": "b", "name": "n"}]"#;
    installation.write("api_key.json", ambiguous);
    installation.run(&["key", "revoke", "n"]).failed(65);
    assert_eq!(installation.read("api_key.json"), ambiguous);
}

#[test]
fn a_running_service_accepts_a_new_key_and_refuses_a_revoked_one() {
    let server = Setup::new().start();
    let config = server.root_dir().join("config");
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mocactl"));
        let output = command.arg("--config-dir").arg(&config).args(arguments).output().unwrap();
        crate::installation::CommandOutput::of(&output).ok()
    };
    let key = run(&["key", "add", "--name", "fresh"]);
    let save =
        || server.get_with(&format!("{}?message=m", route("save-log")), &[("API-KEY", key.trim_end())]);
    let eventually = |status: u16| {
        crate::harness::eventually("the key's state", std::time::Duration::from_secs(5), || {
            save().status == status
        });
    };
    eventually(200);
    assert!(server.log_lines().pop().unwrap().contains("|fresh|"));
    run(&["key", "revoke", "fresh"]);
    eventually(401);
}
