//! Tests of OTLP: log records of OpenTelemetry over HTTP and over gRPC.

mod grpc;

use std::io::Write;

use serde_json::{Value, json};

use crate::harness::{KEY, Response, Server, Setup};

const PATHS: [&str; 2] = ["/v1/logs", "/otlp/v1/logs"];
const PROTOBUF: (&str, &str) = ("Content-Type", "application/x-protobuf");
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Returns a field of protobuf that holds bytes.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut len = value.len();
    while len >= 0x80 {
        bytes.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(value);
    bytes
}

/// Returns a request with one record for each of these bodies. Each has the severity ERROR.
fn request(bodies: &[&str]) -> Vec<u8> {
    let text = |text: &str| field(1, text.as_bytes());
    let attribute = |name: &str, value: &str| [text(name), field(2, &text(value))].concat();
    let record = |body: &&str| {
        let mut record = vec![0x09];
        record.extend_from_slice(&1_795_410_148_100_000_000_u64.to_le_bytes());
        record.extend_from_slice(&[0x10, 17]);
        record.extend_from_slice(&field(5, &text(body)));
        record.extend_from_slice(&field(6, &attribute("user", "u1")));
        record.extend_from_slice(&field(9, &[0xab; 16]));
        field(2, &record)
    };
    let records: Vec<u8> = bodies.iter().flat_map(record).collect();
    let scope_logs = field(2, &[field(1, &text("lib")), records].concat());
    let resource = field(1, &field(1, &attribute("service.name", "shop")));
    field(1, &[resource, scope_logs].concat())
}

fn json_request(bodies: &[&str]) -> Value {
    let record = |body: &&str| {
        json!({
            "timeUnixNano": "1795410148100000000", "severityNumber": 17, "body": {"stringValue": body},
            "attributes": [{"key": "user", "value": {"stringValue": "u1"}}],
            "traceId": "ABABABABABABABABABABABABABABABAB",
        })
    };
    let records: Vec<Value> = bodies.iter().map(record).collect();
    json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "scopeLogs": [{"scope": {"name": "lib"}, "logRecords": records}],
    }]})
}

fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let headers: Vec<_> = headers.iter().copied().chain([("API-KEY", KEY)]).collect();
    server.request("POST", path, &headers, body)
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Checks the lines of records that [`request`] makes.
fn check_lines(server: &Server, messages: &[&str]) {
    let lines = server.parsed();
    assert_eq!(lines.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(), messages);
    for line in &lines {
        assert_eq!((line.level.as_str(), line.route.as_str()), ("ERROR", "otlp"));
        assert_eq!(
            line.shown_fields(),
            "at=2026-11-23T05:02:28.100000Z service.name=shop otel.scope.name=lib user=u1 \
             trace_id=abababababababababababababababab"
        );
    }
}

/// Returns the code and the text of an error in protobuf.
fn status_of(body: &[u8]) -> (u8, String) {
    let (code, rest) = match body {
        [0x08, code, rest @ ..] => (*code, rest),
        rest => (0, rest),
    };
    let [0x12, len, text @ ..] = rest else { panic!("no message: {body:?}") };
    (code, String::from_utf8(text[..usize::from(*len)].to_vec()).unwrap())
}

#[test]
fn protobuf_and_json_are_stored_and_answered_in_their_type() {
    let server = Setup::new().start();
    let mut messages = Vec::new();
    for path in PATHS {
        let answer = post(&server, path, &[PROTOBUF], &request(&["one", "two"]));
        assert_eq!((answer.status, &*answer.body), (200, &b""[..]), "{answer:?}");
        assert_eq!(answer.expect_header("content-type"), "application/x-protobuf");
        let body = gzip(&request(&["packed"]));
        let headers = [("Content-Type", "application/x-protobuf; q=1"), ("Content-Encoding", "gzip")];
        assert_eq!(post(&server, path, &headers, &body).status, 200);
        let body = json_request(&["three", "four"]).to_string();
        let answer =
            post(&server, path, &[("Content-Type", "application/json; charset=utf-8")], body.as_bytes());
        assert_eq!((answer.status, answer.text().as_str()), (200, "{}"), "{answer:?}");
        assert_eq!(answer.expect_header("content-type"), "application/json");
        messages.extend(["one", "two", "packed", "three", "four"]);
    }
    check_lines(&server, &messages);
}

#[test]
fn empty_requests_succeed_and_store_nothing() {
    let server = Setup::new().start();
    for (headers, body) in [(PROTOBUF, ""), (JSON, "{}"), (JSON, ""), (JSON, "{\"resourceLogs\":[]}")] {
        let answer = post(&server, "/v1/logs", &[headers], body.as_bytes());
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        assert_eq!(answer.expect_header("content-type"), headers.1);
    }
    assert!(server.log_lines().is_empty());
}

#[test]
fn errors_are_statuses_in_the_type_of_the_request() {
    let server = Setup::new()
        .key("limited", &json!({"rate": "1/hour"}))
        .key("off", &json!({"status": false}))
        .http("request_max_size = 4000")
        .start();
    let good = request(&["good"]);
    let large = request(&["x".repeat(5000).as_str()]);
    let bomb = gzip(&request(&["x".repeat(1_000_000).as_str()]));
    assert_eq!(server.request("POST", "/v1/logs", &[PROTOBUF, ("API-KEY", "limited")], &good).status, 200);
    type Case<'a> = (u16, u8, &'a str, &'a [u8], &'a [(&'a str, &'a str)]);
    let cases: [Case<'_>; 9] = [
        (401, 16, "", &good, &[]),
        (401, 16, "unknown", &good, &[]),
        (403, 7, "off", &good, &[]),
        (429, 8, "limited", &good, &[]),
        (413, 8, KEY, &large, &[]),
        (413, 8, KEY, &bomb, &[("Content-Encoding", "gzip")]),
        (400, 3, KEY, &good[..good.len() - 1], &[]),
        (400, 3, KEY, b"gzip", &[("Content-Encoding", "gzip")]),
        (415, 3, KEY, &good, &[("Content-Encoding", "compress")]),
    ];
    for (status, code, key, body, more) in cases {
        for media_type in [PROTOBUF, JSON] {
            let mut headers = vec![media_type];
            headers.extend((!key.is_empty()).then_some(("API-KEY", key)));
            headers.extend(more);
            let answer = server.request("POST", "/v1/logs", &headers, body);
            assert_eq!(answer.status, status, "{answer:?}");
            assert_eq!(answer.expect_header("content-type"), media_type.1);
            let (sent, message) = if media_type == JSON {
                let status = answer.json();
                let code = u8::try_from(status["code"].as_u64().unwrap()).unwrap();
                (code, status["message"].as_str().unwrap().to_owned())
            } else {
                status_of(&answer.body)
            };
            assert_eq!(sent, code, "{answer:?}");
            assert!(!message.is_empty());
            assert_eq!(answer.header("retry-after").is_some(), status == 429, "{answer:?}");
        }
    }
    assert_eq!(server.messages(), ["good"]);
}

#[test]
fn maintenance_is_answered_503_in_the_type_of_the_request() {
    let server = Setup::new().system("maintenance_mode", json!(true)).start();
    let answer = post(&server, "/v1/logs", &[PROTOBUF], &request(&["no"]));
    assert_eq!(answer.status, 503);
    assert_eq!(answer.expect_header("content-type"), "application/x-protobuf");
    assert_eq!(status_of(&answer.body).0, 14);
    assert!(answer.header("retry-after").is_some());
    let answer = post(&server, "/v1/logs", &[JSON], b"{}");
    assert_eq!((answer.status, answer.json()["code"].as_u64()), (503, Some(14)));
}

#[test]
fn some_malformed_records_are_a_partial_success() {
    let server = Setup::new().start();
    let mut body = json_request(&["good"]);
    body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array_mut().unwrap().push(json!(5));
    let answer = post(&server, "/v1/logs", &[JSON], body.to_string().as_bytes());
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["partialSuccess"]["rejectedLogRecords"], "1");
    assert_eq!(server.messages(), ["good"]);
}

#[test]
fn records_below_the_level_of_the_log_are_no_partial_success() {
    let server = Setup::new().log("level", json!(4)).start();
    let answer = post(&server, "/v1/logs", &[JSON], json_request(&["low"]).to_string().as_bytes());
    assert_eq!((answer.status, answer.text().as_str()), (200, "{}"));
    assert!(server.log_lines().is_empty());
}

#[test]
fn dry_run_shows_the_lines_and_stores_nothing() {
    let server = Setup::new().start();
    let answer = post(&server, "/v1/logs?dry_run=1", &[PROTOBUF], &request(&["shown"]));
    assert_eq!(answer.json()["records"], 1);
    let line = answer.json()["lines"][0].as_str().unwrap().to_owned();
    assert!(line.contains(r"shown \| at="), "{line}");
    assert!(server.log_lines().is_empty());
}

/// The body is that of the OpenTelemetry SDK for Python 1.45.
#[test]
fn recorded_request_of_a_real_client_is_stored() {
    let server = Setup::new().start();
    let body = include_bytes!("otlp/python.bin");
    assert_eq!(post(&server, "/v1/logs", &[PROTOBUF], body).status, 200);
    let [line] = &server.parsed()[..] else { panic!("one line: {:?}", server.log_lines()) };
    assert_eq!((line.level.as_str(), line.message.as_str()), ("ERROR", "E4 otlp x"));
    assert_eq!(line.field("service.name"), Some("unknown_service:python"));
    assert_eq!(line.field("code.line.number"), Some("23"));
    assert_eq!(line.field("level"), None);
    assert!(line.field("at").is_some());
}
