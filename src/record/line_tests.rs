//! Tests the line grammar: every record is one line and parses back to itself.

use super::*;
use crate::record::{Clock, Field, LineError, LineHead, SenderTime, fuzzing, parse_line, parse_time};
use proptest::prelude::*;

const FORMATS: [LineFormat; 2] = [LineFormat::Text, LineFormat::Json];

fn written(format: LineFormat, record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    let fields: Vec<Field<'_>> =
        record.fields.iter().map(|(name, value)| Field::of_line(name, value)).collect();
    let entry = Entry { fields: &fields, ..Entry::new(record.level, &record.message) };
    let line = Line {
        entry,
        stamp: &Stamp::from(record.time),
        client: &record.client,
        key: &record.key,
        route: &record.route,
        pid: record.pid,
        seq: record.seq,
    };
    write_line(&mut out, format, &line);
    let (mut prefix, mut again) = (LinePrefix::default(), b"before".to_vec());
    prefix.take(format, &Line { entry: Entry::new(Level::Critical, "other"), seq: 1, ..line });
    prefix.write_line(&mut again, &entry, record.seq);
    assert_eq!(again.strip_prefix(b"before"), Some(&*out), "with the shared parts");
    let (mut one_by_one, mut escaped) = (Vec::new(), Vec::new());
    let (entries, seq) = ([entry, Entry::new(Level::Debug, "")], record.seq / 2);
    prefix.write_line(&mut one_by_one, &entries[0], seq);
    prefix.write_line(&mut one_by_one, &entries[1], seq + 1);
    let texts = EscapedEntries::of(format, &entries);
    prefix.write_escaped(&mut escaped, entries.iter().map(|entry| entry.level), &texts, seq);
    assert_eq!(escaped, one_by_one, "with texts that are escaped already");
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
        fields: LineFields::default(),
    }
}

/// Returns the parsed form of these fields.
fn fields_of(at: Option<i64>, fields: &[Field<'_>]) -> LineFields {
    let mut text = Vec::new();
    let at = at.map(|micros| SenderTime::from_micros(micros).unwrap());
    let entry = Entry { at, fields, ..Entry::new(Level::Info, "") };
    if entry.has_fields() {
        write_text_fields(&mut text, &entry);
    }
    let text = String::from_utf8(text).unwrap();
    text.strip_prefix(" \\| ")
        .map_or_else(LineFields::default, |text| LineFields::of_text(text).unwrap().into_owned())
}

/// Returns the example with another message and without fields, as a text line.
fn text_line(message: &str) -> String {
    format!("[INFO](2026-11-23 05:02:29.805789+00:00)<203.0.113.7|8f14e45f|save-log|4711|18>{message}")
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
fn both_formats_hold_the_fields_in_order() {
    let fields = [
        Field::of_sender("user", "bob"),
        Field::of_sender("größe", "ä€"),
        Field::of_sender("empty", ""),
        Field::of_sender("text", "a \"b\" c:\\d\n\t\u{1b}\u{2028}"),
        Field::of_sender("pair", "k=v"),
        Field::of_sender("bar", "a|b"),
        Field::of_sender("zwsp", "\u{200b}"),
        Field::of_sender("nbsp", "\u{a0}"),
    ];
    let record = Record {
        message: "hello".to_owned(),
        fields: fields_of(Some(1_795_410_148_100_000), &fields),
        ..example()
    };
    let text = text_line(concat!(
        "hello \\| at=2026-11-23T05:02:28.100000Z user=bob größe=ä€ empty=\"\" ",
        "text=\"a \\\"b\\\" c:\\\\d\\n\t\\u{1b}\\u{2028}\" pair=\"k=v\" bar=a|b zwsp=\u{200b} nbsp=\"\u{a0}\"\n",
    ));
    let json = concat!(
        "{\"time\":\"2026-11-23T05:02:29.805789+00:00\",\"level\":\"INFO\",\"message\":\"hello\",",
        "\"client\":\"203.0.113.7\",\"key\":\"8f14e45f\",\"route\":\"save-log\",\"pid\":4711,\"seq\":18,",
        "\"fields\":{\"at\":\"2026-11-23T05:02:28.100000Z\",\"user\":\"bob\",\"größe\":\"ä€\",\"empty\":\"\",",
        "\"text\":\"a \\\"b\\\" c:\\\\d\\n\\t\\u001b\\u2028\",\"pair\":\"k=v\",\"bar\":\"a|b\",\"zwsp\":\"\u{200b}\",",
        "\"nbsp\":\"\u{a0}\"}}\n",
    );
    for (format, line) in [(LineFormat::Text, text.as_str()), (LineFormat::Json, json)] {
        assert_eq!(String::from_utf8(written(format, &record)).unwrap(), line);
        let read = parse_line(line.trim_end_matches('\n').as_bytes()).unwrap();
        assert_eq!(read, record);
        assert_eq!(read.fields.get("pair").as_deref(), Some("k=v"));
        assert_eq!(read.fields.get("none"), None);
        assert_eq!(read.fields.iter().count(), fields.len() + 1);
    }
}

#[test]
fn message_ends_where_the_fields_begin() {
    for message in ["", " ", "hello ", "\\", " \\", " \\| ", "a \\| b=c", " \\|", "\\| ", "a=b", "\u{1} "] {
        let record = Record {
            message: message.to_owned(),
            fields: fields_of(None, &[Field::of_sender("a", "b")]),
            ..example()
        };
        for format in FORMATS {
            let mut line = written(format, &record);
            line.pop();
            assert_eq!(parse_line(&line).as_ref(), Ok(&record), "{message:?}");
        }
    }
}

#[test]
fn separator_without_valid_fields_is_text_of_the_message() {
    for message in [
        "hello \\| world",
        "hello \\| ",
        "hello \\| a",
        "hello \\| a=",
        "hello \\| =b",
        "hello \\| a=b ",
        "hello \\| a=b  c=d",
        "hello \\| a=b c",
        "hello \\| a=b\tc=d",
        "hello \\| a=\"b",
        "hello \\| a=\"b\"",
        "hello \\| a=\"b c\"d",
        "hello \\| a b=c",
        "hello \\| a|b=c",
        "hello \\| a=\u{a0}",
        "hello \\| a=b=c",
        "hello \\| world \\| a=b",
        " \\| \\| x",
    ] {
        let record = parse_line(text_line(message).as_bytes()).unwrap();
        assert_eq!(record.message, message);
        assert!(record.fields.is_empty());
        fuzzing::line(text_line(message).as_bytes());
    }
    let long = format!("hello \\| {}=b", "a".repeat(129));
    assert_eq!(parse_line(text_line(&long).as_bytes()).unwrap().message, long);
    for foreign in ["hello\\| a=b", "hello \\|", "hello \\|a=b", "hello \\| \\q", "x \\| a=b \\"] {
        assert!(parse_line(text_line(foreign).as_bytes()).is_err(), "{foreign}");
    }
    let json = written(LineFormat::Json, &example());
    let json = String::from_utf8(json).unwrap().replace("}\n", "");
    for foreign in [
        r#","fields":{}}"#,
        r#","fields":{"a":1}}"#,
        r#","fields":{"a":"b",}}"#,
        r#","fields":{"a b":"c"}}"#,
        r#","fields":{"a":"b"}"#,
    ] {
        assert!(parse_line(format!("{json}{foreign}").as_bytes()).is_err(), "{foreign}");
    }
    assert!(parse_line(format!(r#"{json},"fields":{{"a":"b"}}}}"#).as_bytes()).is_ok());
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

/// Fields of a sender with any names and values, the critical ones often.
fn any_fields() -> impl Strategy<Value = LineFields> {
    let name = prop_oneof![any_text(), "[a-z]{0,3}", Just("at".to_owned())];
    let fields = prop_oneof![
        Just(Vec::new()),
        prop::collection::vec((name, prop_oneof![any_text(), "[a-z \\\\|=\"]{0,5}"]), 0..6),
    ];
    (prop::option::of(0..253_402_128_000_000_000_i64), fields).prop_map(|(at, fields)| {
        let fields: Vec<Field<'_>> =
            fields.iter().map(|(name, value)| Field::of_sender(name.as_str(), value.as_str())).collect();
        fields_of(at, &fields)
    })
}

fn any_record() -> impl Strategy<Value = Record> {
    let time = (0..253_402_128_000_000_000_i64, -1559..=1559)
        .prop_map(|(micros, m)| Time { micros, offset: m * 60 });
    let texts = (any_text(), any_text(), any_text(), any_text());
    let numbers = (any::<u32>(), any::<u64>());
    (time, 0_u64..5, texts, numbers, any_fields()).prop_map(|(time, level, texts, (pid, seq), fields)| {
        Record {
            time,
            level: Level::from_number(level).unwrap(),
            client: texts.0,
            key: texts.1,
            route: texts.2,
            pid,
            seq,
            message: texts.3,
            fields,
        }
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
            prop_assert_eq!(LineHead::of(line).map(|head| head.level), Some(record.level));
        }
    }

    #[test]
    fn any_json_parser_reads_the_json_form(record in any_record()) {
        let value: serde_json::Value = serde_json::from_slice(&written(LineFormat::Json, &record)).unwrap();
        let time = String::from_utf8(Stamp::from(record.time).rfc3339().to_vec()).unwrap();
        let mut expected = serde_json::json!({
            "time": time, "level": record.level.as_str(), "message": record.message, "client": record.client,
            "key": record.key, "route": record.route, "pid": record.pid, "seq": record.seq,
        });
        if !record.fields.is_empty() {
            expected["fields"] = record.fields.iter().map(|(name, value)| (name.to_owned(), value.into_owned().into())).collect::<serde_json::Map<_, _>>().into();
        }
        prop_assert_eq!(value, expected);
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
                // The same line is written for the record that is read, but for a separator without
                // fields.
                fuzzing::line(damaged);
                if let Ok(read) = parse_line(damaged) && !read.message.contains(" \\| ") {
                    let mut again = written(format, &read);
                    again.pop();
                    prop_assert_eq!(&again, damaged);
                }
            }
        }
    }

    #[test]
    fn no_message_or_field_forges_a_field_or_a_line(
        message in any_text(), at in prop::option::of(any::<i64>()),
        fields in prop::collection::vec((prop_oneof![any_text(), "[a-z]{0,2}"], any_text()), 0..8),
    ) {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fuzzing::entry(&message, at, &fields);
    }

    #[test]
    fn text_behind_a_separator_is_fields_or_message(text in "[a=\" \\\\|b]{0,20}") {
        fuzzing::line(text_line(&format!("x \\| {text}")).as_bytes());
    }
}
