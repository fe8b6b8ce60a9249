//! Tests of lines that are much longer than a record. Each selection finds them by their head and by
//! any text in them, and an answer has them whole, in little memory.

use std::time::Duration;

use serde_json::Value;

use crate::harness::{Follow, KEY, ROOT, Server, Setup, encode_pairs, eventually, route};

const ACCESS: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

/// The heads with which a long line begins: of no record, of a record, and of version 1.0.0.
const HEADS: [&str; 3] = [
    "",
    "[ERROR](2026-11-23 05:02:02.000000+00:00)<192.0.2.7|web|save-log|7|2>",
    "[ERROR](2026-11-23 05:02:02+00:00)<root.py|save_log|48|20351|140277165046656>",
];

/// Lines of at most this length are searched as a whole.
const MAX_WHOLE_BYTES: usize = 12 * 1024 * 1024;

fn record(n: u32) -> String {
    format!("[INFO](2026-11-23 05:02:0{n}.000000+00:00)<192.0.2.7|web|save-log|7|{n}>record {n}\n")
}

/// Returns a line with a text at its start, in its middle and at its end.
fn long_line(head: &str, len: usize) -> String {
    let fill = "0123456789 ".repeat(len / 22);
    format!("{head}first needle {fill}second needle {fill}third needle\n")
}

fn start(content: &str) -> Server {
    let setup = Setup::new();
    let path = setup.log_path();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    setup.start()
}

fn read(server: &Server, name: &str, parameters: &[(&str, &str)]) -> String {
    let response = server.get_with(&format!("{}?{}", route(name), encode_pairs(parameters)), &ACCESS);
    assert_eq!(response.status, 200, "{parameters:?}");
    String::from_utf8(response.body).unwrap()
}

/// Fails without printing megabytes.
fn assert_same(found: &str, expected: &str, what: &str) {
    let (len, wanted) = (found.len(), expected.len());
    assert!(found == expected, "{what}: {len} bytes instead of {wanted}: {found:.200}");
}

#[test]
fn each_selection_finds_a_long_line_and_returns_it_whole() {
    for len in [300_000, 1_800_000, 20_000_000] {
        for head in HEADS {
            let line = long_line(head, len);
            let server = start(&[record(1), line.clone(), record(3)].concat());
            // A line of another program continues the record before it, unless it is too long.
            let is_continued = head.is_empty() && len < 1024 * 1024;
            let unit = if is_continued { record(1) + &line } else { line.clone() };
            let mut selections = vec![
                ("contains", "first needle"),
                ("contains", "second needle"),
                ("regex", "second n[a-e]+dle"),
            ];
            selections.extend([("contains", "third needle"), ("regex", "rd needle$")]);
            if !head.is_empty() {
                selections.extend([("level", "error"), ("since", "2026-11-23 05:02:02+00:00")]);
            }
            if head == HEADS[1] {
                selections.extend([("client", "192.0.2.7"), ("key", "web")]);
            }
            // The longest lines take long in a debug build.
            let is_longest = len > MAX_WHOLE_BYTES;
            if is_longest {
                selections.retain(|(_, value)| !["first needle", "third needle", "web"].contains(value));
            }
            for selection in selections {
                let until = ("until", "2026-11-23 05:02:03+00:00");
                for order in ["asc", "desc"] {
                    for name in ["get-logs", "get-latest-logs", "download-logs"] {
                        if is_longest && (name == "download-logs") == (order == "asc") {
                            continue;
                        }
                        let mut parameters = vec![selection, ("order", order), ("output", "text")];
                        parameters.extend((selection.0 == "since").then_some(until));
                        let mut expected = unit.clone();
                        if ["client", "key"].contains(&selection.0) {
                            let mut all = [record(1), line.clone(), record(3)];
                            if order == "desc" {
                                all.reverse();
                            }
                            expected = all.concat();
                        }
                        let what = format!("{len} {name} {parameters:?}");
                        assert_same(&read(&server, name, &parameters), &expected, &what);
                    }
                }
            }
            for absent in
                [("contains", "fourth needle"), ("regex", "^second needle"), ("regex", "0123456789$")]
            {
                assert_same(&read(&server, "get-logs", &[absent]), "", "a text that is not there");
            }
            let all = [record(3), line.clone(), record(1)].concat();
            let descending = read(&server, "get-logs", &[("order", "desc")]);
            let expected = if is_continued { [record(3), unit.clone()].concat() } else { all };
            assert_same(&descending, &expected, "all lines, newest first");
            check_object(&server, head, &line);
        }
    }
}

fn check_object(server: &Server, head: &str, line: &str) {
    let objects = read(server, "get-logs", &[("contains", "second needle"), ("output", "ndjson")]);
    let object: Value = serde_json::from_str(objects.lines().last().unwrap()).unwrap();
    let message = object["message"].as_str().unwrap();
    assert_eq!(object["level"], if head.is_empty() { Value::Null } else { "ERROR".into() });
    if line.len() <= MAX_WHOLE_BYTES {
        assert_same(message, &line[head.len()..line.len() - 1], "the message of an object");
        return;
    }
    let cut = line.len().to_string();
    assert!(message.starts_with("first needle 0123") && message.len() < 300_000);
    let is_marked = object["fields"]["cut"] == *cut || message.ends_with(&format!("\\| cut={cut}"));
    assert!(is_marked, "{}", &message[message.len() - 100..]);
}

#[test]
fn a_follower_gets_a_long_line_whole() {
    for len in [300_000, 1_800_000, 20_000_000] {
        let line = long_line(HEADS[1], len);
        let server = start(&[record(1), line.clone(), record(3)].concat());
        for selection in ["contains=second%20needle", "level=error", "regex=third%20needle$"] {
            let path = format!("{}?lines=1&limit=1&{selection}", route("tail"));
            let mut follow = Follow::on(server.connect(), &path, &ACCESS).unwrap();
            assert_same(&follow.next().data, line.trim_end(), selection);
        }
    }
}

#[test]
fn a_search_through_long_lines_needs_little_memory() {
    let lines = HEADS.map(|head| long_line(head, 16_000_000));
    let server = start(&[record(1), lines.concat(), record(3)].concat());
    eventually("the lines are counted", Duration::from_secs(20), || {
        server.root_get("details").json()["count"] == 5
    });
    for selection in [("contains", "absent"), ("contains", "second needle"), ("regex", "third n.*e$")] {
        server.reset_memory_peak();
        let before = server.memory_now();
        let mut found = 0;
        let path = format!("{}?{}", route("get-logs"), encode_pairs(&[selection, ("order", "desc")]));
        let mut conn = server.connect();
        conn.send("GET", &path, &ACCESS, b"").unwrap();
        conn.receive_streamed("GET", |piece| found += piece.len()).unwrap();
        let expected = if selection.1 == "absent" { 0 } else { lines.concat().len() };
        assert_eq!(found, expected, "{selection:?}");
        let more = server.memory_peak().saturating_sub(before);
        assert!(more < 24_000_000, "{selection:?}: {more} bytes more");
    }
}
