//! Tests the line grammar: every record is one line and parses back to itself.

use super::*;
use crate::record::Clock;
use proptest::prelude::*;

const FORMATS: [LineFormat; 2] = [LineFormat::Text, LineFormat::Json];

fn written(format: LineFormat, record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    let line = Line {
        level: record.level,
        stamp: &Stamp::from(record.time),
        client: &record.client,
        key: &record.key,
        route: &record.route,
        pid: record.pid,
        seq: record.seq,
        message: &record.message,
    };
    write_line(&mut out, format, &line);
    let (mut prefix, mut again) = (LinePrefix::default(), b"before".to_vec());
    prefix.take(format, &Line { level: Level::Critical, seq: 1, message: "other", ..line });
    prefix.write_line(&mut again, record.level, record.seq, &record.message);
    assert_eq!(again.strip_prefix(b"before"), Some(&*out), "with the shared parts");
    out
}

fn example() -> Record {
    Record {
        time: Time { micros: 1_795_410_149_805_789, offset: 0 },
        level: Level::Info,
        client: "203.0.113.7".to_owned(),
        key: "8f14e45f".to_owned(),
        route: "save-log".to_owned(),
        pid: 4711,
        seq: 18,
        message: "hello \"world\"\n<a|b>\t\u{1b}[0m".to_owned(),
    }
}

#[test]
fn both_formats_are_written_and_parsed() {
    let text = "[INFO](2026-11-23 05:02:29.805789+00:00)<203.0.113.7|8f14e45f|save-log|4711|18>\
                hello \"world\"\\n<a|b>\t\\u{1b}[0m\n";
    let json = "{\"time\":\"2026-11-23T05:02:29.805789+00:00\",\"level\":\"INFO\",\
                \"message\":\"hello \\\"world\\\"\\n<a|b>\\t\\u001b[0m\",\"client\":\"203.0.113.7\",\
                \"key\":\"8f14e45f\",\"route\":\"save-log\",\"pid\":4711,\"seq\":18}\n";
    for (format, line) in [(LineFormat::Text, text), (LineFormat::Json, json)] {
        assert_eq!(String::from_utf8(written(format, &example())).unwrap(), line);
        assert_eq!(parse_line(line.trim_end_matches('\n').as_bytes()), Ok(example()));
    }
}

#[test]
fn clock_and_parsed_time_give_the_same_stamp() {
    let mut clock = Clock::new(jiff::tz::TimeZone::UTC);
    let stamp = clock.stamp_at(example().time.micros);
    assert_eq!(stamp, Stamp::from(example().time));
}

#[test]
fn foreign_lines_give_the_position_of_the_error() {
    for (line, at) in [
        (&b""[..], 0),
        (b"hello", 0),
        (b"[NOTICE](", 1),
        (b"[INFO](2026-11-23 05:02:29.805789+00:00", 39),
        (b"[INFO](2026-11-23T05:02:29.805789+00:00)<a|b|c|1|1>", 7),
        (b"[INFO](2026-11-23 05:02:29.805789+00:00)<a|b|1|1>x", 48),
        (b"[INFO](2026-11-23 05:02:29.805789+00:00)<a|b|c|01|1>x", 47),
        (b"[INFO](2026-11-23 05:02:29.805789+00:00)<a|b|c|4294967296|1>x", 47),
        (b"[INFO](2026-11-23 05:02:29.805789+00:00)<a|b|c|1|1>x\r", 52),
        (b"[INFO](2026-11-23 05:02:29.805789+00:00)<a|b|c|1|1>x\\q", 52),
        (b"{}", 0),
    ] {
        assert!(
            matches!(parse_line(line), Err(LineError::Foreign { at: found, .. }) if found == at),
            "{:?}: {:?}",
            String::from_utf8_lossy(line),
            parse_line(line)
        );
    }
    assert_eq!(parse_line(b"[INFO](\xff"), Err(LineError::NotUtf8 { at: 7 }));
}

/// Texts of any code points, with the critical ones often.
fn any_text() -> impl Strategy<Value = String> {
    let awkward = prop::sample::select(vec![
        '\0',
        '\t',
        '\n',
        '\r',
        '\x0b',
        '\x1b',
        '\x7f',
        '\u{80}',
        '\u{85}',
        '\u{9f}',
        '\u{a0}',
        '\u{2028}',
        '\u{2029}',
        '\u{d7ff}',
        '\u{e000}',
        '\u{fffd}',
        '\u{ffff}',
        '\u{10ffff}',
        '\\',
        '"',
        '|',
        '<',
        '>',
        '{',
        '}',
        'u',
        'n',
    ]);
    let character = prop_oneof![awkward, any::<char>(), prop::char::range(' ', '~')];
    prop::collection::vec(character, 0..100).prop_map(String::from_iter)
}

fn any_record() -> impl Strategy<Value = Record> {
    let time = (0..253_402_128_000_000_000_i64, -1559..=1559)
        .prop_map(|(micros, m)| Time { micros, offset: m * 60 });
    let texts = (any_text(), any_text(), any_text(), any_text());
    (time, 0_u64..5, texts, any::<u32>(), any::<u64>()).prop_map(|(time, level, texts, pid, seq)| Record {
        time,
        level: Level::from_number(level).unwrap(),
        client: texts.0,
        key: texts.1,
        route: texts.2,
        pid,
        seq,
        message: texts.3,
    })
}

proptest! {
    #[test]
    fn each_record_is_one_line_and_parses_back(record in any_record()) {
        for format in FORMATS {
            let line = written(format, &record);
            let (end, line) = line.split_last().unwrap();
            prop_assert_eq!(*end, b'\n');
            prop_assert!(line.iter().all(|b| *b >= 0x20 && *b != 0x7f || *b == b'\t'));
            let text = std::str::from_utf8(line).unwrap();
            let forbidden = |c: char| matches!(c, '\u{80}'..='\u{9f}' | '\u{2028}' | '\u{2029}');
            prop_assert!(!text.contains(forbidden), "{text}");
            prop_assert_eq!(parse_line(line), Ok(record.clone()));
            prop_assert_eq!(parse_time(line), Some(record.time.micros));
            prop_assert_eq!(parse_level(line), Some(record.level));
        }
    }

    #[test]
    fn any_json_parser_reads_the_json_form(record in any_record()) {
        let value: serde_json::Value = serde_json::from_slice(&written(LineFormat::Json, &record)).unwrap();
        let time = String::from_utf8(Stamp::from(record.time).rfc3339().to_vec()).unwrap();
        prop_assert_eq!(value, serde_json::json!({
            "time": time, "level": record.level.as_str(), "message": record.message, "client": record.client,
            "key": record.key, "route": record.route, "pid": record.pid, "seq": record.seq,
        }));
    }

    #[test]
    fn arbitrary_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(parse_line(&bytes).is_err());
        prop_assert_eq!(parse_time(&bytes), None);
    }

    #[test]
    fn damaged_line_is_rejected_or_is_another_valid_line(
        record in any_record(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index,
    ) {
        for format in FORMATS {
            let mut line = written(format, &record);
            line.pop();
            let at = at.index(line.len());
            line[at] = byte;
            for damaged in [&line[..], &line[..cut.index(line.len())]] {
                if let Ok(read) = parse_line(damaged) {
                    prop_assert_eq!(parse_time(damaged), Some(read.time.micros));
                    prop_assert_eq!(parse_level(damaged), Some(read.level));
                    let mut again = written(format, &read);
                    again.pop();
                    prop_assert_eq!(&again, damaged);
                }
            }
        }
    }
}
