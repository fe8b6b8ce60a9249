//! Tests of what becomes of everything that a sender gives for a record: message, level, time and
//! fields, from each place of a request.

use serde_json::json;

use crate::harness::{KEY, Server, Setup, encode, route};

/// Returns the stored records as `LEVEL message | NAME=VALUE …`.
fn records(server: &Server) -> Vec<String> {
    let shown = |line: crate::harness::Line| match line.fields.as_slice() {
        [] => format!("{} {}", line.level, line.message),
        _ => format!("{} {} | {}", line.level, line.message, line.shown_fields()),
    };
    server.parsed().into_iter().map(shown).collect()
}

const RECORD: &str = "WARNING disk almost full | at=2026-11-23T05:02:28.100000Z user=bob disk=sda 1";

#[test]
fn each_place_of_a_message_gives_its_fields() {
    let server = Setup::new().start();
    let target = route("save-log");
    let fields = [
        ("level", "warn"),
        ("time", "2026-11-23T06:02:28.1+01:00"),
        ("user", "bob"),
        ("message", "disk almost full"),
        ("disk", "sda 1"),
        ("api_key", KEY),
    ];
    let object = serde_json::Value::Object(
        fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect(),
    );
    server.post_json(&format!("{target}?other=1"), &object).success();
    server.post_form(&format!("{target}?other=1"), &fields).success();
    let query: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    server.get(&format!("{target}?{}", query.join("&"))).success();
    server.post_json(&route("save-logs"), &json!({"api_key": KEY, "other": 1, "logs": [object]})).success();
    let mut stored = records(&server);
    // JSON objects are sorted by serde_json.
    for record in &mut stored {
        *record = record.replace("disk=sda 1 user=bob", "user=bob disk=sda 1");
    }
    assert_eq!(stored, [RECORD; 4]);
}

#[test]
fn header_level_counts_only_where_no_other_source_has_one() {
    let server = Setup::new().start();
    let target = route("save-log");
    let post = |path: &str, body: serde_json::Value| {
        let headers = [("API-KEY", KEY), ("LEVEL", "fatal"), ("Content-Type", "application/json")];
        server.request("POST", path, &headers, body.to_string().as_bytes()).success();
    };
    post(&target, json!({"message": "a"}));
    post(&target, json!({"message": "a", "level": "info"}));
    post(&target, json!({"message": "a", "severity": "error"}));
    post(&target, json!({"message": "a", "levelno": 30}));
    post(&format!("{target}?level=debug"), json!({"message": "a"}));
    let expected = ["CRITICAL a | level=fatal", "INFO a", "ERROR a", "WARNING a | level=30", "DEBUG a"];
    assert_eq!(records(&server), expected);
}

#[test]
fn level_of_another_source_than_the_message_counts() {
    let server = Setup::new().start();
    let target = route("save-log");
    server
        .post_json(&format!("{target}?message=q&x=1"), &json!({"api_key": KEY, "level": 4, "y": 2}))
        .success();
    server
        .post_form(
            &format!("{target}?level=error&x=1"),
            &[("api_key", KEY), ("message", "f"), ("level", "info")],
        )
        .success();
    server
        .post_json(
            &format!("{target}?level=3&x=1"),
            &json!({"api_key": KEY, "text": "j", "levelname": "WARNING"}),
        )
        .success();
    assert_eq!(records(&server), ["CRITICAL q | x=1", "ERROR f", "WARNING j"]);
}
