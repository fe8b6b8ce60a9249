//! Tests of Loki's push API.

use std::io::Write;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{KEY, Response, Server, Setup};
use crate::ingest::records::records;

const PUSH: &str = "/loki/api/v1/push";
const NANOS: &str = "1795410148100000000";
const AT: &str = "at=2026-11-23T05:02:28.100000Z";

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn push(server: &Server, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let key = bearer(KEY);
    let headers: Vec<_> = headers.iter().copied().chain([("Authorization", key.as_str())]).collect();
    server.request("POST", path, &headers, body)
}

fn stored(response: &Response) {
    assert_eq!((response.status, response.text().as_str()), (204, ""), "{response:?}");
    assert_eq!(response.header("content-type"), None);
}

/// Checks a refusal in the form of Loki, and returns its text.
fn refused(response: &Response, status: u16) -> String {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.expect_header("content-type"), "text/plain; charset=utf-8");
    response.text()
}

/// A field of protobuf with bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut len = bytes.len();
    let mut field = vec![tag << 3 | 2];
    while len > 0x7f {
        field.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    field.push(len as u8);
    field.extend(bytes);
    field
}

/// A `PushRequest` with one stream.
fn protobuf(labels: &str, lines: &[&str]) -> Vec<u8> {
    // 1,795,410,148 seconds and 100,000,000 nanoseconds.
    let time = [0x08, 0xe4, 0x91, 0x8f, 0xd8, 0x06, 0x10, 0x80, 0xc2, 0xd7, 0x2f];
    let entry = |line: &&str| {
        let pair = [field(1, b"trace"), field(2, b"t 1")].concat();
        field(2, &[field(1, &time), field(2, line.as_bytes()), field(3, &pair)].concat())
    };
    let entries: Vec<u8> = lines.iter().flat_map(entry).collect();
    field(1, &[field(1, labels.as_bytes()), entries].concat())
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn of_stream(stream: &Value, values: &Value) -> Vec<u8> {
    json!({"streams": [{"stream": stream, "values": values}]}).to_string().into_bytes()
}

#[test]
fn lines_are_stored_with_labels_metadata_level_and_time() {
    let server = Setup::new().start();
    let json = of_stream(
        &json!({"app": "x", "severity": "error"}),
        &json!([[NANOS, "one"], [NANOS, "{\"message\":\"stays text\"}", {"trace": "t 1"}]]),
    );
    let expected = [
        format!("ERROR one | {AT} app=x"),
        format!("ERROR {{\"message\":\"stays text\"}} | {AT} app=x trace=t 1"),
    ];
    let plain = [("Content-Type", "application/json; charset=utf-8")];
    stored(&push(&server, PUSH, &plain, &json));
    let coded = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    stored(&push(&server, PUSH, &coded, &gzip(&json)));
    let coded = [("Content-Type", "application/json"), ("Content-Encoding", "deflate")];
    stored(&push(&server, "/api/prom/push", &coded, &zlib(&json)));
    stored(&push(&server, PUSH, &[], &json));
    assert_eq!(records(&server), [&expected[..]; 4].concat());
    assert_eq!(server.parsed()[0].route, "loki");
}

#[test]
fn protobuf_is_read_under_every_type_and_coding() {
    let server = Setup::new().start();
    let bytes = protobuf("{app=\"x\", level=\"warn\"}", &["one", "two"]);
    let coded = snappy(&bytes);
    let types: [&[(&str, &str)]; 4] = [
        &[("Content-Type", "application/x-protobuf")],
        &[("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")],
        &[],
        &[("Content-Type", "application/x-www-form-urlencoded")],
    ];
    for headers in types {
        stored(&push(&server, PUSH, headers, &coded));
    }
    let both = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy, gzip")];
    stored(&push(&server, PUSH, &both, &gzip(&coded)));
    let only = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip")];
    stored(&push(&server, PUSH, &only, &gzip(&bytes)));
    let expected = ["one", "two"].map(|line| format!("WARNING {line} | {AT} app=x trace=t 1"));
    assert_eq!(records(&server), [&expected[..]; 6].concat());
}

#[test]
fn recorded_request_of_python_logging_loki_is_stored() {
    let server = Setup::new().key("mochimochi", &json!({"name": "u"})).start();
    let body = br#"{"streams": [{"stream": {"app": "x", "severity": "error", "logger": "x", "k": "v"}, "values": [["1796019779636651776", "E1 loki x"]]}]}"#;
    let headers = [
        ("User-Agent", "python-requests/2.34.2"),
        ("Accept-Encoding", "gzip, deflate"),
        ("Accept", "*/*"),
        ("Content-Type", "application/json"),
        ("Authorization", "Basic dTptb2NoaW1vY2hp"),
    ];
    stored(&server.request("POST", PUSH, &headers, body));
    assert_eq!(records(&server), ["ERROR E1 loki x | at=2026-11-30T06:22:59.636651Z app=x logger=x k=v"]);
}

#[test]
fn requests_of_agents_are_stored() {
    let server = Setup::new().start();
    // Fluent Bit's out_loki.
    let fluent_bit = br#"{"streams":[{"stream":{"job":"fluent-bit"},"values":[["1795410148100000000","{\"log\":\"a\",\"stream\":\"stderr\"}"],["1795410148100000000","{\"log\":\"b\"}",{"pod":"p"}]]}]}"#;
    let headers = [("User-Agent", "Fluent-Bit"), ("Content-Type", "application/json")];
    stored(&push(&server, PUSH, &headers, fluent_bit));
    // Promtail and Alloy: snappy without Content-Encoding, and a tenant.
    let headers = [
        ("User-Agent", "promtail/3.5.0"),
        ("Content-Type", "application/x-protobuf"),
        ("X-Scope-OrgID", "fake"),
    ];
    let labels = "{filename=\"/var/log/syslog\", job=\"varlogs\", service_name=\"varlogs\"}";
    stored(&push(&server, PUSH, &headers, &snappy(&protobuf(labels, &["Nov 23 host a[1]: b"]))));
    let of_promtail = "filename=/var/log/syslog job=varlogs service_name=varlogs trace=t 1";
    assert_eq!(
        records(&server),
        [
            format!("INFO {{\"log\":\"a\",\"stream\":\"stderr\"}} | {AT} job=fluent-bit"),
            format!("INFO {{\"log\":\"b\"}} | {AT} job=fluent-bit pod=p"),
            format!("INFO Nov 23 host a[1]: b | {AT} {of_promtail}"),
        ]
    );
}

#[test]
fn refusals_are_plain_text_with_the_status_that_the_client_understands() {
    let server = Setup::new()
        .key("few", &json!({"rate": "1/hour"}))
        .key("elsewhere", &json!({"allowed_path": ["/moca-file-log/save-log"]}))
        .http("request_max_size = 2000")
        .with_admin_socket()
        .start();
    let body = of_stream(&json!({}), &json!([["0", "x"]]));
    let send = |key: &str| {
        let key = bearer(key);
        let headers = [("Content-Type", "application/json"), ("Authorization", key.as_str())];
        server.request("POST", PUSH, &headers, &body)
    };
    refused(&send("unknown"), 401);
    refused(&server.request("POST", PUSH, &[], &body), 401);
    refused(&send("elsewhere"), 403);
    stored(&send("few"));
    let limited = send("few");
    refused(&limited, 429);
    assert!(limited.retry_after() > 0);
    refused(&push(&server, PUSH, &[], &[b'x'; 2001]), 413);
    refused(&push(&server, PUSH, &[], &snappy(&vec![b'a'; 30_000])), 413);
    let bomb = push(&server, PUSH, &[("Content-Encoding", "gzip")], &gzip(&vec![b' '; 1_000_000]));
    refused(&bomb, 413);
    for malformed in [&b"not snappy"[..], b"", b"\xff\xff\xff\xff\x0fabc", b"{\"streams\":[{]}"] {
        refused(&push(&server, PUSH, &[], malformed), 400);
    }
    let number = of_stream(&json!({}), &json!([[1, "x"]]));
    let text = refused(&push(&server, PUSH, &[("Content-Type", "application/json")], &number), 400);
    assert!(text.contains("timestamp"), "{text}");
    server.signal(Signal::SIGUSR1);
    server.wait_for_status(503);
    let maintained = send(KEY);
    refused(&maintained, 503);
    assert!(maintained.retry_after() > 0);
    server.signal(Signal::SIGUSR2);
    server.wait_for_status(200);
    stored(&send(KEY));
    assert_eq!(records(&server), ["INFO x", "INFO x"]);
}

#[test]
fn ready_needs_no_key() {
    let server = Setup::new().start();
    let ready = server.get("/ready");
    assert_eq!((ready.status, ready.text().as_str()), (200, "ready"));
    assert_eq!(server.request("HEAD", "/ready", &[], b"").status, 200);
}

#[test]
fn dry_run_shows_the_lines() {
    let server = Setup::new().start();
    let body = of_stream(&json!({"app": "x"}), &json!([[NANOS, "one"]]));
    let shown = push(&server, &format!("{PUSH}?dry_run=1"), &[], &body).json();
    assert_eq!(shown["records"], 1);
    assert!(shown["lines"][0].as_str().unwrap().contains("|loki|"), "{shown}");
    assert!(server.messages().is_empty());
}
