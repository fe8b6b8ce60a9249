//! Tests of reloads. Every change of a configuration file applies, and a broken file never replaces
//! a good one.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{KEY, Line, ROOT, Server, Setup, eventually, route};

/// Maximum time until a change applies. The promise is one second. The rest is for a machine that
/// is busy with other tests.
const SOON: Duration = Duration::from_millis(2500);

fn key_works(server: &Server, key: &str) -> bool {
    server.get(&format!("{}?api_key={key}&logs=%5B%5D", route("save-logs"))).status == 200
}

fn keys(key: &str) -> String {
    json!([{"key": key, "status": true}]).to_string()
}

#[test]
fn a_file_written_in_place_applies() {
    let server = Setup::new().start();
    server.edit("api_key.json", &keys("written"));
    eventually("the new key works", SOON, || key_works(&server, "written"));
    assert!(!key_works(&server, KEY), "the old key still works");
}

#[test]
fn a_file_replaced_by_a_rename_applies_every_time() {
    let server = Setup::new().start();
    for round in 0..4 {
        let key = format!("renamed-{round}");
        server.replace("api_key.json", &keys(&key));
        eventually("the new key works", SOON, || key_works(&server, &key));
    }
}

#[test]
fn a_file_deleted_and_recreated_applies() {
    let server = Setup::new().start();
    std::fs::remove_file(server.config_path("api_key.json")).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.edit("api_key.json", &keys("anew"));
    eventually("the new key works", SOON, || key_works(&server, "anew"));
}

#[test]
fn a_swapped_symlink_applies() {
    let server = Setup::new().start();
    let path = server.config_path("api_key.json");
    let swap = |key: &str| {
        let target = server.root_dir().join(format!("{key}.json"));
        std::fs::write(&target, keys(key)).unwrap();
        let link = server.config_path("link.tmp");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        std::fs::rename(&link, &path).unwrap();
    };
    for key in ["linked-1", "linked-2", "linked-3"] {
        swap(key);
        eventually("the new key works", SOON, || key_works(&server, key));
    }
}

#[test]
fn the_status_of_a_key_applies() {
    let server = Setup::new().start();
    server.set("api_key.json", "/0/status", json!(false));
    eventually("the key is off", SOON, || !key_works(&server, KEY));
    server
        .get(&format!("{}?api_key={KEY}&message=m", route("save-log")))
        .refused(403, "Your API-KEY is not online.");
    server.set("api_key.json", "/0/status", json!(true));
    eventually("the key is on", SOON, || key_works(&server, KEY));
}

#[test]
fn system_json_applies() {
    let server = Setup::new().start();
    server.set("system.json", "/root_pass", json!("changed"));
    let details = |password: &str| {
        server.get_with(&route("details"), &[("API-KEY", KEY), ("ROOT-PASS", password)]).status
    };
    // The test sends few wrong passwords, because their number is limited.
    std::thread::sleep(Duration::from_millis(1000));
    eventually("the new password opens", SOON, || {
        std::thread::sleep(Duration::from_millis(250));
        details("changed") == 200
    });
    assert_eq!(details(ROOT), 403);
    server.set("system.json", "/force_headers", json!({"X-App": "one"}));
    eventually("the header is forced", SOON, || details("changed") == 403);
}

#[test]
fn the_block_list_applies() {
    let server = Setup::new().posed().start();
    let status = || server.get_with("/status", &[("X-Real-IP", "203.0.113.7")]).status;
    assert_eq!(status(), 200);
    server.edit("ip_blacklist.json", "[\"203.0.113.0/24\"]");
    eventually("blocked", SOON, || status() == 403);
    server.edit("ip_blacklist.json", "[]");
    eventually("no more blocked", SOON, || status() == 200);
}

#[test]
fn server_json_applies() {
    let server = Setup::new().start();
    server.edit("server.json", &json!({"headers": {"X-Box": "new"}}).to_string());
    eventually("the header is there", SOON, || server.get("/status").header("x-box") == Some("new"));
}

#[test]
fn http_toml_applies() {
    let server = Setup::new().start();
    let body = json!({"api_key": KEY, "message": "x".repeat(3000)});
    server.post_json(&route("save-log"), &body).success();
    server.edit("http.toml", "request_max_size = 1000\n");
    eventually("the size is limited", SOON, || server.post_json(&route("save-log"), &body).status == 413);
}

#[test]
fn the_level_and_format_of_the_log_apply() {
    let server = Setup::new().start();
    server.save_with(&json!({"message": "stored", "level": 0})).success();
    server.set("log.json", "/sample1/level", json!(3));
    let details = || server.root_get("details").json();
    // The probes must not add lines that the test does not expect.
    eventually("debug is filtered", SOON, || {
        let count = details()["count"].clone();
        server.save_with(&json!({"message": "probe", "level": 0})).success();
        details()["count"] == count
    });
    server.set("log.json", "/sample1/format", json!("json"));
    eventually("lines are JSON", SOON, || {
        server.save_with(&json!({"message": "form", "level": 4})).success();
        server.log_lines().last().is_some_and(|line| line.starts_with('{'))
    });
    server.set("log.json", "/sample1/format", json!("text"));
    eventually("lines are text", SOON, || {
        server.save_with(&json!({"message": "form", "level": 4})).success();
        server.log_lines().last().is_some_and(|line| Line::try_parse(line).is_ok())
    });
}

#[test]
fn a_changed_log_file_applies_without_a_lost_record() {
    let server = Setup::new().start();
    let old_path = server.log_path();
    let new_path = old_path.with_file_name("moved.log");
    let mut sent = 0;
    server.save(&format!("record {sent}"));
    server.set("log.json", "/sample1/file", json!("moved.log"));
    eventually("the new file is written", SOON, || {
        sent += 1;
        server.save(&format!("record {sent}"));
        std::fs::read_to_string(&new_path).is_ok_and(|text| !text.is_empty())
    });
    let mut text = std::fs::read_to_string(&old_path).unwrap();
    text.push_str(&std::fs::read_to_string(&new_path).unwrap());
    let messages: Vec<String> = text.lines().map(|line| Line::parse(line).message).collect();
    let expected: Vec<String> = (0..=sent).map(|n| format!("record {n}")).collect();
    assert_eq!(messages, expected);
    assert_eq!(server.root_get("details").json()["file"], "moved.log");
}

#[test]
fn the_durability_of_the_log_applies() {
    let server = Setup::new().durability("os").start();
    server.set("log.json", "/sample1/durability", json!("disk"));
    eventually("durability is disk", SOON, || server.root_get("details").json()["durability"] == "disk");
    server.assert_alive();
}

#[test]
fn a_broken_file_keeps_the_last_good_configuration() {
    let broken = [
        ("api_key.json", "[{\"key\": "),
        ("api_key.json", "{\"key\": \"k\"}"),
        ("api_key.json", ""),
        ("system.json", "{\"root_pass\": 5}"),
        ("server.json", "[]"),
        ("log.json", "{\"sample1\": {\"level\": \"loud\"}}"),
        ("ip_blacklist.json", "[\"not an address\"]"),
        ("http.toml", "request_timeout = \"soon\"\n"),
    ];
    let server = Setup::new().start();
    for (file, text) in broken {
        let good = std::fs::read_to_string(server.config_path(file)).unwrap();
        server.edit(file, text);
        eventually(&format!("STATUS names {file}"), SOON, || server.status_text().contains(file));
        server.assert_alive();
        assert_eq!(server.root_get("details").status, 200, "{file}");
        assert_eq!(server.get("/status").status, 200, "{file}");
        server.edit(file, &good);
        eventually(&format!("STATUS is quiet about {file}"), SOON, || !server.status_text().contains(file));
        server.assert_alive();
    }
}

#[test]
fn a_repaired_file_applies() {
    let server = Setup::new().start();
    server.edit("api_key.json", "[{");
    eventually("STATUS names the file", SOON, || server.status_text().contains("api_key.json"));
    server.replace("api_key.json", &keys("repaired"));
    eventually("the new key works", SOON, || key_works(&server, "repaired"));
    assert!(!key_works(&server, KEY));
}

#[test]
fn no_request_is_dropped_by_reloads() {
    let server = Setup::new().start();
    let good = std::fs::read_to_string(server.config_path("api_key.json")).unwrap();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut conn = server.connect();
            for n in 0..400 {
                let target = format!("{}?api_key={KEY}&message={n}", route("save-log"));
                conn.get(&target).success();
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        while !sender.is_finished() {
            server.edit("api_key.json", &good);
            server.replace("system.json", &json!({"root_pass": ROOT}).to_string());
            server.signal(Signal::SIGHUP);
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(server.messages().len(), 400);
}

#[test]
fn sighup_reloads_and_does_not_stop() {
    let server = Setup::new().start();
    server.edit("api_key.json", &keys("hup"));
    server.signal(Signal::SIGHUP);
    eventually("the new key works", SOON, || key_works(&server, "hup"));
}
