use proptest::prelude::*;

use super::*;
use crate::ingest::body::stream::stream_rules;
use crate::ingest::entry_stream::HeldEntries;
use crate::record::Level;

/// An entry as a record: level, message, `at`, fields.
type Read = (Level, String, Option<i64>, Vec<(String, String)>);

/// Parses a body in pieces of this length.
fn parse_with(body: &[u8], piece: usize, rules: &ReadRules<'_>) -> (Vec<Read>, Result<(), ExportError>) {
    let mut parser = ExportParser::default();
    let rules = stream_rules(rules);
    let read = body.chunks(piece.max(1)).try_for_each(|piece| parser.read(piece, &rules));
    let outcome = read.and_then(|()| parser.end());
    let entries = std::mem::take(&mut parser.entries);
    let batch = entries.batch(&rules);
    let read = batch.entries(Level::Debug).into_iter().map(|entry| {
        let fields = entry.fields.iter().map(|field| (field.name().to_owned(), field.value().to_owned()));
        (entry.level, entry.message.to_owned(), entry.at.map(SenderTime::micros), fields.collect())
    });
    (read.collect(), outcome)
}

fn parse(body: &[u8]) -> (Vec<Read>, Result<(), ExportError>) {
    parse_with(body, usize::MAX, &ReadRules::default())
}

/// Parses a body with one entry.
fn one(body: &[u8]) -> Read {
    let (mut entries, outcome) = parse(body);
    assert_eq!((entries.len(), outcome), (1, Ok(())));
    entries.remove(0)
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn binary(name: &str, value: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value, b"\n"].concat()
}

const ENTRY: &[u8] = b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1795410148100000\n__MONOTONIC_TIMESTAMP=77\n\
    _BOOT_ID=b\nPRIORITY=3\nMESSAGE=disk failed\n_PID=12\n_COMM=smartd\nSYSLOG_IDENTIFIER=smartd\n\n";

#[test]
fn entry_becomes_a_record() {
    let fields = pairs(&[
        ("__monotonic_timestamp", "77"),
        ("_boot_id", "b"),
        ("_pid", "12"),
        ("_comm", "smartd"),
        ("syslog_identifier", "smartd"),
    ]);
    let expected = (Level::Error, "disk failed".to_owned(), Some(1_795_410_148_100_000), fields);
    assert_eq!(one(ENTRY), expected);
    let body = [ENTRY, b"\n\n", ENTRY].concat();
    for piece in 1..body.len() {
        let (entries, outcome) = parse_with(&body, piece, &ReadRules::default());
        assert_eq!((entries, outcome), (vec![expected.clone(), expected.clone()], Ok(())), "{piece}");
    }
}

#[test]
fn values_of_any_bytes_come_as_binary_fields() {
    let text = "two\nlines = \u{1} and a very strange\r\n\tend";
    let body =
        [binary("MESSAGE", text.as_bytes()), binary("EMPTY", b""), binary("X", b"a\xffb"), b"\n".to_vec()];
    let body = body.concat();
    for piece in 1..body.len() {
        let (entries, outcome) = parse_with(&body, piece, &ReadRules::default());
        let fields = pairs(&[("empty", ""), ("x", "a\u{fffd}b"), ("utf8", "replaced")]);
        assert_eq!(
            (entries, outcome),
            (vec![(Level::Info, text.to_owned(), None, fields)], Ok(())),
            "{piece}"
        );
    }
}

#[test]
fn priority_is_a_severity_of_syslog() {
    use Level::{Critical, Debug, Error, Info, Warning};
    for (priority, level, kept) in [
        ("0", Critical, None),
        ("1", Critical, None),
        ("2", Critical, None),
        ("3", Error, None),
        ("4", Warning, None),
        ("5", Info, Some("5")),
        ("6", Info, Some("6")),
        ("7", Debug, Some("7")),
        ("8", Info, Some("8")),
        ("noise", Info, Some("noise")),
    ] {
        let (read, _, _, fields) = one(format!("PRIORITY={priority}\nMESSAGE=x\n\n").as_bytes());
        let kept: Vec<_> = kept.map(|kept| ("level".to_owned(), kept.to_owned())).into_iter().collect();
        assert_eq!((read, fields), (level, kept), "{priority}");
    }
}

#[test]
fn last_of_several_values_counts() {
    let body = b"MESSAGE=first\nA=1\nMESSAGE=second\nPRIORITY=1\nA=2\nPRIORITY=7\nMESSAGE=third\n\n";
    let fields = pairs(&[("level", "7"), ("a", "2")]);
    assert_eq!(one(body), (Level::Debug, "third".to_owned(), None, fields));
}

#[test]
fn entry_without_a_message_has_an_empty_one() {
    assert_eq!(one(b"A=1\n\n"), (Level::Info, String::new(), None, pairs(&[("a", "1")])));
    assert_eq!(one(b"MESSAGE=\n\n"), (Level::Info, String::new(), None, vec![]));
    for nothing in [&b""[..], b"\n\n\n", b"__CURSOR=x\n\n", b"__REALTIME_TIMESTAMP=1\nPRIORITY=3\n\n"] {
        assert_eq!(parse(nothing), (vec![], Ok(())), "{nothing:?}");
    }
}

#[test]
fn time_that_is_none_stays_a_field() {
    for time in ["never", "-", "99999999999999999999", ""] {
        let (_, _, at, fields) = one(format!("__REALTIME_TIMESTAMP={time}\nMESSAGE=x\n\n").as_bytes());
        assert_eq!((at, fields), (None, pairs(&[("__realtime_timestamp", time)])), "{time}");
    }
}

#[test]
fn body_may_end_without_the_empty_line_but_not_within_a_value() {
    for end in ["MESSAGE=x\n", "MESSAGE=x"] {
        assert_eq!(one(end.as_bytes()).1, "x");
    }
    let whole = [ENTRY, &binary("MESSAGE", b"0123456789")].concat();
    for end in ENTRY.len() + 1..whole.len() {
        let (entries, outcome) = parse(&whole[..end]);
        assert_eq!((entries.len(), outcome), (1, Err(ExportError::CutField)), "{end}");
    }
}

#[test]
fn lengths_are_checked() {
    for length in [MAX_VALUE_BYTES + 1, 1 << 63, u64::MAX] {
        let body = [ENTRY, b"MESSAGE\n", &length.to_le_bytes(), b"x"].concat();
        let (entries, outcome) = parse(&body);
        assert_eq!((entries.len(), outcome), (1, Err(ExportError::TooLong)));
    }
    let body = [ENTRY, b"MESSAGE\n", &2_u64.to_le_bytes(), b"abc\n\n"].concat();
    assert_eq!(parse(&body).1, Err(ExportError::NoLineEnd));
}

#[test]
fn long_message_is_cut_and_long_fields_are_left_out() {
    for character in ["a", "é", "🎉"] {
        let long = character.repeat(300_000);
        let short = character.repeat(262_144);
        for field in [format!("MESSAGE={long}\n").into_bytes(), binary("MESSAGE", long.as_bytes())] {
            let (_, message, _, fields) = one(&[&field[..], b"\n"].concat());
            assert!(message == short, "{character}");
            assert_eq!(fields, pairs(&[("cut", "300000")]));
        }
    }
    let long = "v".repeat(MAX_FIELDS_BYTES);
    for field in [format!("LONG={long}\n").into_bytes(), binary("LONG", long.as_bytes())] {
        let (.., fields) = one(&[b"MESSAGE=x\nA=1\n", &field[..], b"B=2\n\n"].concat());
        assert_eq!(fields, pairs(&[("a", "1"), ("b", "2"), ("fields_dropped", "1")]));
    }
    let many: String = (0..1000).map(|n| format!("F{n}=v\n")).collect();
    let (.., fields) = one(format!("{many}\n").as_bytes());
    assert_eq!(fields.len(), 129);
    assert_eq!(fields[128], ("fields_dropped".to_owned(), "872".to_owned()));
}

#[test]
fn options_of_the_log_and_names_of_secrets_apply() {
    let body = b"MESSAGE=x\nAPI_KEY=s3cret\nROOT_PASS=s3cret\n_CMDLINE=a b\n_PID=1\nPRIORITY=6\n\
        __REALTIME_TIMESTAMP=1\n\n";
    let dropped = ["_cmdline".to_owned()];
    let rules = ReadRules { dropped_fields: &dropped, ..ReadRules::default() };
    let (entries, _) = parse_with(body, 7, &rules);
    assert_eq!(entries, [(Level::Info, "x".to_owned(), Some(1), pairs(&[("level", "6"), ("_pid", "1")]))]);
    let rules = ReadRules { keeps_fields: false, ..ReadRules::default() };
    let (entries, _) = parse_with(body, 7, &rules);
    assert_eq!(entries, [(Level::Info, "x".to_owned(), None, vec![])]);
}

#[test]
fn memory_does_not_grow_with_the_entry() {
    let rules = stream_rules(&ReadRules::default());
    for field in
        [&b"MESSAGE=abcdefgh\n"[..], b"PRIORITY=abcdefgh\n", b"A=abcdefgh\n", b"__REALTIME_TIMESTAMP=x\n"]
    {
        let mut parser = ExportParser::default();
        for _ in 0..200_000 {
            parser.read(field, &rules).unwrap();
        }
        assert!(parser.memory_bytes() < 512 * 1024, "{}", parser.memory_bytes());
    }
    let mut parser = ExportParser::default();
    for start in [&b"MESSAGE="[..], b"\nFIELD=", b"\nN"] {
        parser.read(start, &rules).unwrap();
        for _ in 0..2000 {
            parser.read(&[b'x'; 4096], &rules).unwrap();
        }
    }
    assert!(parser.memory_bytes() < 4 * 1024 * 1024, "{}", parser.memory_bytes());
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_alike_at_every_cut(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "(MESSAGE|PRIORITY|A|__REALTIME_TIMESTAMP)?[=\n](a|1|\n|\0|\u{8}){0,9}\n?\n?".prop_map(String::into_bytes),
        ],
        piece in 1_usize..40,
    ) {
        let pieces = parse_with(&body, piece, &ReadRules::default());
        prop_assert_eq!(pieces, parse(&body));
    }

    #[test]
    fn every_value_comes_back(
        entries in prop::collection::vec((any::<String>(), prop::collection::vec(any::<String>(), 0..4)), 1..5),
        piece in 1_usize..80,
    ) {
        let mut body = Vec::new();
        for (message, values) in &entries {
            body.extend(binary("MESSAGE", message.as_bytes()));
            for (index, value) in values.iter().enumerate() {
                body.extend(binary(&format!("F{index}"), value.as_bytes()));
            }
            body.push(b'\n');
        }
        let (read, outcome) = parse_with(&body, piece, &ReadRules::default());
        prop_assert_eq!(outcome, Ok(()));
        prop_assert_eq!(read.len(), entries.len());
        for ((_, message, _, fields), (sent, values)) in read.iter().zip(&entries) {
            let named: Vec<_> =
                values.iter().enumerate().map(|(index, value)| (format!("f{index}"), value.clone())).collect();
            prop_assert_eq!((message, fields), (sent, &named));
        }
    }
}
