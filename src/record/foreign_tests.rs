//! Tests of lines that this server did not write.

use proptest::prelude::*;

use super::*;
use crate::record::{Entry, Line, LineFormat, Stamp, fuzzing, parse_line, write_line};

const TIME: &str = "2026-11-23 05:02:29.805789+00:00";

/// Returns level, client, process and message of a line.
fn read(line: &str) -> Option<(Level, Option<String>, Option<u32>, String)> {
    let record = read_any_line(line.as_bytes())?;
    let client = record.origin.map(|origin| format!("{} {} {}", origin.client, origin.key, origin.seq));
    Some((record.level, client, record.pid, record.message.into_owned()))
}

#[test]
fn lines_of_version_1_are_records_with_a_literal_message() {
    for message in [
        "hello world",
        r"opened C:\new",
        r"opened C:\new\temp\x.log",
        r#"{"json": "say \"hi\""}"#,
        "a tab\tand an escape \u{1b}[31m and a CR\r",
        r"a \| user=bob",
        "",
        "<a|b|1>",
    ] {
        for (head, pid) in [
            ("root.py|save_log|48|20351|140277165046656", Some(20351)),
            ("root.py|<module>|48|20351|140277165046656", Some(20351)),
            ("root.py|save_log|48", None),
        ] {
            for time in [TIME, "2026-11-23 05:02:29+09:00", "1999-12-31 23:59:59-03:30"] {
                let line = format!("[INFO]({time})<{head}>{message}");
                assert_eq!(read(&line), Some((Level::Info, None, pid, message.to_owned())), "{line}");
            }
        }
    }
    let record = read_any_line(b"[ERROR](2026-11-23 05:02:29+01:00)<a.py|f|1>m").unwrap();
    assert_eq!(record.time, Time { micros: 1_795_406_549_000_000, offset: 3600 });
}

#[test]
fn unknown_escapes_leave_the_message_literal() {
    for client in ["192.0.2.7", "2001:db8::7", "local"] {
        for message in [r"C:\temp", r"a \q", "a\rb", "a \u{85} b", "cut \\"] {
            let line = format!("[WARNING]({TIME})<{client}|a\\u{{7c}}b|save-log|7|9>{message}");
            assert!(parse_line(line.as_bytes()).is_err());
            let expected = (Level::Warning, Some(format!("{client} a|b 9")), Some(7), message.to_owned());
            assert_eq!(read(&line), Some(expected), "{line}");
        }
        let json = format!(
            r#"{{"time":"2026-11-23T05:02:29.805789+00:00","level":"INFO","message":"a \/ \"b\"","client":"{client}","key":"k","route":"r","pid":7,"seq":9}}"#
        );
        let expected = (Level::Info, Some(format!("{client} k 9")), Some(7), r#"a \/ \"b\""#.to_owned());
        assert_eq!(read(&json), Some(expected));
    }
    let line = b"[INFO](2026-11-23 05:02:29.805789+00:00)<local|k|r|7|9>caf\xe9";
    assert_eq!(read_any_line(line).unwrap().message, "caf\u{fffd}");
}

#[test]
fn head_without_its_rest_has_a_time_and_a_level() {
    for (line, message) in [
        (format!("[ERROR]({TIME})<"), "<"),
        (format!("[ERROR]({TIME})<a>b"), "<a>b"),
        (format!("[ERROR]({TIME})<a|b|c|d|e>m"), "<a|b|c|d|e>m"),
        (format!("[ERROR]({TIME})<192.0.2.7|k|r|7>m"), "<192.0.2.7|k|r|7>m"),
        (r#"{"time":"2026-11-23T05:02:29.805789+00:00","level":"ERROR","message":"half"#.to_owned(), "half"),
        (
            r#"{"time":"2026-11-23T05:02:29.805789+00:00","level":"ERROR","message":"a","x":1}"#.to_owned(),
            r#"a","x":1}"#,
        ),
    ] {
        assert_eq!(read(&line), Some((Level::Error, None, None, message.to_owned())), "{line}");
        let marked = format!("\u{feff}{line}");
        assert_eq!(read(&marked), read(&line), "{marked}");
    }
}

#[test]
fn other_lines_do_not_begin_like_a_record() {
    for line in [
        "",
        "[",
        "{",
        "\u{feff}",
        "Nov 23 05:02:29 host app[1]: payment refused",
        "Traceback (most recent call last):",
        "[ERROR](2026-11-23 needle",
        "[ERROR](2026-11-23 05:02:29.805789+00:00)",
        " [ERROR](2026-11-23 05:02:29.805789+00:00)<a|b|1>m",
        "[NOTICE](2026-11-23 05:02:29.805789+00:00)<a|b|1>m",
        "[ERROR](2026-13-23 05:02:29.805789+00:00)<a|b|1>m",
        "[ERROR](2026-02-30 05:02:29.805789+00:00)<a|b|1>m",
        "[ERROR](2026-02-28 24:02:29.805789+00:00)<a|b|1>m",
        "[ERROR](2026-11-23T05:02:29.805789+00:00)<a|b|1>m",
        "[ERROR](2026-11-23 05:02:29.8057+00:00)<a|b|1>m",
        "[ERROR](2026-11-23 05:02:29Z)<a|b|1>m",
        r#"{"time":"needle"}"#,
        r#"{"level":30,"time":1795410149805,"msg":"pino"}"#,
        r#"{"time":"2026-11-23T05:02:29.805789+00:00","level":"INFO","msg":"a"}"#,
    ] {
        assert_eq!(read(line), None, "{line}");
        assert!(!begins_record(line.as_bytes()));
    }
    // Thousands of marks are one line and no record.
    assert!(!begins_record("\u{feff}".repeat(100_000).as_bytes()));
}

proptest! {
    #[test]
    fn time_is_recognised_as_it_is_parsed(
        micros in any::<i64>(), recent in 0_i64..4_102_444_800_000_000, offset in -1439_i32..1440, at in 0_usize..32, byte: u8, whole: bool,
    ) {
        for micros in [micros, recent] {
            let mut text = Stamp::from(Time { micros, offset: offset * 60 }).as_bytes().to_vec();
            if whole {
                text.drain(19..26);
            }
            prop_assert!(is_time(&text, b' '), "{}", String::from_utf8_lossy(&text));
            let at = at % text.len();
            for byte in [byte, b'0' + byte % 10, b':', b'-', b'+'] {
                let before = std::mem::replace(&mut text[at], byte);
                prop_assert_eq!(is_time(&text, b' '), parse_time_text(&text, b' ').is_some(), "{}", String::from_utf8_lossy(&text));
                text[at] = before;
            }
        }
    }

    #[test]
    fn each_line_of_this_server_is_the_same_record(message: String, key: String, json: bool, seq: u64) {
        let stamp = Stamp::from(Time { micros: 1_795_410_149_805_789, offset: 0 });
        let format = if json { LineFormat::Json } else { LineFormat::Text };
        let mut line = Vec::new();
        write_line(&mut line, format, &Line { entry: Entry::new(Level::Info, &message), stamp: &stamp, client: "192.0.2.7", key: &key, route: "r", pid: 7, seq });
        line.pop();
        let record = read_any_line(&line).unwrap();
        prop_assert_eq!(&record.message, &message);
        let origin = record.origin.unwrap();
        prop_assert_eq!((&*origin.client, &*origin.key, origin.seq), ("192.0.2.7", &*key, seq));
    }

    #[test]
    fn any_bytes_behind_a_head_are_read(head in prop::sample::select(vec!["[INFO](2026-11-23 05:02:29.805789+00:00)<", "[INFO](2026-11-23 05:02:29+00:00)<", "{\"time\":\"2026-11-23T05:02:29.805789+00:00\",\"level\":\"INFO\",\"message\":\""]),
        rest in prop::collection::vec(prop_oneof![prop::sample::select(b"<>|\\\"|0159ab:.,{}".to_vec()), any::<u8>()], 0..60)) {
        let line = [head.as_bytes(), &rest].concat();
        fuzzing::line(&line);
        let record = read_any_line(&line).unwrap();
        // Nothing of the message is lost, so a search finds it.
        if parse_line(&line).is_err() && std::str::from_utf8(&rest).is_ok() {
            prop_assert!(String::from_utf8_lossy(&line).contains(&*record.message));
        }
    }
}
