//! Tests of lines. A record is one line for any message, and the message can be restored from it.

use serde_json::{Value, json};

use crate::harness::{KEY, Line, Setup, cannot_run, must_be_escaped, route, sha256_hex};

/// Returns messages for which a careless writer would write torn, forged or missing lines.
fn hostile_messages() -> Vec<String> {
    let mut messages: Vec<String> = [
        "two\nlines",
        "carriage\rreturn and both\r\n",
        "forged\n[CRITICAL](2026-01-01 00:00:00.000000+00:00)<1.2.3.4|root|save-log|1|1>entry",
        "back\\slash \\n is no line end, \\\\ neither, \\u{41} is no A",
        "ends with a backslash\\",
        "tab\tstays",
        "line\u{2028}and paragraph\u{2029}separators",
        "next line \u{85} and other C1 \u{80}\u{9f}",
        "escape \u{1b}[31mred\u{1b}[0m nul \0 del \u{7f} bell \u{7}",
        "ünïcödé 日本語 😀 e\u{301} \u{200b} \u{feff} \u{fffd} \u{202e}",
        "[x](y)<a|b|c|d|e>f",
        "quotes \" ' ` and {json: \"inside\"}",
        " spaces at both ends ",
        "",
        "\n",
        "\\",
    ]
    .map(str::to_owned)
    .to_vec();
    messages.push((0..=0x2fu32).filter_map(char::from_u32).collect());
    messages.push((0x7f..=0xa1u32).filter_map(char::from_u32).collect());
    messages
}

#[test]
fn a_line_has_the_documented_form() {
    let server = Setup::new().start();
    server.save_with(&json!({"message": "hello world", "level": 1})).success();
    let text = std::fs::read_to_string(server.log_path()).unwrap();
    let line = Line::parse(text.strip_suffix('\n').unwrap());
    assert!(text.starts_with("[INFO]("), "{text}");
    assert!(text.ends_with(">hello world\n"), "{text}");
    assert_eq!(line.client, "127.0.0.1");
    assert_eq!(line.key, &sha256_hex(KEY)[..8]);
    assert_eq!(line.route, "save-log");
    assert_eq!(line.pid, server.pid());
    assert_eq!(line.seq, 1);
}

#[test]
fn the_key_field_is_the_name_of_the_key() {
    let server = Setup::new().key("k", &json!({"name": "billing"})).start();
    server.get(&format!("{}?api_key=k&message=m", route("save-log"))).success();
    assert_eq!(server.parsed()[0].key, "billing");
}

#[test]
fn any_message_is_one_line_and_can_be_restored() {
    let server = Setup::new().start();
    for message in hostile_messages() {
        server.save(&message);
    }
    let entries: Vec<Value> = hostile_messages().iter().map(|message| json!({"msg": message})).collect();
    server.save_batch(&json!(entries)).success();
    let mut expected = hostile_messages();
    expected.extend(hostile_messages());
    assert_eq!(server.messages(), expected);
}

#[test]
fn escapes_are_the_documented_ones() {
    let server = Setup::new().start();
    server.save("a\nb\rc\\d\te");
    server.save("\u{1b}\u{7f}\u{85}\u{2028}\u{2029}\0");
    let lines = server.parsed();
    assert_eq!(lines[0].escaped, "a\\nb\\rc\\\\d\te");
    let codes: Vec<u32> = lines[1]
        .escaped
        .split_terminator('}')
        .map(|part| u32::from_str_radix(part.strip_prefix("\\u{").unwrap(), 16).unwrap())
        .collect();
    assert_eq!(codes, [0x1b, 0x7f, 0x85, 0x2028, 0x2029, 0]);
}

#[test]
fn the_json_format_has_the_same_record() {
    let server = Setup::new().log("format", json!("json")).key("k", &json!({"name": "billing"})).start();
    for message in hostile_messages() {
        let body = json!({"api_key": "k", "message": message, "level": 3});
        server.post_json(&route("save-log"), &body).success();
    }
    let lines = server.log_lines();
    assert_eq!(lines.len(), hostile_messages().len(), "one record, one line");
    for (n, (line, message)) in lines.iter().zip(hostile_messages()).enumerate() {
        let unescaped = line
            .chars()
            .find(|&c| c != '\u{7f}' && must_be_escaped(c) && !('\u{80}'..='\u{9f}').contains(&c));
        assert_eq!(unescaped, None, "{line:?}");
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["message"], json!(message));
        assert_eq!(record["level"], "ERROR");
        assert_eq!(record["client"], "127.0.0.1");
        assert_eq!(record["key"], "billing");
        assert_eq!(record["route"], "save-log");
        assert_eq!(record["pid"], server.pid());
        assert_eq!(record["seq"], n + 1);
        let time = record["time"].as_str().unwrap();
        assert!(time.len() >= 20 && time.as_bytes()[4] == b'-' && time.contains(':'), "{time}");
    }
}

#[test]
fn the_json_format_has_its_members_in_order() {
    let server = Setup::new().log("format", json!("json")).start();
    server.save("m");
    let line = server.log_lines().remove(0);
    let places: Vec<usize> = ["time", "level", "message", "client", "key", "route", "pid", "seq"]
        .iter()
        .map(|name| line.find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("no {name}: {line}")))
        .collect();
    assert!(places.is_sorted(), "{line}");
}

#[test]
fn time_never_goes_backwards_and_seq_counts_without_gaps() {
    let server = Setup::new().start();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut conn = server.connect();
                for _ in 0..50 {
                    let target = format!("{}?api_key={KEY}&message=m", route("save-log"));
                    conn.get(&target).success();
                }
            });
        }
    });
    let lines = server.parsed();
    let seqs: Vec<u64> = lines.iter().map(|line| line.seq).collect();
    assert_eq!(seqs, (1..=400).collect::<Vec<u64>>());
    assert!(lines.is_sorted_by_key(|line| line.time.clone()), "time goes backwards");
}

#[test]
fn seq_counts_the_records_of_one_process() {
    let mut server = Setup::new().start();
    server.save("one");
    server.save("two");
    let first_pid = server.pid();
    server.restart();
    server.save("three");
    let lines = server.parsed();
    let fields: Vec<(u32, u64)> = lines.iter().map(|line| (line.pid, line.seq)).collect();
    assert_eq!(fields, [(first_pid, 1), (first_pid, 2), (server.pid(), 1)]);
}

#[test]
fn seq_continues_after_a_clear() {
    let server = Setup::new().start();
    server.save("one");
    server.root_get("clear-logs").success();
    server.save("two");
    assert_eq!(server.parsed()[0].seq, 2);
}

#[test]
fn ipv6_clients_are_written_without_brackets() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        cannot_run("no IPv6 on loopback");
        return;
    }
    let server = Setup::new().log("host", json!("::1")).log("use_ipv6", json!(true)).start();
    server.save("m");
    assert_eq!(server.parsed()[0].client, "::1");
}

#[test]
fn get_logs_returns_the_lines_of_the_file() {
    let server = Setup::new().start();
    for message in hostile_messages() {
        server.save(&message);
    }
    let file = std::fs::read(server.log_path()).unwrap();
    assert_eq!(server.root_get("get-logs").body, file);
    assert_eq!(server.root_get("download-logs").body, file);
    let mut newest_first = server.log_lines();
    newest_first.reverse();
    assert_eq!(server.root_get("get-latest-logs").json(), json!(newest_first));
}
