//! Tests of logs with lines that this server did not write: files of version 1.0.0, of syslog, with
//! stack traces and with binary data. What grep finds in such a file, a selection finds as well.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Follow, KEY, ROOT, Response, Server, Setup, encode_pairs, eventually, route};

const ACCESS: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

const OURS: &str = "<192.0.2.7|web|save-log|7|";
const OLD: &str = "<root.py|save_log|48|20351|140277165046656>";

fn read(server: &Server, name: &str, parameters: &[(&str, &str)]) -> Response {
    let response = server.get_with(&format!("{}?{}", route(name), encode_pairs(parameters)), &ACCESS);
    assert_eq!(response.status, 200, "{parameters:?}: {response:?}");
    response
}

fn lines(response: &Response) -> Vec<String> {
    response.text().lines().map(str::to_owned).collect()
}

/// Starts a server with a log that holds `content`.
fn start(setup: Setup, content: &[u8]) -> Server {
    let path = setup.log_path();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    setup.start()
}

fn append(server: &Server, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).open(server.log_path()).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    // The server looks at the file.
    assert_eq!(server.root_get("details").status, 200);
}

/// Returns files of several kinds, with the number of lines that do not begin like a record.
fn files() -> Vec<(&'static str, Vec<u8>, u64)> {
    let time = |second: u32| format!("2026-11-23 05:02:{second:02}.805789+00:00");
    let version_1 = [
        format!("[INFO]({}){OLD}hello payment\n", time(1)),
        format!("[WARNING]({}){OLD}opened C:\\new\\temp\\x.log\n", time(2)),
        format!("[INFO](2026-11-23 05:02:03+00:00){OLD}{{\"json\": \"say \\\"hi\\\"\"}}\n"),
        format!("[ERROR]({}){OLD}Traceback (most recent call last):\n", time(4)),
        "  File \"app.py\", line 3, in pay\n\nValueError: payment refused\n".to_owned(),
        format!("[INFO]({})<root.py|save_log|48>opened C:\\new \\| bad \\q\n", time(5)),
    ];
    let syslog =
        b"Nov 23 05:02:29 host app[1]: payment refused\nNov 23 05:02:30 host app[1]: opened C:\\new\n";
    let windows = format!(
        "[ERROR]({}){OURS}1>payment refused\r\n  at C:\\new\r\n[INFO]({}){OURS}2>ok\r\n",
        time(1),
        time(2)
    );
    let latin = [format!("[ERROR]({}){OURS}1>caf", time(1)).as_bytes(), b"\xe9 payment\n\xe9t\xe9 refused\n"]
        .concat();
    let marked =
        format!("\u{feff}[ERROR]({}){OURS}1>payment refused\n[INFO]({}){OURS}2>hi\n", time(1), time(2));
    let binary =
        [&b"\0\x01\xff payment \0\n\xf0\x9f"[..], b"\n", &vec![0xfe; 300_000], b" refused\n"].concat();
    let mixed = [&syslog[..], version_1.concat().as_bytes(), windows.as_bytes(), &binary, &latin].concat();
    vec![
        ("version 1", version_1.concat().into_bytes(), 3),
        ("syslog", syslog.to_vec(), 2),
        ("CRLF", windows.into_bytes(), 1),
        ("Latin-1", latin, 1),
        ("a byte order mark", marked.into_bytes(), 0),
        ("binary", binary, 3),
        ("mixed", mixed, 10),
    ]
}

fn count(content: &[u8], text: &str) -> usize {
    content
        .split(|byte| *byte == b'\n')
        .filter(|line| memchr::memmem::find(line, text.as_bytes()).is_some())
        .count()
}

#[test]
fn a_selection_finds_the_lines_that_grep_finds() {
    for (what, content, foreign) in files() {
        for rotate in [
            json!(null),
            json!({"max_size": 1, "compress": null}),
            json!({"max_size": 1, "compress": "zstd"}),
        ] {
            let server = start(Setup::new().log("rotate", rotate.clone()), &content);
            server.save("one more");
            eventually("the lines are counted, and a segment is compressed", Duration::from_secs(20), || {
                let details = server.root_get("details").json();
                details["counting"] == false
                    && details["foreign"] == foreign
                    && (rotate["compress"] != "zstd"
                        || details["size_on_disk"].as_u64() != details["size"].as_u64())
            });
            let metrics = server.get_with("/metrics", &ACCESS).text();
            assert!(metrics.contains(&format!("\nmoca_foreign_lines {foreign}\n")), "{what}: {metrics}");
            for text in [
                "payment",
                "refused",
                "hi",
                "C:\\new",
                "caf",
                "ValueError",
                "bad \\q",
                "\\\"hi\\\"",
                "absent",
                "one more",
            ] {
                let grep = count(&content, text) + usize::from(text == "one more");
                for parameter in ["contains", "regex"] {
                    let value = if parameter == "regex" { regex::escape(text) } else { text.to_owned() };
                    for order in ["asc", "desc"] {
                        let found = read(&server, "get-logs", &[(parameter, &value), ("order", order)]);
                        assert_eq!(
                            count(&found.body, text),
                            grep,
                            "{what}, {rotate}: {parameter} {text} {order}"
                        );
                        // A line of the answer stands in the file as it is.
                        for line in found.body.split(|byte| *byte == b'\n') {
                            assert!(
                                line.ends_with(b"one more") || memchr::memmem::find(&content, line).is_some()
                            );
                        }
                        let objects = read(
                            &server,
                            "download-logs",
                            &[(parameter, &value), ("order", order), ("output", "ndjson")],
                        );
                        let messages = lines(&objects).into_iter().filter(|line| {
                            let object: Value = serde_json::from_str(line).unwrap();
                            object["message"].as_str().unwrap().contains(text)
                        });
                        assert_eq!(messages.count(), grep, "{what}: {parameter} {text} {order}");
                    }
                }
            }
        }
    }
}

#[test]
fn lines_that_continue_a_record_are_selected_with_it() {
    let (_, content, _) = files().remove(0);
    let server = start(Setup::new(), &content);
    let all = String::from_utf8(content).unwrap();
    let all: Vec<&str> = all.lines().collect();
    let traceback = &all[3..7];
    for parameters in [
        &[("level", "error")][..],
        &[("since", "2026-11-23 05:02:04+00:00"), ("until", "2026-11-23 05:02:05+00:00")],
        &[("contains", "Traceback"), ("contains", "payment refused")],
        &[("regex", "^ValueError: .*$")],
        &[("level", "error"), ("limit", "1")],
    ] {
        for order in ["asc", "desc"] {
            for name in ["get-logs", "get-latest-logs", "download-logs"] {
                let parameters = [parameters, &[("order", order), ("output", "text")]].concat();
                assert_eq!(lines(&read(&server, name, &parameters)), traceback, "{name} {parameters:?}");
                let objects = read(
                    &server,
                    name,
                    &[&parameters[..parameters.len() - 1], &[("output", "ndjson")]].concat(),
                );
                let levels: Vec<Value> = lines(&objects)
                    .iter()
                    .map(|line| serde_json::from_str::<Value>(line).unwrap()["level"].clone())
                    .collect();
                assert_eq!(levels, [json!("ERROR"), json!(null), json!(null), json!(null)]);
            }
        }
    }
    assert!(lines(&read(&server, "get-logs", &[("level", "critical")])).is_empty());
    for parameters in [[("key", "save_log")], [("client", "root.py")], [("client", "local")]] {
        let response =
            server.get_with(&format!("{}?{}", route("get-logs"), encode_pairs(&parameters)), &ACCESS);
        assert!(response.status == 400 || response.body.is_empty(), "{response:?}");
    }
    // Without a selection, each record stays together as well, and counts once.
    let latest = lines(&read(&server, "get-latest-logs", &[("limit", "2"), ("output", "text")]));
    assert_eq!(latest, [&all[7..], traceback].concat());
    // Pages of one record each, in both directions.
    for order in ["asc", "desc"] {
        let (mut given, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let mut parameters = vec![("limit", "1"), ("order", order), ("since", "2000-01-01")];
            parameters.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page = read(&server, "get-logs", &parameters);
            if page.body.is_empty() {
                break;
            }
            given.push(page.text());
            cursor = Some(page.expect_header("moca-cursor").to_owned());
        }
        assert_eq!(given.len(), 5);
        if order == "desc" {
            given.reverse();
        }
        assert_eq!(given.concat().lines().collect::<Vec<_>>(), all);
    }
    // The cursor of an object within a record leads to the rest of that record.
    let objects = read(&server, "get-logs", &[("level", "error"), ("output", "json")]).json();
    let cursor = objects[1]["cursor"].as_str().unwrap();
    assert_eq!(lines(&read(&server, "get-logs", &[("level", "error"), ("cursor", cursor)])), &traceback[2..]);
}

#[test]
fn a_line_at_the_start_of_a_file_continues_the_record_in_the_segment_before() {
    let record = |n: u32, level: &str| {
        format!("[{level}](2026-11-23 05:02:{n:02}.000000+00:00){OURS}{n}>record {n}\n")
    };
    for compress in [json!(null), json!("gzip")] {
        let setup = Setup::new().log("rotate", json!({"max_size": "1MB", "compress": compress}));
        let path = setup.log_path();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let segment = format!("{}.20261123T050229Z-1", path.display());
        std::fs::write(
            segment,
            [record(1, "INFO"), record(2, "ERROR"), "  continues 2\n".to_owned()].concat(),
        )
        .unwrap();
        let active = ["  and more\n", "needle\n", &record(3, "INFO"), "  continues 3\n"].concat();
        let server = start(setup, active.as_bytes());
        eventually("the lines are counted, and the segment is compressed", Duration::from_secs(20), || {
            let details = server.root_get("details").json();
            details["counting"] == false
                && details["foreign"] == 4
                && (compress.is_null() || details["size_on_disk"] != details["size"])
        });
        let second = [record(2, "ERROR"), "  continues 2\n  and more\nneedle\n".to_owned()].concat();
        let third = [record(3, "INFO"), "  continues 3\n".to_owned()].concat();
        for parameters in [
            &[("level", "error")][..],
            &[("contains", "needle")],
            &[("regex", "^  and")],
            &[("since", "2026-11-23 05:02:02+00:00"), ("until", "2026-11-23 05:02:03+00:00")],
        ] {
            for order in ["asc", "desc"] {
                let found = read(&server, "get-logs", &[parameters, &[("order", order)]].concat());
                assert_eq!(found.text(), second, "{parameters:?} {order}");
            }
        }
        let latest = read(&server, "get-latest-logs", &[("limit", "2"), ("output", "text")]).text();
        assert_eq!(latest, [third, second].concat());
    }
}

#[test]
fn a_follower_gets_a_record_with_the_lines_that_come_later() {
    let server = Setup::new().start();
    let open =
        |query: &str| Follow::on(server.connect(), &format!("{}?{query}", route("tail")), &ACCESS).unwrap();
    let mut errors = open("level=error");
    let mut refused = open("contains=refused&output=ndjson");
    let mut limited = open("level=error&limit=2");
    server.save_with(&json!({"message": "quiet", "level": 1}));
    append(&server, "  of a quiet record\n");
    server.save_with(&json!({"message": "Traceback:", "level": 3}));
    let first = errors.next();
    assert!(first.data.ends_with(">Traceback:"), "{first:?}");
    append(&server, "  File \"a.py\"\n");
    assert_eq!(errors.next().data, "  File \"a.py\"");
    append(&server, "payment refused\n");
    assert_eq!(errors.next().data, "payment refused");
    // The text stands in the last line only, so the record is sent with it.
    let objects: Vec<Value> =
        refused.data(3).iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    let messages: Vec<&str> = objects.iter().map(|object| object["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["Traceback:", "  File \"a.py\"", "payment refused"]);
    assert_eq!((&objects[0]["level"], &objects[1]["level"]), (&json!("ERROR"), &json!(null)));
    append(&server, "and refused again\n");
    assert_eq!(errors.next().data, "and refused again");
    assert_eq!(refused.data(1).len(), 1);
    server.save_with(&json!({"message": "the second", "level": 3}));
    // Lines that continue a record do not count.
    let data = limited.data(5);
    assert!(
        data[0].ends_with("Traceback:") && data[3] == "and refused again" && data[4].ends_with("the second"),
        "{data:?}"
    );
    limited.end();
    // A client that resumes within a record gets the rest of it.
    let resumed = Follow::on(
        server.connect(),
        &format!("{}?level=error", route("tail")),
        &[&ACCESS[..], &[("Last-Event-ID", &first.id)]].concat(),
    );
    assert_eq!(resumed.unwrap().data(3), ["  File \"a.py\"", "payment refused", "and refused again"]);
    let mut latest = open("level=error&lines=2");
    let data = latest.data(5);
    assert!(data[0].ends_with("Traceback:") && data[4].ends_with("the second"), "{data:?}");
}

#[test]
fn unicode_classes_select_records() {
    let server = Setup::new().start();
    for message in ["αβγ", "Ünï", "123", "日本"] {
        server.save(message);
    }
    let find = |pattern: &str| {
        let response = read(&server, "get-logs", &[("regex", pattern), ("output", "json")]);
        let objects = response.json();
        objects
            .as_array()
            .unwrap()
            .iter()
            .map(|object| object["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let letters = ["αβγ", "Ünï", "日本"];
    for pattern in [r"\p{L}", r"\pL", r"\p{Alphabetic}", r"\p{Letter}", r"[^\p{N}]"] {
        assert_eq!(find(pattern), letters, "{pattern}");
    }
    for (pattern, expected) in [
        (r"\p{Greek}", &["αβγ"][..]),
        (r"\p{Script=Greek}", &["αβγ"]),
        (r"^\p{Lu}", &["Ünï"]),
        (r"\p{N}", &["123"]),
        (r"^\p{ascii}+$", &["123"]),
        (r"\p{Han}", &["日本"]),
        (r"^\p{Any}{2}$", &["日本"]),
        (r"^\p{sc=Latn}+$", &["Ünï"]),
        (r"(?i)ÜNÏ", &["Ünï"]),
    ] {
        assert_eq!(find(pattern), expected, "{pattern}");
    }
}
