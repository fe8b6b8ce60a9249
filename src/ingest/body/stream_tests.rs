use proptest::prelude::*;

use super::*;
use crate::ingest::body::memory::{OutOfMemory, Unlimited};
use crate::ingest::text::decode;
use crate::record::{Entry, Level};

const TEXT: Shape = Shape { is_declared: false, is_one_text: false };
const LINES: Shape = Shape { is_declared: true, is_one_text: false };
const ONE: Shape = Shape { is_declared: true, is_one_text: true };

fn shown(entry: &Entry<'_>) -> String {
    let fields = entry.fields.iter().map(|field| format!(" {}={}", field.name(), field.value()));
    format!("{}{}", entry.message, fields.collect::<String>())
}

fn read(body: &[u8], shape: Shape) -> Result<Vec<String>, IngestError> {
    let decoded = decode(body, None, &Unlimited).unwrap();
    let text = BodyText { text: &decoded.text, replaced: &decoded.replaced };
    let batch = read_records(text, shape, &ReadRules::default(), &Unlimited)?;
    Ok(batch.entries(Level::Debug).iter().map(shown).collect())
}

fn records(body: &str, shape: Shape) -> Vec<String> {
    read(body.as_bytes(), shape).unwrap()
}

#[test]
fn array_keeps_elements_that_are_no_objects_as_text() {
    let body = r#" [{"message":"a","n":1},"text",12,null,true,[1, 2],{},{"level":"error"}, {"user":"bob"}] "#;
    let expected =
        ["a n=1", "text", "12", "null", "true", "[1, 2]", "{}", r#"{"level":"error"}"#, " user=bob"];
    for shape in [TEXT, LINES, ONE] {
        assert_eq!(records(body, shape), expected);
    }
    assert_eq!(records("[]", ONE), [""; 0]);
    assert_eq!(records(r#"[{"message":"a","x":NaN},{"message":NaN}]"#, ONE), ["a x=NaN", "NaN"]);
}

#[test]
fn broken_array_is_refused_as_json_and_kept_as_text() {
    for broken in ["[", "[1,]", r#"[{"message":"a"}"#, "[1] x"] {
        assert!(matches!(read(broken.as_bytes(), ONE), Err(IngestError::NotAnObject { .. })), "{broken}");
        assert_eq!(records(broken, TEXT), [broken]);
    }
    assert_eq!(records("[INFO] one\n[WARN] two\n", TEXT), ["[INFO] one", "[WARN] two"]);
    assert_eq!(records("[1]\n{\"msg\":\"a\"}", LINES), ["[1]", "a"]);
}

#[test]
fn objects_stand_one_a_line_or_behind_each_other() {
    let expected = ["a", "b x=1", "c"];
    for body in [
        "{\"msg\":\"a\"}\n{\"msg\":\"b\",\"x\":1}\n{\"msg\":\"c\"}\n",
        "{\"msg\":\"a\"}\r\n\r\n{\"msg\":\"b\",\"x\":1}\r\n \n{\"msg\":\"c\"}",
        "{\"msg\":\"a\"}{\"msg\":\"b\",\"x\":1} {\"msg\":\"c\"}",
        "\u{1e}{\"msg\":\"a\"}\n\u{1e}{\"msg\":\"b\",\"x\":1}\n\u{1e}{\"msg\":\"c\"}\n",
        "{\"msg\":\"a\"},\n{\"msg\":\"b\",\n \"x\":1},\n{\"msg\":\"c\"},\n",
    ] {
        for shape in [TEXT, LINES, ONE] {
            assert_eq!(records(body, shape), expected, "{body:?}");
        }
    }
}

#[test]
fn line_that_is_no_json_is_text_and_marked_in_a_body_declared_as_json() {
    let body = "{\"msg\":\"a\"}\nnot json\n{\"msg\":\n\"quoted\"\n{\"msg\":\"b\"} rest\n 12 \n";
    assert_eq!(
        records(body, LINES),
        ["a", "not json parse=failed", "{\"msg\": parse=failed", "quoted", "b", "rest parse=failed", "12"]
    );
    assert_eq!(records(body, TEXT), ["a", "not json", "{\"msg\":", "\"quoted\"", "b", "rest", "12 "]);
}

#[test]
fn text_is_one_record_a_line() {
    let body = "one\r\n  two \n\n{\"msg\":\"three\",\"a\":1}\n{\"msg\":\"four\"} five\n{\"x\":NaN,\"msg\":\"six\"}\nNaN\nlast";
    let expected = ["one", "  two ", "three a=1", "{\"msg\":\"four\"} five", "six x=NaN", "NaN", "last"];
    assert_eq!(records(body, TEXT), expected);
    assert_eq!(records("a\rb\n", TEXT), ["a\rb"]);
    assert_eq!(records("\n\r\n", TEXT), [""; 0]);
}

#[test]
fn broken_utf8_marks_the_records_that_it_changed() {
    let lines = b"{\"msg\":\"a\"}\n{\"msg\":\"b\xff\"}\n\xff\n{\"msg\":\"\xef\xbf\xbd\"}\n";
    let expected = ["a", "b\u{fffd} utf8=replaced", "\u{fffd} utf8=replaced", "\u{fffd}"];
    assert_eq!(read(lines, TEXT).unwrap(), expected);
    let array = b"[{\"msg\":\"a\"},{\"msg\":\"b\xff\"},\"\xff\",\"\xef\xbf\xbd\"]";
    assert_eq!(read(array, ONE).unwrap(), expected);
    let with_nan = b"{\"msg\":\"a\xff\",\"x\":NaN}\n{\"msg\":\"b\",\"x\":NaN}\n";
    assert_eq!(read(with_nan, LINES).unwrap(), ["a\u{fffd} x=NaN utf8=replaced", "b x=NaN"]);
}

#[test]
fn long_message_is_cut() {
    let long = "é".repeat(MIN_CUT_CHARS + 5);
    for body in [long.clone(), format!("{{\"msg\":\"{long}\"}}"), format!("[\"{long}\"]")] {
        let records = records(&body, TEXT);
        let expected = format!("{} cut={}", "é".repeat(MIN_CUT_CHARS), MIN_CUT_CHARS + 5);
        assert!(records == [expected], "{} bytes", body.len());
    }
    let whole = "x".repeat(MIN_CUT_CHARS);
    assert!(records(&whole, TEXT) == [whole]);
}

#[test]
fn number_of_records_is_bounded() {
    for (one, all) in [("{\"m\":1}\n", ""), ("x\n", ""), ("1,", "[")] {
        let body = |count: usize| {
            format!("{all}{}1{}", one.repeat(count - 1), if all.is_empty() { "" } else { "]" })
        };
        assert_eq!(records(&body(MAX_RECORDS), TEXT).len(), MAX_RECORDS);
        assert_eq!(read(body(MAX_RECORDS + 1).as_bytes(), TEXT), Err(IngestError::TooManyRecords));
    }
}

#[test]
fn memory_of_entries_is_taken_before_it_is_used() {
    struct Limited(std::sync::atomic::AtomicUsize);
    impl BodyMemory for Limited {
        fn take(&self, bytes: usize) -> Result<(), OutOfMemory> {
            let before = self.0.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            if before + bytes > 4_000_000 { Err(OutOfMemory::Ever(4_000_000)) } else { Ok(()) }
        }
    }
    let text = "{\"a\":1,\"b\":2,\"c\":3}\n".repeat(50_000);
    let memory = Limited(std::sync::atomic::AtomicUsize::new(0));
    let text = BodyText { text: &text, replaced: &Replaced::NONE };
    let refused = read_records(text, TEXT, &ReadRules::default(), &memory);
    assert_eq!(refused.unwrap_err(), IngestError::Memory(OutOfMemory::Ever(4_000_000)));
}

#[test]
fn many_broken_objects_are_read_in_linear_time() {
    let body = "{\"a\":[1,\n".repeat(100_000);
    assert_eq!(records(&body, LINES).len(), 100_000);
    let one_line = format!("{{\n{}", "{\"m\":1}".repeat(100_000));
    assert_eq!(records(&one_line, LINES).len(), 100_001);
}

proptest! {
    #[test]
    fn any_objects_come_back_in_every_shape(messages in prop::collection::vec(any::<String>(), 1..20), declared: bool) {
        let objects: Vec<String> = messages.iter().map(|message| serde_json::json!({"message": message}).to_string()).collect();
        let shape = if declared { ONE } else { TEXT };
        for body in [objects.join("\n"), objects.join(""), format!("[{}]", objects.join(",")), objects.join("\r\n") + "\r\n"] {
            prop_assert_eq!(&records(&body, shape), &messages);
        }
    }

    #[test]
    fn any_lines_come_back(lines in prop::collection::vec("[^\\{\\[\r\n\\pC][^\r\n\\pC]{0,20}", 1..20), crlf: bool) {
        let lines: Vec<String> = lines.into_iter().filter(|line| !line.trim_ascii().is_empty()).collect();
        let body = lines.join(if crlf { "\r\n" } else { "\n" });
        prop_assume!(!matches!(skip_space(body.as_bytes()).first(), Some(b'{' | b'[')));
        let lines: Vec<String> = lines.into_iter().filter(|line| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line).is_err()).collect();
        prop_assert_eq!(records(&body, TEXT), lines);
    }

    #[test]
    fn any_text_is_read(text in r#"([\[\]{},:"\n\r \\a1]|\{"a":1\}|NaN|null|"msg"|\x1e){0,40}"#, which in 0..3_usize) {
        let shape = [TEXT, LINES, ONE][which];
        match read(text.as_bytes(), shape) {
            Ok(records) => prop_assert!(records.len() <= text.len()),
            Err(error) => {
                let is_malformed = matches!(error, IngestError::NotAnObject { .. });
                prop_assert!(shape == ONE && is_malformed);
            }
        }
    }
}
