//! Tests of the fast path. Common records take it, and all other requests take the slow path. Both
//! paths give the same answer and store the same line.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{Conn, KEY, ROOT, Response, Server, Setup, route};

/// A header field that the fast path does not know, so that the request takes the slow path.
const DETOUR: (&str, &str) = ("X-Detour", "please");

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn server(durability: &str) -> Server {
    Setup::new()
        .durability(durability)
        .log("level", json!(1))
        .key("off", &json!({"status": false}))
        .key("elsewhere", &json!({"status": true, "ip": "203.0.113.0/24"}))
        .key("reader", &json!({"status": true, "allowed_path": ["/moca-file-log/get-logs"]}))
        .key("argument", &json!({"status": true, "required": {"args": {"who": "me"}}}))
        .key("header", &json!({"status": true, "required": {"headers": {"User-Agent": "me"}}}))
        .key("slow", &json!({"status": true, "delay": 0.01, "name": "slow one"}))
        .key("limited", &json!({"status": true, "rate": "1000 per hour, 5000 per day", "name": "limited"}))
        .server("headers", json!({"X-Site": "one"}))
        .start()
}

/// Returns the parts of an answer that are the same for equal requests. Times and remaining limits
/// are not.
fn comparable(answer: &Response) -> (u16, Vec<(String, String)>, String) {
    let differs = ["date", "ratelimit"];
    let mut headers: Vec<(String, String)> =
        answer.headers.iter().filter(|(name, _)| !differs.contains(&name.as_str())).cloned().collect();
    headers.push(("ratelimit".into(), answer.header("ratelimit").is_some().to_string()));
    headers.sort();
    let mut body = String::from_utf8(answer.body.clone()).unwrap();
    if let Ok(mut object) = serde_json::from_str::<Value>(&body)
        && let Some(cursor) = object.get_mut("cursor")
    {
        *cursor = json!(cursor.as_str().unwrap().len());
        body = object.to_string();
        headers.retain(|(name, _)| name != "content-length");
    }
    (answer.status, headers, body)
}

/// Returns the added lines without the fields that differ between records.
fn added_lines(server: &Server, before: usize) -> Vec<(String, String, String, String, String, String)> {
    let lines = server.parsed().split_off(before);
    lines
        .into_iter()
        .map(|line| {
            let fields = line.shown_fields();
            (line.level, line.client, line.key, line.route, line.message, fields)
        })
        .collect()
}

/// Sends the request by both paths, compares the answers, and returns the status.
fn by_both_paths(server: &Server, target: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
    let mut answers = Vec::new();
    for detour in [&[][..], &[DETOUR]] {
        let before = server.parsed().len();
        let headers = [headers, detour].concat();
        let answer = server.connect().request("POST", target, &headers, body);
        answers.push((comparable(&answer), added_lines(server, before)));
    }
    let shown = String::from_utf8_lossy(body);
    assert_eq!(answers[0], answers[1], "{target} {headers:?} {shown}");
    answers[0].0.0
}

#[test]
fn bodies_keys_and_heads_get_the_same_answer_by_both_paths() {
    // With durability `disk`, another thread answers.
    for durability in ["os", "disk"] {
        bodies_keys_and_heads(&server(durability));
    }
}

fn bodies_keys_and_heads(server: &Server) {
    let long = "x".repeat(8193);
    let wide = "あ".repeat(5000);
    let bodies = [
        json!({"message": "plain"}),
        json!({"msg": "alias", "level": "critical"}),
        json!({"message": "first", "msg": "second", "level": 4, "more": {"a": [1, 2, {"b": null}]}}),
        json!({"message": null, "msg": "second"}),
        json!({"message": "below the level of the log", "level": 0}),
        json!({"message": 1.50, "level": "2"}),
        json!({"message": "no such level", "level": 9}),
        json!({"message": "no such level", "level": [1]}),
        json!({"message": "another level", "level": " FATAL "}),
        json!({"message": "level and fields", "level": 60, "user": "bob", "time": 1795410148100_u64}),
        json!({"msg": "fields", "a": {"b": [1, {"c": null}]}, "at": "2026-11-23 05:02:28+01:00", "level": "notice"}),
        json!({"message": "forged", "x": "\n[ERROR]", "a=b c|\\\"": " \\| level=\"x\"", "": ""}),
        json!({"user": "bob", "level": 3.0}),
        json!({"message": true}),
        json!({"message": ""}),
        json!({"message": long}),
        json!({"message": wide}),
        json!({"message": "forged\n[ERROR](2026-01-01 00:00:00.000000+00:00)<a|b|c|1|2>x\r\u{0}\u{2028}\\n"}),
        json!({"nothing": "of use"}),
        json!({"message": "twice", "api_key": KEY}),
        json!({"message": "stronger", "api_key": "unknown"}),
        json!({"message": "not a text", "api_key": 5}),
        json!({"message": "root", "root_pass": "wrong"}),
        json!(["message"]),
        json!("message"),
    ];
    let mut bodies: Vec<Vec<u8>> = bodies.iter().map(|body| body.to_string().into_bytes()).collect();
    let texts: [&[u8]; 9] = [
        br#"{"message":"lone \ud800 surrogate"}"#,
        br#"{"message":"one","message":"two","level":3,"level":null}"#,
        br#"{"message":"escaped key","\u006cevel":3}"#,
        br#" { "message" : "blanks" } "#,
        br#"{"message":"more"} x"#,
        br#"{"message":"cut"#,
        b"{\"message\":\"not utf-8 \xff\"}",
        b"\xef\xbb\xbf{\"message\":\"bom\"}",
        b"{}",
    ];
    bodies.extend(texts.iter().map(|text| text.to_vec()));
    let mut statuses = Vec::new();
    for body in &bodies {
        statuses.push(by_both_paths(server, &route("save-log"), &[("API-KEY", KEY), JSON], body));
        by_both_paths(server, &route("save-log"), &[JSON], body);
    }
    assert!(
        statuses.contains(&200)
            && statuses.contains(&400)
            && statuses.contains(&422)
            && statuses.contains(&401),
        "{statuses:?}"
    );
    let body = br#"{"message":"hello","level":2}"#;
    for key in [KEY, "off", "elsewhere", "reader", "argument", "header", "slow", "limited", "unknown", ""] {
        by_both_paths(server, &route("save-log"), &[("API-KEY", key), JSON], body);
        let named = json!({"message": "hello", "api_key": key, "who": "me"}).to_string();
        by_both_paths(server, &route("save-log"), &[JSON, ("User-Agent", "me")], named.as_bytes());
    }
    let bearer = format!("Bearer {KEY}");
    let heads: [&[(&str, &str)]; 14] = [
        &[("X-API-Key", KEY)],
        &[("Authorization", &bearer)],
        &[("Authorization", &bearer), ("API-KEY", "unknown")],
        &[("API-KEY", KEY), ("Accept", "application/json")],
        &[("API-KEY", KEY), ("Accept", "text/html, application/json;q=0.5")],
        &[("API-KEY", KEY), ("Accept", "application/json;q=0")],
        &[("API-KEY", KEY), ("Accept", "*/*")],
        &[("API-KEY", "limited"), ("Accept", "application/json")],
        &[("API-KEY", KEY), ("Origin", "http://example.com")],
        &[("API-KEY", KEY), ("LEVEL", "4")],
        &[("API-KEY", KEY), ("X-Forwarded-For", "192.0.2.1"), ("X-Real-IP", "192.0.2.1")],
        &[("API-KEY", KEY), ("Connection", "keep-alive")],
        &[("API-KEY", KEY), ("Connection", "close")],
        &[("API-KEY", KEY), ("Content-Encoding", "gzip")],
    ];
    for head in heads {
        for media in
            ["application/json", "Application/JSON; charset=utf-8", "application/x+json", "text/plain"]
        {
            by_both_paths(server, &route("save-log"), &[head, &[("Content-Type", media)]].concat(), body);
        }
    }
    for target in [
        "/moca-file-log/sample1/save-log",
        "/moca-file-log/save-log/",
        "/moca-file-log/%73ave-log",
        "/moca-file-log/other/save-log",
        "/moca-file-log/save-logs",
        "/moca-file-log/save-log?level=4",
        "/moca-file-log/details",
        "/status",
    ] {
        by_both_paths(server, target, &[("API-KEY", KEY), JSON], body);
    }
}

#[test]
fn rate_limits_count_the_same_by_both_paths() {
    let server = Setup::new()
        .log("level", json!(1))
        .key("few", &json!({"status": true, "rate": "3 per hour"}))
        .start();
    let mut conn = server.connect();
    let mut left = Vec::new();
    for n in 0..5 {
        let detour: &[(&str, &str)] = if n % 2 == 0 { &[] } else { &[DETOUR] };
        let headers = [&[("API-KEY", "few"), JSON], detour].concat();
        let answer = conn.request("POST", &route("save-log"), &headers, br#"{"message":"x"}"#);
        let limit = answer.header("ratelimit").unwrap().split(';').nth(1).unwrap().to_owned();
        left.push((answer.status, limit, answer.header("retry-after").is_some()));
    }
    let expected = [(200, "r=2"), (200, "r=1"), (200, "r=0"), (429, "r=0"), (429, "r=0")];
    let expected: Vec<_> =
        expected.iter().map(|&(status, left)| (status, left.to_owned(), status == 429)).collect();
    assert_eq!(left, expected);
    assert_eq!(server.messages().len(), 3);
    let mut below = |detour: &[(&str, &str)]| {
        let headers = [&[("API-KEY", KEY), JSON], detour].concat();
        conn.request("POST", &route("save-log"), &headers, br#"{"message":"x","level":0}"#).success();
    };
    below(&[]);
    below(&[DETOUR]);
    let metrics = server.get_with("/metrics", &[("API-KEY", KEY), ("ROOT-PASS", ROOT)]);
    let metrics = String::from_utf8(metrics.body).unwrap();
    for counted in ["moca_limited_total 2\n", "moca_filtered_total 2\n"] {
        assert!(metrics.contains(counted), "{counted}{metrics}");
    }
}

#[test]
fn blocking_and_maintenance_apply_to_both_paths() {
    let server = Setup::new().start();
    let mut conn = server.connect();
    let mut save = |detour: &[(&str, &str)]| {
        let headers = [&[("API-KEY", KEY), JSON], detour].concat();
        conn.request("POST", &route("save-log"), &headers, br#"{"message":"x"}"#)
    };
    assert_eq!(save(&[]).status, 200);
    server.set("system.json", "/maintenance_mode", json!(true));
    server.wait_for_status(503);
    let (short, long) = (save(&[]), save(&[DETOUR]));
    assert_eq!((short.status, comparable(&short)), (503, comparable(&long)));
    assert!(short.header("retry-after").is_some());
    server.set("system.json", "/maintenance_mode", json!(false));
    server.wait_for_status(200);
    server.edit("ip_blacklist.json", r#"["127.0.0.1"]"#);
    server.wait_for_status(403);
    let (short, long) = (save(&[]), save(&[DETOUR]));
    assert_eq!((short.status, comparable(&short)), (403, comparable(&long)));
    server.edit("ip_blacklist.json", "[]");
    server.wait_for_status(200);
    assert_eq!(save(&[]).status, 200);
    assert_eq!(server.messages().len(), 2);
}

/// Returns the bytes of a request.
fn request_bytes(fields: &str, message: &str) -> Vec<u8> {
    let body = json!({"message": message}).to_string();
    let length = body.len();
    let target = route("save-log");
    let head =
        format!("POST {target} HTTP/1.1\r\nHost: a\r\nAPI-KEY: {KEY}\r\nContent-Type: application/json\r\n");
    format!("{head}Content-Length: {length}\r\n{fields}\r\n{body}").into_bytes()
}

fn answers(conn: &mut Conn, count: usize) {
    for n in 0..count {
        assert_eq!(conn.receive("POST").unwrap_or_else(|error| panic!("answer {n}: {error}")).status, 200);
    }
}

#[test]
fn a_request_split_anywhere_is_served() {
    let server = Setup::new().start();
    let request = request_bytes("", "in pieces");
    let mut expected = 0;
    for (step, wait) in [(1, 0), (7, 0), (request.len() / 2, 10), (request.len() - 30, 120)] {
        let mut conn = server.connect();
        for piece in request.chunks(step) {
            conn.send_raw(piece).unwrap();
            if wait > 0 {
                std::thread::sleep(Duration::from_millis(wait));
            }
        }
        answers(&mut conn, 1);
        conn.send_raw(&request_bytes("", "in pieces")).unwrap();
        answers(&mut conn, 1);
        expected += 2;
    }
    assert_eq!(server.messages(), vec!["in pieces"; expected]);
}

#[test]
fn a_trickling_body_times_out() {
    let server = Setup::new().http("request_timeout = 1").start();
    let mut conn = server.connect();
    let request = request_bytes("", &"x".repeat(200));
    let (begin, rest) = request.split_at(request.len() - 200);
    conn.send_raw(begin).unwrap();
    for byte in rest.chunks(1) {
        std::thread::sleep(Duration::from_millis(20));
        if conn.send_raw(byte).is_err() {
            break;
        }
    }
    let answer = conn.receive("POST").expect("an answer");
    assert_eq!(answer.status, 408);
    assert_eq!(server.messages().len(), 0);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    for durability in ["os", "disk"] {
        requests_in_a_row(&Setup::new().durability(durability).start());
    }
}

fn requests_in_a_row(server: &Server) {
    let mut conn = server.connect();
    let mut sent = Vec::new();
    let mut bytes = Vec::new();
    for n in 0..300 {
        let detour = if n % 7 == 3 { "X-Detour: a\r\n" } else { "" };
        sent.push(format!("message {n}"));
        bytes.extend(request_bytes(detour, &sent[n]));
    }
    conn.send_raw(&bytes).unwrap();
    answers(&mut conn, 300);
    assert_eq!(server.messages(), sent);
    // A half-closed client still gets the answer.
    conn.send_raw(&request_bytes("", "last")).unwrap();
    conn.half_close();
    answers(&mut conn, 1);
    assert_eq!(conn.read_to_end(), b"");
    assert_eq!(server.messages().last().unwrap(), "last");
}

#[test]
fn a_connection_works_after_a_silence() {
    let server = Setup::new().start();
    let mut conn = server.connect();
    for pause in [0, 300, 700] {
        std::thread::sleep(Duration::from_millis(pause));
        conn.send_raw(&request_bytes("", "x")).unwrap();
        answers(&mut conn, 1);
    }
    assert_eq!(server.messages().len(), 3);
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(|n| json!(n % 7)),
        "[a-z\"\\\\\n\u{1}\u{85}\u{e9}\u{1f600}]{0,12}".prop_map(Value::from),
        Just(json!("warning")),
        Just(json!(KEY)),
        Just(Value::Null),
        Just(json!(true)),
        Just(json!([1])),
    ]
}

#[test]
fn any_body_gets_the_same_answer_by_both_paths() {
    let server = server("disk");
    let names = prop::sample::select(vec!["message", "msg", "level", "api_key", "other", "\u{e9}"]);
    let fields = prop::collection::vec((names, any_value()), 0..5);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(150));
    let outcome = runner.run(&(fields, any::<bool>(), "[ ,}x]{0,2}"), |(fields, keyed, tail)| {
        // The JSON is written by hand, because a name may occur twice.
        let texts: Vec<String> =
            fields.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        let body = format!("{{{}}}{tail}", texts.join(","));
        let key: &[(&str, &str)] = if keyed { &[("API-KEY", KEY)] } else { &[] };
        by_both_paths(&server, &route("save-log"), &[key, &[JSON]].concat(), body.as_bytes());
        Ok(())
    });
    outcome.unwrap();
}
