//! Tests of records with fields, as every reading route answers them, beside lines without fields.

use serde_json::{Value, json};

use crate::harness::{Follow, KEY, ROOT, Response, Server, Setup, encode_pairs, route};

const ACCESS: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

/// Represents a record: its line, and the message and fields of its object.
struct Case {
    level: &'static str,
    /// The line from the message on, in a text file.
    text: &'static str,
    message: &'static str,
    fields: Option<Value>,
}

fn case(level: &'static str, text: &'static str, message: &'static str, fields: Option<Value>) -> Case {
    Case { level, text, message, fields }
}

fn cases() -> Vec<Case> {
    vec![
        case("INFO", "an old line", "an old line", None),
        case(
            "WARNING",
            r#"payment failed \| at=2026-11-23T05:02:28.100000Z user=bob order="8812 b""#,
            "payment failed",
            Some(json!({"at": "2026-11-23T05:02:28.100000Z", "user": "bob", "order": "8812 b"})),
        ),
        case(
            "ERROR",
            r#" \| path="C:\\new \"x\"" empty="" error="line 1\nline 2 \u{1b}""#,
            "",
            Some(json!({"path": "C:\\new \"x\"", "empty": "", "error": "line 1\nline 2 \u{1b}"})),
        ),
        case("INFO", r"imitates \\| user=eve fields", r"imitates \| user=eve fields", None),
        case("INFO", r"old \| user=", r"old \| user=", None),
        case("INFO", r"old \| user=a b", r"old \| user=a b", None),
        case("INFO", r#"old \| user="a"#, r#"old \| user="a"#, None),
        case("INFO", r#"old \| user="a""#, r#"old \| user="a""#, None),
        case("ERROR", r"two \| a=1 \| größe=日本", r"two \| a=1 \| größe=日本", None),
        case(
            "DEBUG",
            r"dotted \| http.request.method=GET größe=日本 _at=1",
            "dotted",
            Some(json!({"http.request.method": "GET", "größe": "日本", "_at": "1"})),
        ),
    ]
}

/// Returns the lines of a file with these records, a second apart.
fn lines(format: &str) -> Vec<String> {
    let of_case = |(n, case): (usize, Case)| {
        let (level, seq) = (case.level, n + 1);
        if format == "text" {
            let text = case.text;
            return format!(
                "[{level}](2026-11-23 05:02:{n:02}.000000+00:00)<192.0.2.7|web|save-log|7|{seq}>{text}"
            );
        }
        let fields = case.fields.map_or_else(String::new, |fields| format!(",\"fields\":{fields}"));
        let message = json!(case.message);
        format!(
            "{{\"time\":\"2026-11-23T05:02:{n:02}.000000+00:00\",\"level\":\"{level}\",\"message\":{message},\
            \"client\":\"192.0.2.7\",\"key\":\"web\",\"route\":\"save-log\",\"pid\":7,\"seq\":{seq}{fields}}}"
        )
    };
    cases().into_iter().enumerate().map(of_case).collect()
}

/// Starts a server whose file has these records.
fn start(format: &str) -> Server {
    let setup = Setup::new().log("format", json!(format));
    let path = setup.log_path();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, lines(format).join("\n") + "\n").unwrap();
    setup.start()
}

fn read(server: &Server, name: &str, parameters: &[(&str, &str)]) -> Response {
    let response = server.get_with(&format!("{}?{}", route(name), encode_pairs(parameters)), &ACCESS);
    assert_eq!(response.status, 200, "{parameters:?}: {response:?}");
    response
}

fn ndjson(response: &Response) -> Vec<Value> {
    response.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Checks the objects of the records with these numbers, in this order.
fn check(objects: &[Value], numbers: &[usize]) {
    let cases = cases();
    assert_eq!(objects.len(), numbers.len(), "{objects:#?}");
    for (object, number) in objects.iter().zip(numbers) {
        let case = &cases[*number];
        assert_eq!((&object["message"], &object["level"]), (&json!(case.message), &json!(case.level)));
        assert_eq!(object.get("fields"), case.fields.as_ref(), "{object}");
        assert_eq!(object["seq"], number + 1);
        let names: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names.len(), 9 + usize::from(case.fields.is_some()), "{names:?}");
    }
}

#[test]
fn objects_have_the_fields_and_lines_stay_as_they_are() {
    let all: Vec<usize> = (0..cases().len()).collect();
    let newest_first: Vec<usize> = all.iter().rev().copied().collect();
    for format in ["text", "json"] {
        let server = start(format);
        for name in ["get-logs", "download-logs"] {
            check(&ndjson(&read(&server, name, &[("output", "ndjson")])), &all);
            check(read(&server, name, &[("output", "json")]).json().as_array().unwrap(), &all);
            check(&ndjson(&read(&server, name, &[("output", "ndjson"), ("order", "desc")])), &newest_first);
        }
        check(
            read(&server, "get-latest-logs", &[("output", "json")]).json().as_array().unwrap(),
            &newest_first,
        );
        check(
            &ndjson(&read(&server, "get-latest-logs", &[("output", "ndjson"), ("limit", "2")])),
            &newest_first[..2],
        );
        let file = std::fs::read_to_string(server.log_path()).unwrap();
        assert_eq!(read(&server, "get-logs", &[]).text(), file);
        assert_eq!(read(&server, "download-logs", &[]).text(), file);
        assert_eq!(server.root_get("details").json()["foreign"], 0);
        if format == "text" {
            // The order of the fields is that of the line.
            let text = read(&server, "get-logs", &[("contains", "payment"), ("output", "ndjson")]).text();
            let fields = r#"{"at":"2026-11-23T05:02:28.100000Z","user":"bob","order":"8812 b"}"#;
            assert!(text.contains(&format!(",\"fields\":{fields},\"cursor\":")), "{text}");
        }
        // Pages of one record each.
        let (mut found, mut cursor) = (Vec::new(), String::new());
        while found.len() < all.len() {
            let parameters = [("limit", "1"), ("output", "ndjson"), ("cursor", &*cursor)];
            let page =
                read(&server, "get-logs", if cursor.is_empty() { &parameters[..2] } else { &parameters });
            found.extend(ndjson(&page));
            cursor = page.expect_header("moca-cursor").to_owned();
        }
        check(&found, &all);
    }
}

#[test]
fn selections_look_at_messages_and_at_values_of_fields() {
    let cases = cases();
    for format in ["text", "json"] {
        let server = start(format);
        let by_contains = |text: &str| -> Vec<usize> {
            let holds = |value: &str| value.contains(text);
            let found = cases.iter().enumerate().filter(|(_, case)| {
                let mut values = case.fields.iter().flat_map(|fields| fields.as_object().unwrap().values());
                holds(case.message) || values.any(|value| holds(value.as_str().unwrap()))
            });
            found.map(|(number, _)| number).collect()
        };
        for text in [
            "bob",
            "8812 b",
            "payment",
            "C:\\new",
            "\\",
            "\"x\"",
            "line 1\nline 2",
            "\u{1b}",
            "user=eve",
            "user=a",
            "日本",
            "GET",
            "2026-11-23T05:02:28",
            "absent",
            "|",
            " ",
            "user=bob",
            "user",
            "größe",
        ] {
            let expected = by_contains(text);
            let pattern = regex::escape(text);
            for (name, value) in [("contains", text), ("regex", &pattern)] {
                let found = read(&server, "get-logs", &[(name, value), ("output", "ndjson")]);
                check(&ndjson(&found), &expected);
                let descending: Vec<usize> = expected.iter().rev().copied().collect();
                let found =
                    read(&server, "get-logs", &[(name, value), ("output", "ndjson"), ("order", "desc")]);
                check(&ndjson(&found), &descending);
            }
            // Grep finds these lines too, unless an escape hides the text in the file.
            if !text.contains(['\n', '\u{1b}', '\\', '"']) {
                let file = std::fs::read_to_string(server.log_path()).unwrap();
                let lines: Vec<&str> = file.lines().collect();
                assert!(expected.iter().all(|number| lines[*number].contains(text)), "{text}");
            }
        }
        // The conditions may be met in different values.
        let found = read(
            &server,
            "get-logs",
            &[("contains", "payment"), ("contains", "bob"), ("regex", "^8812"), ("output", "ndjson")],
        );
        check(&ndjson(&found), &[1]);
        // A text does not reach from one value into another one.
        check(&ndjson(&read(&server, "get-logs", &[("contains", "bob8812"), ("output", "ndjson")])), &[]);
        check(&ndjson(&read(&server, "get-logs", &[("regex", "failed.*bob"), ("output", "ndjson")])), &[]);
        for (parameters, expected) in [
            (&[("level", "warning")][..], &[1, 2, 8][..]),
            (&[("level", "error"), ("contains", "日本")], &[8]),
            // The time of a record is that of its arrival, not `at`.
            (&[("since", "2026-11-23 05:02:02+00:00"), ("until", "2026-11-23 05:02:04+00:00")], &[2, 3]),
            (&[("until", "2026-11-23 05:02:01+00:00")], &[0]),
            (&[("client", "192.0.2.7"), ("key", "web"), ("contains", "bob")], &[1]),
        ] {
            let found = read(&server, "get-logs", &[parameters, &[("output", "ndjson")]].concat());
            check(&ndjson(&found), expected);
        }
    }
}

#[test]
fn followers_get_the_fields() {
    for format in ["text", "json"] {
        let server = start(format);
        let all: Vec<usize> = (0..cases().len()).collect();
        let follow = |query: &str, headers: &[(&str, &str)]| {
            let headers = [&ACCESS[..], headers].concat();
            Follow::on(server.connect(), &format!("{}?{query}", route("tail")), &headers).unwrap()
        };
        assert_eq!(follow("lines=100", &[]).data(all.len()), lines(format));
        let objects = |follow: &mut Follow, count: usize| -> Vec<Value> {
            follow.data(count).iter().map(|data| serde_json::from_str(data).unwrap()).collect()
        };
        for output in ["json", "ndjson"] {
            let mut following = follow(&format!("lines=100&output={output}"), &[]);
            check(&objects(&mut following, all.len()), &all);
        }
        let mut selected = follow("lines=100&output=json&contains=%E6%97%A5%E6%9C%AC", &[]);
        check(&objects(&mut selected, 2), &[8, 9]);
        // A client that resumes behind a record with fields gets the next one.
        let mut following = follow("lines=100", &[]);
        let id = (0..2).map(|_| following.next().id).last().unwrap();
        let mut resumed = follow("output=json", &[("Last-Event-ID", &id)]);
        check(&objects(&mut resumed, all.len() - 2), &all[2..]);
    }
}

#[test]
fn records_of_this_server_have_no_fields_that_their_sender_did_not_give() {
    let server = Setup::new().start();
    let hostile = r#"message \| user=eve "#;
    server.save(hostile);
    server.save("plain");
    let found = ndjson(&read(&server, "get-logs", &[("output", "ndjson")]));
    assert_eq!(found[0]["message"], hostile);
    assert!(found.iter().all(|object| object.get("fields").is_none()), "{found:?}");
}

#[test]
fn fields_are_read_as_they_were_sent() {
    const VALUES: [&str; 17] = [
        "bob",
        "",
        " ",
        "a b",
        "a=b",
        "\"",
        "\\",
        "\\n",
        "\n",
        "line 1\r\nline 2\t",
        "\u{0}\u{1b}[31m\u{7f}\u{85}",
        "\u{2028}\u{2029}",
        "\u{202e}nimda",
        "größe 日本 \u{1f980}",
        " \\| user=eve",
        "\"} ,\"fields\":{\"a\":\"b",
        "[INFO](2026-11-23 05:02:29.805789+00:00)<",
    ];
    for format in ["text", "json"] {
        let server = Setup::new().log("format", json!(format)).start();
        let mut sent = Vec::new();
        for (n, value) in VALUES.into_iter().enumerate() {
            let fields = json!({"at": "2026-11-23T05:02:28.100000Z", "größe": value, "user.name": "x", format!("n{n}"): value});
            let body = json!({
                "message": value, "timestamp": "2026-11-23T06:02:28.1+01:00", "größe": value, "user": {"name": "x"},
                format!("n{n}"): value,
            });
            server.save_with(&body).success();
            sent.push((value, fields));
        }
        let found = ndjson(&read(&server, "get-logs", &[("output", "ndjson")]));
        let mut following =
            Follow::on(server.connect(), &format!("{}?lines=100&output=json", route("tail")), &ACCESS)
                .unwrap();
        let followed: Vec<Value> =
            following.data(sent.len()).iter().map(|data| serde_json::from_str(data).unwrap()).collect();
        for objects in [found, followed] {
            assert_eq!(objects.len(), sent.len());
            for (object, (message, fields)) in objects.iter().zip(&sent) {
                assert_eq!((&object["message"], &object["fields"]), (&json!(message), fields), "{format}");
            }
        }
        for (n, (value, _)) in sent.iter().enumerate().filter(|(_, (value, _))| !value.is_empty()) {
            let pattern = format!("^{}$", regex::escape(value));
            let found = ndjson(&read(&server, "get-logs", &[("regex", &pattern), ("output", "ndjson")]));
            assert!(found.len() == 1 && found[0]["seq"] == n + 1, "{format} {value:?}: {found:?}");
            let found = ndjson(&read(&server, "get-logs", &[("contains", value), ("output", "ndjson")]));
            assert!(found.iter().any(|object| object["seq"] == n + 1), "{format} {value:?}: {found:?}");
        }
        assert_eq!(server.root_get("details").json()["foreign"], 0);
    }
}
