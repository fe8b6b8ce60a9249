//! Tests of the bodies of `save-logs` that are no batch in `logs`: arrays, JSON objects one a line or
//! behind each other, and lines of text.

use std::io::Write;

use serde_json::json;

use crate::harness::{KEY, Response, Server, Setup, route};

const FORM: &str = "application/x-www-form-urlencoded";

fn send(server: &Server, content_type: &str, body: &[u8]) -> Response {
    let mut headers = vec![("API-KEY", KEY)];
    if !content_type.is_empty() {
        headers.push(("Content-Type", content_type));
    }
    server.request("POST", &route("save-logs"), &headers, body)
}

/// Sends a body, and returns what stands behind the heads of the lines that it added.
fn added(server: &Server, content_type: &str, body: &[u8]) -> Vec<String> {
    let before = server.log_lines().len();
    send(server, content_type, body).success();
    let rest = |line: String| line.split_once('>').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    server.log_lines().into_iter().skip(before).map(rest).collect()
}

#[test]
fn array_is_a_batch_of_its_elements() {
    let server = Setup::new().start();
    let body =
        br#"[{"level":"info","message":"a","n":1},"text",12,null,[1,2],{},{"level":"error"},{"user":"bob"}]"#;
    let expected =
        ["a \\| n=1", "text", "12", "null", "[1,2]", "{}", r#"{"level":"error"}"#, " \\| user=bob"];
    for content_type in ["application/json", "", "text/plain", FORM, "application/vnd.x+json"] {
        assert_eq!(added(&server, content_type, body), expected, "{content_type}");
    }
    assert!(added(&server, "application/json", b"[]").is_empty());
    send(&server, "application/json", br#"[{"message":"a"},{"#).problem(400);
    send(&server, "application/json", br#"[{"message":"a"}] x"#).problem(400);
}

#[test]
fn objects_stand_one_a_line_or_behind_each_other() {
    let server = Setup::new().start();
    let expected = ["a", "b \\| x=1", "c"];
    for content_type in [
        "application/x-ndjson",
        "application/jsonlines",
        "application/stream+json",
        "application/json-seq",
        "application/json",
        "text/plain",
        "",
        FORM,
    ] {
        for body in [
            "{\"msg\":\"a\"}\n{\"msg\":\"b\",\"x\":1}\n{\"msg\":\"c\"}\n",
            "{\"msg\":\"a\"}\r\n{\"msg\":\"b\",\"x\":1}\r\n{\"msg\":\"c\"}",
            "{\"msg\":\"a\"}{\"msg\":\"b\",\"x\":1}{\"msg\":\"c\"}",
            "\u{1e}{\"msg\":\"a\"}\n\u{1e}{\"msg\":\"b\",\"x\":1}\n\u{1e}{\"msg\":\"c\"}\n",
            "{\"msg\":\n\"a\"}\n\n{\"msg\":\"b\",\n\"x\":1}\n{\"msg\":\"c\"}\n",
        ] {
            assert_eq!(added(&server, content_type, body.as_bytes()), expected, "{content_type} {body:?}");
        }
    }
}

#[test]
fn text_is_one_record_a_line() {
    let server = Setup::new().start();
    let body = b"one\r\n  two\n\n{\"message\":\"three\",\"level\":\"error\"}\nfour {\"a\":1}\nlast";
    let expected = ["one", "  two", "three", "four {\"a\":1}", "last"];
    for content_type in ["text/plain", "", "application/octet-stream", FORM] {
        assert_eq!(added(&server, content_type, body), expected, "{content_type}");
    }
}

#[test]
fn broken_lines_are_stored_and_marked_where_json_was_declared() {
    let server = Setup::new().start();
    let body = b"{\"msg\":\"a\"}\nnot json\n{\"msg\":\n{\"msg\":\"b\",\"x\":NaN}\n\xff\n";
    for content_type in ["application/x-ndjson", "application/json"] {
        let expected = [
            "a",
            "not json \\| parse=failed",
            "{\"msg\": \\| parse=failed",
            "b \\| x=NaN",
            "\u{fffd} \\| utf8=replaced parse=failed",
        ];
        assert_eq!(added(&server, content_type, body), expected, "{content_type}");
    }
    let expected = ["a", "not json", "{\"msg\":", "b \\| x=NaN", "\u{fffd} \\| utf8=replaced"];
    assert_eq!(added(&server, "text/plain", body), expected);
    // A body that is announced as one JSON text must begin with one.
    for body in ["nonsense", "{\"msg\":\"a\"", "{\"logs\":[{\"msg\":\"a\"}]", "\"text\"", "12"] {
        send(&server, "application/json", body.as_bytes()).refused(400, "The body must be a JSON object.");
    }
}

#[test]
fn one_object_is_a_batch_of_one() {
    let server = Setup::new().start();
    for content_type in ["application/json", "application/x-ndjson", "text/plain", ""] {
        let body = json!({"api_key": KEY, "message": "one", "user": "bob"}).to_string();
        assert_eq!(added(&server, content_type, body.as_bytes()), ["one \\| user=bob"], "{content_type}");
        let long = json!({"message": "x".repeat(10_000)}).to_string();
        assert_eq!(added(&server, content_type, long.as_bytes()), ["x".repeat(10_000)]);
    }
    for body in ["{}", "{\"level\":\"error\"}"] {
        let detail = send(&server, "application/json", body.as_bytes()).problem(422);
        assert!(detail.starts_with("logs parameter format error."), "{detail}");
    }
}

#[test]
fn long_messages_are_cut_at_262144_characters() {
    let server = Setup::new().start();
    let whole = "é".repeat(262_144);
    let long = format!("{whole}ü");
    for (content_type, body, expected) in [
        ("text/plain", whole.clone(), whole.clone()),
        ("text/plain", long.clone(), format!("{whole} \\| cut=262145")),
        (
            "application/x-ndjson",
            json!({"msg": long, "a": 1}).to_string(),
            format!("{whole} \\| a=1 cut=262145"),
        ),
        ("application/json", json!([{"msg": long}]).to_string(), format!("{whole} \\| cut=262145")),
        ("application/json", json!([long]).to_string(), format!("{whole} \\| cut=262145")),
    ] {
        let lines = added(&server, content_type, body.as_bytes());
        assert!(lines == [expected], "{content_type}: {} bytes", body.len());
    }
}

#[test]
fn stack_trace_is_refused_in_a_record_and_stored_in_a_stream() {
    let trace = "\tat com.example.Class.method(Class.java:42)\n".repeat(20_000 / 44);
    let server = Setup::new().start();
    let single = json!({"api_key": KEY, "message": trace});
    let detail = server.post_json(&route("save-log"), &single).problem(422);
    assert!(detail.starts_with("message parameter format error."), "{detail}");
    server.save_batch(&json!([{"message": trace}])).problem(422);
    let headers = [("API-KEY", KEY), ("Content-Type", "text/plain")];
    server.request("POST", &route("save-log"), &headers, trace.as_bytes()).problem(422);
    let ndjson = json!({"message": trace}).to_string();
    assert!(added(&server, "application/x-ndjson", ndjson.as_bytes())[0].ends_with("java:42)\\n"));
}

#[test]
fn stack_trace_is_cut_where_the_log_says_so() {
    let trace = "\tat com.example.Class.method(Class.java:42)\n".repeat(20_000 / 44);
    let chars = trace.chars().count();
    let single = json!({"api_key": KEY, "message": trace});
    let headers = [("API-KEY", KEY), ("Content-Type", "text/plain")];
    let server = Setup::new().log("long_messages", json!("cut")).start();
    server.post_json(&route("save-log"), &single).success();
    server.save_batch(&json!([{"message": trace}])).success();
    server.request("POST", &route("save-log"), &headers, trace.as_bytes()).success();
    for line in server.log_lines() {
        // The last line end of a text is no part of it.
        assert!(
            line.ends_with(&format!(" \\| cut={chars}"))
                || line.ends_with(&format!(" \\| cut={}", chars - 1)),
            "{line}"
        );
    }
}

#[test]
fn batch_has_at_most_131072_records() {
    let server = Setup::new().start();
    for (content_type, one, begin, end) in [
        ("application/x-ndjson", "{\"msg\":\"m\"}\n", "", "{\"msg\":\"m\"}"),
        ("text/plain", "m\n", "", "m\n"),
        ("application/json", "{\"msg\":\"m\"},", "[", "{\"msg\":\"m\"}]"),
    ] {
        let body = |records: usize| format!("{begin}{}{end}", one.repeat(records - 1));
        let headers = [("API-KEY", KEY), ("Content-Type", content_type), ("Accept", "application/json")];
        let post = |body: &str| server.request("POST", &route("save-logs"), &headers, body.as_bytes());
        assert_eq!(post(&body(131_072)).json()["saved"], 131_072);
        post(&body(131_073)).refused(413, "The body holds more than 131072 records.");
    }
    assert_eq!(server.log_lines().len(), 3 * 131_072);
}

#[test]
fn batch_in_logs_keeps_its_limits() {
    let server = Setup::new().start();
    server.save_batch(&json!(vec![json!({"message": "m"}); 1025])).problem(422);
    server.save_batch(&json!([{"message": "good"}, 1])).problem(422);
    server.save_batch(&json!([{"message": "good"}, {}])).problem(422);
    server.save_batch(&json!([{"message": "x".repeat(8193)}])).problem(422);
    assert!(server.log_lines().is_empty());
    // A form or query with `logs` is such a batch too.
    let form = [("api_key", KEY), ("logs", "[{\"message\":\"in a form\"}]")];
    server.post_form(&route("save-logs"), &form).success();
    server.post_form(&route("save-logs"), &[("api_key", KEY), ("logs", "[1]")]).problem(422);
    assert_eq!(server.messages(), ["in a form"]);
}

#[test]
fn byte_order_marks_charsets_and_codings_work_for_batches() {
    let server = Setup::new().start();
    let utf16 = |text: &str| -> Vec<u8> {
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    let marked = |text: &str| [&b"\xef\xbb\xbf"[..], text.as_bytes()].concat();
    let ndjson = "{\"msg\":\"ü\"}\n{\"msg\":\"b\"}\n";
    let array = r#"[{"msg":"ü"},{"msg":"b"}]"#;
    let logs = r#"{"logs":[{"msg":"ü"},{"msg":"b"}]}"#;
    for (content_type, body) in [
        ("application/x-ndjson", marked(ndjson)),
        ("", utf16(ndjson)),
        ("application/json", marked(array)),
        ("application/json", utf16(array)),
        ("application/json", marked(logs)),
        ("application/json", utf16(logs)),
        ("text/plain", marked("ü\r\nb\r\n")),
        ("text/plain", utf16("ü\r\nb\r\n")),
        ("text/plain; charset=latin1", b"\xfc\nb\n".to_vec()),
        ("application/json; charset=latin1", b"[{\"msg\":\"\xfc\"},{\"msg\":\"b\"}]".to_vec()),
    ] {
        assert_eq!(added(&server, content_type, &body), ["ü", "b"], "{content_type} {body:x?}");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&body).unwrap();
        let mut headers = vec![("API-KEY", KEY), ("Content-Encoding", "gzip")];
        if !content_type.is_empty() {
            headers.push(("Content-Type", content_type));
        }
        let body = [encoder.finish().unwrap(), vec![0; 20]].concat();
        server.request("POST", &route("save-logs"), &headers, &body).success();
    }
    assert_eq!(server.messages().len(), 40);
}

#[test]
fn memory_of_a_batch_counts_under_the_limit_of_all_bodies() {
    let server = Setup::new().http("max_body_memory = 8000000").start();
    server.assert_alive();
    let before = server.memory_peak();
    // Many small fields take far more memory than their bytes in the body.
    let fields: String = (0..100).map(|n| format!("\"f{n}\":1,")).collect();
    let body = format!("{{{fields}\"m\":\"x\"}}\n").repeat(3000);
    for content_type in ["application/x-ndjson", "text/plain", "application/json"] {
        let response = send(&server, content_type, body.as_bytes());
        assert!([413, 503].contains(&response.status), "{response:?}");
    }
    let broken = b"\xffx".repeat(2_000_000);
    let response = send(&server, "text/plain", &broken);
    assert!([413, 503].contains(&response.status), "{response:?}");
    let grown = server.memory_peak() - before;
    assert!(grown < 24_000_000, "{grown} bytes");
    server.assert_alive();
    assert_eq!(
        added(&server, "application/x-ndjson", b"{\"msg\":\"small\"}\n{\"msg\":\"x\"}\n"),
        ["small", "x"]
    );
}

#[test]
fn batch_needs_a_key_in_the_head() {
    let server = Setup::new().start();
    for body in [
        "[{\"api_key\":\"test-key\",\"message\":\"m\"}]",
        "{\"api_key\":\"test-key\",\"message\":\"m\"}\n{}\n",
    ] {
        let headers = [("Content-Type", "application/json")];
        let response = server.request("POST", &route("save-logs"), &headers, body.as_bytes());
        response.unauthorized("Missing API-KEY.");
    }
    let target = format!("{}?api_key={KEY}", route("save-logs"));
    server.request("POST", &target, &[], b"[{\"api_key\":\"other\",\"message\":\"m\"}]").success();
    assert!(server.log_lines()[0].ends_with(">m"), "the key of an element is no field");
}
