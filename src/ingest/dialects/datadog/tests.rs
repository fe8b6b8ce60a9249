//! Tests of the logs of Datadog.

use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::ingest::testing::records_of;

fn read_at(path: &str, query: &str, body: &[u8]) -> Result<Vec<String>, String> {
    records_of(&Datadog, path, query, body)
}

fn read(body: &str) -> Result<Vec<String>, String> {
    read_at("/api/v2/logs", "", body.as_bytes())
}

#[test]
fn logs_become_records() {
    for (body, expected) in [
        (
            r#"[{"ddsource": "x", "hostname": "h", "service": "s", "message": "E8 dd"}]"#,
            &["INFO E8 dd ddsource=x hostname=h service=s"][..],
        ),
        (
            r#"{"message":"a","status":"error","timestamp":1796019784500,"ddtags":"env:a,b"}"#,
            &["ERROR a at=2026-11-30T06:23:04.500000Z ddtags=env:a,b"],
        ),
        (
            r#"[{"message":"a","status":"emergency"},{"message":"b","status":3},{"message":"c","status":"ok"}]"#,
            &["CRITICAL a level=emergency", "ERROR b", "INFO c status=ok"],
        ),
        (
            r#"{"message":{"msg":"inner","level":"warn","service":"own"},"service":"s","status":"error"}"#,
            &["WARNING inner service=own datadog.service=s datadog.level=error"],
        ),
        (r#"{"message":{"a":1},"status":"error"}"#, &[r#"ERROR {"a":1} a=1"#]),
        (r#"[{"message":"a"},"text"]"#, &["INFO a", "INFO text"]),
        ("{}", &[]),
        ("[]", &[]),
        ("[{}]", &[]),
        ("", &[]),
        ("line\nline 2\n", &["INFO line", "INFO line 2"]),
        (r#"{"message":"a"}{"message":"b"}"#, &["INFO a", "INFO b"]),
    ] {
        assert_eq!(read(body).unwrap(), expected, "{body}");
    }
    assert!(read("[{\"message\":\"a\"},{").unwrap_err().starts_with("400 Bad Request The log 1 is"));
}

#[test]
fn key_is_the_last_segment_of_the_path() {
    let headers = HeaderMap::new();
    let key = |route: usize, path: &'static str| {
        Datadog.key_in_path(&RequestHead { route: &ROUTES[route], path, query: None, headers: &headers })
    };
    assert_eq!(key(2, "/v1/input/k"), Some("k"));
    assert_eq!(key(2, "/v1/input/k/"), Some("k"));
    assert_eq!(key(1, "/v1/input"), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body: Vec<u8>, near in "(\\{\"message\":|\\[|\\]|\\{|\\}|\"a\"|\"status\":|,|null|\n){0,12}") {
        for body in [&body[..], near.as_bytes()] {
            drop(read_at("/v1/input", "", body));
        }
    }

    #[test]
    fn any_messages_come_back(texts in prop::collection::vec("\\PC{1,20}x", 1..6)) {
        let logs: Vec<_> = texts.iter().map(|text| serde_json::json!({ "message": text })).collect();
        let expected: Vec<String> = texts.iter().map(|text| format!("INFO {text}")).collect();
        prop_assert_eq!(read(&serde_json::Value::from(logs).to_string()).unwrap(), expected);
    }
}
