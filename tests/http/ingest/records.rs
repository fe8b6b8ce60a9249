//! Tests of what becomes of everything that a sender gives for a record: message, level, time and
//! fields, from each place of a request.

use serde_json::json;

use crate::harness::{KEY, Line, ROOT, Server, Setup, encode, route};

/// Returns the stored records as `LEVEL message | NAME=VALUE …`.
pub(super) fn records(server: &Server) -> Vec<String> {
    let shown = |line: Line| match line.fields.as_slice() {
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

#[test]
fn fields_past_the_limits_are_left_out_and_counted() {
    let server = Setup::new().start();
    let mut many: serde_json::Map<String, serde_json::Value> =
        (0..300).map(|n| (format!("n{n:03}"), json!(n))).collect();
    many.insert("message".to_owned(), json!("m"));
    server.save_with(&json!(many)).success();
    server.save_batch(&json!([many])).success();
    let form: Vec<(String, String)> =
        many.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
    let mut form: Vec<(&str, &str)> =
        form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    form.push(("api_key", KEY));
    server.post_form(&route("save-log"), &form).success();
    for line in server.parsed() {
        assert_eq!(line.fields.len(), 129);
        assert_eq!((line.field("n127"), line.field("fields_dropped")), (Some("127"), Some("172")));
    }
    let huge = json!({"message": "m", "a": "x".repeat(1_048_576), "b": "small"});
    server.save_with(&huge).success();
    assert_eq!(records(&server).last().unwrap(), "INFO m | b=small fields_dropped=1");
    let very_many: Vec<String> = (0..20_000).map(|n| format!("\"n{n}\":1")).collect();
    let body = format!("{{{},\"message\":\"m\",\"api_key\":\"{KEY}\"}}", very_many.join(","));
    let json_type = [("Content-Type", "application/json")];
    server.request("POST", &route("save-log"), &json_type, body.as_bytes()).success();
    assert_eq!(server.parsed().last().unwrap().field("fields_dropped"), Some("19872"));
}

#[test]
fn numbers_keep_their_text_and_names_are_cleaned() {
    let server = Setup::new().start();
    let body = br#"{"message":"m","a":1e400,"b":123456789012345678901234567890,"c":-0,"d":1.50,"e":true,"f":null,
        "g":{"h":{"i":[1, {"j":null}],"k":{}}},"":"empty","a b=c|\"\\d":"x","at":"never","level_":"","twice":1,"twice":2}"#;
    let headers = [("API-KEY", KEY), ("Content-Type", "application/json")];
    server.request("POST", &route("save-log"), &headers, body).success();
    let expected = r#"a=1e400 b=123456789012345678901234567890 c=-0 d=1.50 e=true g.h.i=[1, {"j":null}] g.h.k={} _=empty a_b_c___d=x _at=never level_= twice=2"#;
    assert_eq!(records(&server), [format!("INFO m | {expected}")]);
}

#[test]
fn nothing_that_a_sender_gives_forges_a_field_or_a_line() {
    let server = Setup::new().start();
    let imitation = "m \\| level=\"FATAL\" at=2026-01-01T00:00:00.000000Z";
    let end = "x\n[ERROR](2026-01-01 00:00:00.000000+00:00)<a|b|c|1|2>forged \\| a=b";
    server.save_with(&json!({"message": imitation})).success();
    server.save_with(&json!({"message": end, "value": end, end: imitation, "q": "\" b=\"c"})).success();
    server
        .post_form(&route("save-log"), &[("api_key", KEY), ("message", imitation), (imitation, end)])
        .success();
    let lines = server.parsed();
    assert_eq!(lines.len(), 3);
    assert_eq!((lines[0].message.as_str(), lines[0].fields.len()), (imitation, 0));
    assert_eq!((lines[1].message.as_str(), lines[1].field("value")), (end, Some(end)));
    assert_eq!((lines[1].field("q"), lines[1].fields.len()), (Some("\" b=\"c"), 3));
    assert_eq!((lines[2].message.as_str(), lines[2].fields.len()), (imitation, 1));
    assert!(lines.iter().all(|line| line.level == "INFO" && line.field("level").is_none()));
}

#[test]
fn file_with_and_without_fields_is_rotated_and_searched_by_time() {
    let access = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];
    let server = Setup::new().log("rotate", json!({"max_size": 4096, "compress": "gzip"})).start();
    for n in 0..200 {
        match n % 2 {
            0 => server.save(&format!("record {n}")),
            _ => server
                .save_with(&json!({"message": format!("record {n}"), "level": "notice", "n": n}))
                .success(),
        };
    }
    let read = |query: &str| {
        let text = server.get_with(&format!("{}{query}", route("get-logs")), &access).text();
        text.lines().map(Line::parse).collect::<Vec<Line>>()
    };
    let all = read("");
    assert!(server.parsed().len() < 100, "the file was not rotated");
    for (n, line) in all.iter().enumerate() {
        let fields = if n % 2 == 0 { String::new() } else { format!("level=notice n={n}") };
        assert_eq!((line.message.clone(), line.shown_fields()), (format!("record {n}"), fields));
    }
    assert_eq!(all.len(), 200);
    for index in [0, 1, 57, 120, 199] {
        let time = &all[index].time;
        let expected = all.iter().filter(|line| line.time >= *time).count();
        assert_eq!(read(&format!("?since={}", encode(time))).len(), expected, "{index}");
    }
}
