//! Tests of invalid configurations. The server refuses to start and names the place of the mistake.

use serde_json::{Value, json};

use crate::harness::{Setup, free_port};

/// Returns whether the text names this line and a column.
fn names_place(stderr: &str, line: usize) -> bool {
    let words = stderr.contains(&format!("line {line}")) && stderr.contains("column");
    let colon = format!(":{line}:");
    let colons = stderr
        .match_indices(&colon)
        .any(|(at, _)| stderr[at + colon.len()..].starts_with(|c: char| c.is_ascii_digit()));
    words || colons
}

fn refused_with_place(file: &str, text: &str, line: usize) {
    let stderr = Setup::new().config_file(file, text).start_refused();
    assert!(stderr.contains(file), "{file} is not named: {stderr}");
    assert!(names_place(&stderr, line), "line {line} of {file} is not named: {stderr}");
}

#[test]
fn an_unknown_log_is_refused_by_name() {
    let config = json!({"sample1": {"host": "127.0.0.1", "port": free_port(), "use_ipv6": false,
        "file": "sample1.log", "level": 0}});
    let stderr = Setup::new().config_file("log.json", &config.to_string()).named("nobody").start_refused();
    assert!(stderr.contains("nobody"), "{stderr}");
    assert_eq!(stderr.trim().lines().count(), 1, "one clear line: {stderr}");
}

#[test]
fn broken_json_is_refused_with_its_place() {
    refused_with_place("api_key.json", "[\n  {\"key\": \"k\",\n   \"status\": tru}\n]\n", 3);
    refused_with_place("system.json", "{\n  \"root_pass\": \"r\"\n  \"dos_detect\": 5\n}\n", 3);
    refused_with_place("log.json", "{\n\n\n  nonsense\n}\n", 4);
}

#[test]
fn broken_toml_is_refused_with_its_place() {
    refused_with_place("http.toml", "keep_alive = true\nrequest_timeout = = 5\n", 2);
}

#[test]
fn wrong_types_are_refused_with_their_place() {
    refused_with_place("api_key.json", "[\n  {\n    \"key\": \"k\",\n    \"status\": \"yes\"\n  }\n]\n", 4);
    refused_with_place("api_key.json", "[\n  {\n    \"key\": 5\n  }\n]\n", 3);
    refused_with_place("system.json", "{\n  \"dos_detect\": \"many\"\n}\n", 2);
    refused_with_place("server.json", "{\n  \"debug\": true,\n  \"backlog\": \"long\"\n}\n", 3);
    refused_with_place("ip_blacklist.json", "[\n  \"192.0.2.1\",\n  \"192.0.2.300\"\n]\n", 3);
    refused_with_place("http.toml", "keep_alive = true\nrequest_max_size = \"big\"\n", 2);
}

#[test]
fn wrong_values_are_refused() {
    let cases: [(&str, Value); 8] = [
        ("level", json!(5)),
        ("level", json!("loud")),
        ("port", json!(70_000)),
        ("port", json!("abc")),
        ("file", json!("")),
        ("format", json!("xml")),
        ("durability", json!("maybe")),
        ("use_ipv6", json!("no")),
    ];
    for (option, value) in cases {
        let stderr = Setup::new().log(option, value.clone()).start_refused();
        assert!(stderr.contains("log.json") && stderr.contains(option), "{option} = {value}: {stderr}");
    }
    for option in ["host", "port", "file"] {
        let stderr = Setup::new().log(option, json!([])).start_refused();
        assert!(stderr.contains("log.json") && stderr.contains(option), "{option}: {stderr}");
    }
    let secret = Setup::new().server("pyjs_secret", json!("too short")).start_refused();
    assert!(secret.contains("server.json") && secret.contains("pyjs_secret"), "{secret}");
    assert!(!secret.contains("too short"), "a secret stands in the error: {secret}");
}

#[test]
fn unknown_options_are_a_warning() {
    let server = Setup::new()
        .log("colour", json!("blue"))
        .system("colour", json!("blue"))
        .server("colour", json!("blue"))
        .key("k", &json!({"colour": "blue"}))
        .http("colour = \"blue\"")
        .start();
    server.assert_alive();
    let stderr = server.stderr();
    assert!(stderr.contains("colour"), "no warning: {stderr}");
}

#[test]
fn the_files_of_version_1_0_0_work_unchanged() {
    let log = format!(
        "{{\"sample1\": {{\"host\": \"127.0.0.1\", \"port\": {}, \"use_ipv6\": false, \
         \"file\": \"sample1.log\", \"level\": 0}}}}",
        free_port()
    );
    let config: Value = serde_json::from_str(&log).unwrap();
    let server_json = json!({
        "ssl": {"cert": null, "key": null}, "debug": false, "access_log": false, "log_level": 20,
        "auto_reload": false, "backlog": 100, "headers": {},
        "access_control_allowed_credentials": true,
        "access_control_allowed_origins": ["https://localhost", "http://localhost"],
        "access_control_allowed_methods": ["GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"],
        "access_control_allow_headers": "*", "access_control_max_age": 600,
        "access_control_expose_headers": "*", "stream_large_files": false,
        "rate_limiter_redis_storage": null, "pyjs_secret": null
    });
    let system = json!({
        "maintenance_mode": false, "maintenance_mode_whitelist": ["127.0.0.1"],
        "referer": {"allowed_referer": ["https://localhost", "http://127.0.0.1"], "force": false},
        "force_headers": {}, "dos_detect": 5000, "root_pass": "root-pass"
    });
    let keys = json!([{
        "key": "test-key", "status": true, "allowed_path": ["/"],
        "required": {"headers": {}, "args": {}}, "ip": "*", "rate": "60 per second", "delay": 0, "info": "sample"
    }]);
    let http = "request_max_size = 100000000\nrequest_buffer_queue_size = 100\nrequest_timeout = 60\n\
                response_timeout = 60\nkeep_alive = true\nkeep_alive_timeout = 5\nwebsocket_max_size = 1048576\n\
                websocket_max_queue = 32\nwebsocket_read_limit = 65536\nwebsocket_write_limit = 65536\n\
                websocket_ping_interval = 20\nwebsocket_ping_timeout = 20\ngraceful_shutdown_timeout = 15.0\n\
                access_log = true\nforwarded_for_header = \"X-Forwarded-For\"\n";
    let port = config["sample1"]["port"].clone();
    let server = Setup::new()
        .log("port", port.clone())
        .on_port(u16::try_from(port.as_u64().unwrap()).unwrap())
        .config_file("log.json", &log)
        .config_file("server.json", &server_json.to_string())
        .config_file("system.json", &system.to_string())
        .config_file("api_key.json", &keys.to_string())
        .config_file("http.toml", http)
        .start();
    server.assert_alive();
    assert_eq!(server.root_get("details").status, 200);
}

#[test]
fn durability_is_disk_by_default() {
    let server = Setup::new().log("durability", Value::Null).start();
    assert_eq!(server.root_get("details").json()["durability"], "disk");
    server.assert_alive();
}

#[test]
fn missing_tls_files_refuse_the_start() {
    let missing = json!({"cert": "missing.crt", "key": "missing.key"});
    let stderr = Setup::new().server("ssl", missing).start_refused();
    assert!(stderr.contains("missing."), "{stderr}");
    let half = json!({"cert": "missing.crt", "key": null});
    Setup::new().server("ssl", half).start_refused();
}

#[test]
fn an_unknown_time_zone_is_warned_of() {
    let server = Setup::new().env("TZ", "Mars/Olympus_Mons").start();
    server.assert_alive();
    assert!(server.stderr().contains("Mars/Olympus_Mons"), "{}", server.stderr());
    for known in ["Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3", ""] {
        let server = Setup::new().env("TZ", known).start();
        server.assert_alive();
        assert!(!server.stderr().contains("time zone"), "{known}: {}", server.stderr());
    }
}
