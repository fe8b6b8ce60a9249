//! Tests of the bodies of `save-log`: shapes, content types, charsets and codings.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{KEY, Response, Server, Setup, cannot_run, route};

const FORM: &str = "application/x-www-form-urlencoded";

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn utf16(text: &str, to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(to_bytes).collect()
}

/// Sends a body to `save-log`. An empty content type is none.
fn send(server: &Server, content_type: &str, body: &[u8]) -> Response {
    send_to(server, "save-log", content_type, body)
}

fn send_to(server: &Server, name: &str, content_type: &str, body: &[u8]) -> Response {
    let mut headers = vec![("API-KEY", KEY)];
    if !content_type.is_empty() {
        headers.push(("Content-Type", content_type));
    }
    server.request("POST", &route(name), &headers, body)
}

/// Returns what stands in each line behind its head.
fn stored(server: &Server) -> Vec<String> {
    let rest = |line: String| line.split_once('>').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    server.log_lines().into_iter().map(rest).collect()
}

/// Returns the newest of [`stored`].
fn newest(server: &Server) -> String {
    stored(server).pop().unwrap_or_default()
}

fn levels(server: &Server) -> Vec<String> {
    let level = |line: String| line.split(['[', ']']).nth(1).unwrap_or_default().to_owned();
    server.log_lines().into_iter().map(level).collect()
}

#[test]
fn json_is_read_under_every_content_type() {
    let server = Setup::new().start();
    for content_type in [
        FORM,
        "text/plain",
        "text/plain; charset=utf-8",
        "application/octet-stream",
        "",
        "application/xml",
        "image/png",
        "application/json",
        "text/json",
        "application/problem+json",
        "application/vnd.api+json; charset=utf-8",
        "application/x-ndjson",
        "application/jsonlines",
        "application/stream+json",
        "application/json-seq",
        "application/csp-report",
        "multipart/form-data; boundary=B",
    ] {
        let body = json!({"message": content_type, "level": "error", "user": "bob"}).to_string();
        send(&server, content_type, body.as_bytes()).success();
        assert_eq!(newest(&server), format!("{content_type} \\| user=bob"), "{content_type}");
        // The key may stand in the body too.
        let body = json!({"api_key": KEY, "message": "with key"}).to_string();
        let headers: &[(&str, &str)] =
            if content_type.is_empty() { &[] } else { &[("Content-Type", content_type)] };
        server.request("POST", &route("save-log"), headers, format!("\r\n\t {body}").as_bytes()).success();
        let body = json!({"api_key": "nobody", "message": "x"}).to_string();
        server.request("POST", &route("save-log"), headers, body.as_bytes()).unauthorized("Unknown API-KEY.");
    }
    assert!(levels(&server).iter().step_by(2).all(|level| level == "ERROR"));
}

#[test]
fn text_is_the_message() {
    let server = Setup::new().start();
    let mut expected = Vec::new();
    for content_type in ["text/plain", "text/plain; charset=UTF-8", "application/octet-stream", "", FORM] {
        for (body, message) in [
            ("one line", "one line"),
            ("one line end\n", "one line end"),
            ("with CRLF\r\n", "with CRLF"),
            ("two ends\n\n", "two ends\\n"),
            ("a\nb\n", "a\\nb"),
            ("{not json}", "{not json}"),
            ("[INFO] text", "[INFO] text"),
            ("<13>F1 hello default body", "<13>F1 hello default body"),
            ("user=bob&text=hello", "user=bob&text=hello"),
            ("100% of a+b", "100% of a+b"),
            ("\n", ""),
        ] {
            send(&server, content_type, body.as_bytes()).success();
            expected.push(message);
        }
    }
    assert_eq!(stored(&server), expected);
    // A level may stand elsewhere.
    let target = format!("{}?level=error", route("save-log"));
    server.request("POST", &target, &[("API-KEY", KEY), ("Content-Type", "text/plain")], b"x").success();
    let headers = [("API-KEY", KEY), ("Content-Type", "text/plain"), ("LEVEL", "critical")];
    server.request("POST", &route("save-log"), &headers, b"x").success();
    let levels = levels(&server);
    assert_eq!(levels[levels.len() - 2..], ["ERROR", "CRITICAL"]);
}

#[test]
fn form_with_a_parameter_is_a_form() {
    let server = Setup::new().start();
    send(&server, FORM, b"message=hello&user=bob").success();
    send(&server, FORM, b"msg=&user=bob").success();
    send(&server, FORM, b"level=error&user=bob").success();
    assert_eq!(stored(&server), ["hello \\| user=bob", " \\| user=bob", " \\| user=bob"]);
    send(&server, FORM, b"level=error").problem(422);
    send(&server, FORM, format!("api_key={KEY}").as_bytes()).problem(422);
    send(&server, FORM, b"message=").success();
    assert_eq!(newest(&server), "");
}

#[test]
fn unreadable_types_are_415_and_name_those_that_can_be_read() {
    let server = Setup::new().start();
    for content_type in ["application/xml", "image/png", "text/html", "application/pdf", "multipart/mixed"] {
        for name in ["save-log", "save-logs"] {
            for body in [&b"<message>x</message>"[..], b"{broken", b"\x89PNG\r\n", b"[1"] {
                let detail = send_to(&server, name, content_type, body).problem(415);
                for readable in ["application/json", "application/x-ndjson", "text/plain", FORM] {
                    assert!(detail.contains(readable), "{detail}");
                }
                assert!(!detail.contains("missing"), "{detail}");
            }
        }
    }
    assert!(stored(&server).is_empty());
    // Without a key, nothing else is said.
    let headers = [("Content-Type", "image/png")];
    server.request("POST", &route("save-log"), &headers, b"\x89PNG").unauthorized("Missing API-KEY.");
}

#[test]
fn byte_order_marks_and_utf16_are_read() {
    let server = Setup::new().start();
    let mut count = 0;
    let part = "--B\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nüß日😀\r\n--B--\r\n";
    for (content_type, text) in [
        ("application/json", r#"{"message":"üß日😀"}"#),
        ("", r#"{"message":"üß日😀"}"#),
        (FORM, "message=üß日😀"),
        (FORM, "message=%C3%BC%C3%9F日😀"),
        ("text/plain", "üß日😀"),
        ("text/plain; charset=utf-8", "üß日😀"),
        ("application/octet-stream", "üß日😀\n"),
        ("multipart/form-data; boundary=B", part),
    ] {
        let mut bodies = vec![text.as_bytes().to_vec()];
        if !content_type.starts_with("multipart") {
            bodies.push([b"\xef\xbb\xbf", text.as_bytes()].concat());
            bodies.push(utf16(text, u16::to_le_bytes));
            bodies.push(utf16(text, u16::to_be_bytes));
        }
        for body in bodies {
            send(&server, content_type, &body).success();
            count += 1;
            assert_eq!(newest(&server), "üß日😀", "{content_type} {body:x?}");
        }
    }
    assert_eq!(stored(&server).len(), count);
}

#[test]
fn charset_is_honoured_everywhere() {
    let server = Setup::new().start();
    let latin1 = b"caf\xe9";
    let part = |headers: &str, value: &[u8]| {
        let head = format!("--B\r\nContent-Disposition: form-data; name=\"message\"{headers}\r\n\r\n");
        [head.as_bytes(), value, b"\r\n--B--\r\n"].concat()
    };
    let with_field = [
        b"--B\r\nContent-Disposition: form-data; name=\"_charset_\"\r\n\r\niso-8859-1\r\n".to_vec(),
        part("", latin1),
    ]
    .concat();
    let in_json = [&b"{\"message\":\""[..], latin1, b"\"}"].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("text/plain; charset=iso-8859-1", latin1.to_vec()),
        ("text/plain; charset=\"ISO-8859-1\"", latin1.to_vec()),
        ("text/plain;charset=windows-1252", latin1.to_vec()),
        ("application/json; charset=latin1", in_json),
        ("application/x-www-form-urlencoded; charset=ISO-8859-1", b"message=caf%E9".to_vec()),
        ("application/x-www-form-urlencoded; charset=ISO-8859-1", b"message=caf\xe9".to_vec()),
        (FORM, b"_charset_=latin1&message=caf%E9".to_vec()),
        ("multipart/form-data; boundary=B", part("\r\nContent-Type: text/plain; charset=latin1", latin1)),
        ("multipart/form-data; boundary=B", with_field),
        ("multipart/form-data; boundary=B; charset=latin1", part("", latin1)),
    ];
    for (content_type, body) in cases {
        send(&server, content_type, &body).success();
        assert_eq!(newest(&server), "café", "{content_type}");
    }
    for (charset, bytes, text) in [
        ("Shift_JIS", &b"\x93\xfa\x96\x7b"[..], "日本"),
        ("EUC-JP", b"\xc6\xfc\xcb\xdc", "日本"),
        ("ISO-2022-JP", b"\x1b$BF|K\\\x1b(B", "日本"),
        ("gb18030", b"\xc4\xe3", "你"),
        ("koi8-r", b"\xc1", "а"),
        ("utf-16le", b"a\0\xe9\0", "aé"),
        ("utf-16be", b"\0a\0\xe9", "aé"),
    ] {
        send(&server, &format!("text/plain; charset={charset}"), bytes).success();
        assert_eq!(newest(&server), text, "{charset}");
    }
    for content_type in ["text/plain", "application/json", FORM, "multipart/form-data; boundary=B"] {
        let content_type = format!("{content_type}; charset=klingon");
        send(&server, &content_type, b"{\"message\":\"x\"}").refused(415, "The charset is unknown.");
    }
    let unknown = part("\r\nContent-Type: text/plain; charset=klingon", b"x");
    send(&server, "multipart/form-data; boundary=B", &unknown).refused(415, "The charset is unknown.");
}

#[test]
fn invalid_utf8_costs_no_record_in_any_body() {
    let server = Setup::new().start();
    let part = b"--B\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\na\xffb\r\n--B--\r\n";
    for (content_type, body) in [
        ("application/json", &b"{\"message\":\"a\xffb\"}"[..]),
        ("", b"{\"message\":\"a\xffb\"}"),
        ("text/plain", b"a\xffb"),
        ("application/octet-stream", b"a\xffb\n"),
        ("", b"a\xffb"),
        (FORM, b"a\xffb"),
        (FORM, b"message=a\xffb"),
        (FORM, b"message=a%ffb"),
        ("multipart/form-data; boundary=B", part),
        ("text/plain; charset=utf-8", b"a\xffb"),
        ("application/x-ndjson", b"{\"message\":\"a\xffb\"}\n"),
    ] {
        send(&server, content_type, body).success();
        assert_eq!(newest(&server), "a\u{fffd}b \\| utf8=replaced", "{content_type}");
    }
    send(&server, "application/json", b"{\"message\":\"m\",\"user\":\"\xff\",\"\xfe\":1}").success();
    assert_eq!(newest(&server), "m \\| user=\u{fffd} \u{fffd}=1 utf8=replaced");
    server.get(&format!("{}?api_key={KEY}&message=a%ffb", route("save-log"))).success();
    assert_eq!(newest(&server), "a\u{fffd}b \\| utf8=replaced");
    // A sent U+FFFD is no replacement.
    send(&server, "text/plain", "a\u{fffd}b".as_bytes()).success();
    assert_eq!(newest(&server), "a\u{fffd}b");
    let batch =
        b"{\"logs\":[{\"message\":\"good\"},{\"message\":\"a\xffb\"},{\"message\":\"\xef\xbf\xbd\"}]}";
    send_to(&server, "save-logs", "application/json", batch).success();
    let lines = stored(&server);
    assert_eq!(lines[lines.len() - 3..], ["good", "a\u{fffd}b \\| utf8=replaced", "\u{fffd}"]);
}

#[test]
fn nan_and_infinity_are_values() {
    let server = Setup::new().start();
    let body = br#"{"message":"m","x":NaN,"y":-Infinity,"z":{"i":Infinity},"s":"NaN"}"#;
    for content_type in ["application/json", "text/plain"] {
        send(&server, content_type, body).success();
        assert_eq!(newest(&server), "m \\| x=NaN y=-Infinity z.i=Infinity s=NaN");
    }
    send(&server, "application/json", br#"{"message":NaN}"#).success();
    assert_eq!(newest(&server), "NaN");
    send_to(&server, "save-logs", "application/json", br#"{"logs":[{"message":"m","x":NaN}]}"#).success();
    assert_eq!(newest(&server), "m \\| x=NaN");
    for body in [&br#"{"message":Nan}"#[..], br#"{"message":"m","x":+Infinity}"#, br#"{"x":NaN"#] {
        send(&server, "application/json", body).refused(400, "The body must be a JSON object.");
    }
}

#[test]
fn many_and_large_fields_never_refuse_a_record() {
    let server = Setup::new().start();
    let fields: String = (0..300).map(|n| format!(",\"f{n}\":{n}")).collect();
    send(&server, "application/json", format!("{{\"message\":\"m\"{fields}}}").as_bytes()).success();
    let line = newest(&server);
    assert!(line.starts_with("m \\| f0=0 f1=1 ") && line.ends_with(" f127=127 fields_dropped=172"), "{line}");
    let form: String = (0..300).map(|n| format!("&f{n}={n}")).collect();
    send(&server, FORM, format!("message=m{form}").as_bytes()).success();
    assert_eq!(newest(&server), line);
    let value = "x".repeat(1024);
    let fields: String = (0..1024).map(|n| format!(",\"f{n}\":\"{value}\"")).collect();
    send(&server, "application/json", format!("{{\"message\":\"m\"{fields}}}").as_bytes()).success();
    let line = newest(&server);
    assert!(line.len() < 70_000 && line.contains(" fields_dropped="), "{} bytes", line.len());
}

#[test]
fn array_or_several_objects_on_save_log_name_save_logs() {
    let server = Setup::new().start();
    for content_type in ["application/json", "application/x-ndjson", "text/plain", "", FORM, "image/png"] {
        for body in [
            "[]",
            r#"[{"message":"a"}]"#,
            r#" [1, "two"] "#,
            "{\"message\":\"a\"}\n{\"message\":\"b\"}\n",
            "{\"message\":\"a\"}{\"message\":\"b\"}",
        ] {
            let detail = send(&server, content_type, body.as_bytes()).problem(422);
            assert!(detail.contains("save-logs"), "{content_type} {body}: {detail}");
        }
    }
    assert!(stored(&server).is_empty());
}

#[test]
fn charsets_and_codings_work_together() {
    let server = Setup::new().start();
    let json = r#"{"message":"ü"}"#;
    let bodies = [
        ("application/json", utf16(json, u16::to_le_bytes)),
        ("text/plain", [&b"\xef\xbb\xbf"[..], "ü\n".as_bytes()].concat()),
        ("text/plain; charset=latin1", b"\xfc".to_vec()),
        ("application/x-www-form-urlencoded; charset=latin1", b"message=%FC".to_vec()),
    ];
    for (content_type, body) in bodies {
        let zstd = zstd::stream::encode_all(&body[..], 1).unwrap();
        for (coding, coded) in
            [("gzip", gzip(&body)), ("deflate", zlib(&body)), ("zstd", zstd), ("gzip,deflate", zlib(&body))]
        {
            let headers = [("API-KEY", KEY), ("Content-Type", content_type), ("Content-Encoding", coding)];
            server.request("POST", &route("save-log"), &headers, &coded).success();
            assert_eq!(newest(&server), "ü", "{content_type} {coding}");
        }
    }
}

#[test]
fn put_stores_as_post_does() {
    let server = Setup::new().start();
    let headers = [("API-KEY", KEY)];
    server.request("PUT", &route("save-log"), &headers, b"a file\n").success();
    server.request("PUT", &format!("{}/", route("sample1/save-log")), &headers, b"again").success();
    server.request("PUT", &route("save-logs"), &headers, b"one\ntwo\n").success();
    assert_eq!(stored(&server), ["a file", "again", "one", "two"]);
    let details = server.request("PUT", &route("details"), &headers, b"");
    details.problem(405);
    assert!(!details.expect_header("allow").contains("PUT"));
    assert!(
        server.request("DELETE", &route("save-log"), &headers, b"").expect_header("allow").contains("PUT")
    );
}

#[test]
fn curl_needs_no_content_type() {
    let server = Setup::new().start();
    let file = server.root_dir().join("message.txt");
    std::fs::write(&file, "from a file\n").unwrap();
    let latin1 = server.root_dir().join("latin1.txt");
    std::fs::write(&latin1, b"caf\xe9").unwrap();
    let at = |path: &std::path::Path| format!("@{}", path.display());
    let target = format!("http://{}{}", server.address(), route("save-log"));
    let api_key = format!("API-KEY: {KEY}");
    for (args, expected) in [
        (vec!["-d".to_owned(), r#"{"message":"json"}"#.to_owned()], "json"),
        (vec!["-d".to_owned(), "plain text".to_owned()], "plain text"),
        (vec!["--data-binary".to_owned(), at(&file)], "from a file"),
        (vec!["-T".to_owned(), file.display().to_string()], "from a file"),
        (vec!["-F".to_owned(), format!("message=<{}", file.display())], "from a file\\n"),
        (
            vec![
                "--data-binary".to_owned(),
                at(&latin1),
                "-H".to_owned(),
                "Content-Type: text/plain; charset=latin1".to_owned(),
            ],
            "café",
        ),
        (
            vec!["-d".to_owned(), "x".repeat(2000), "-H".to_owned(), "Expect: 100-continue".to_owned()],
            &*"x".repeat(2000),
        ),
    ] {
        let sent = Command::new("curl")
            .args(["-sS", "-H", &api_key])
            .args(&args)
            .arg(&target)
            .stdin(Stdio::null())
            .output();
        let Ok(sent) = sent else { return cannot_run("no curl") };
        assert_eq!(String::from_utf8_lossy(&sent.stdout), "success.", "{args:?} {sent:?}");
        assert_eq!(newest(&server), expected, "{args:?}");
    }
}
