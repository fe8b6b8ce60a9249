//! Tests of the entries that are made of the members of senders.

use super::*;
use crate::ingest::json::scanner::Scanner;
use crate::ingest::level_names::Scale;
use crate::record::Entry;
use proptest::prelude::*;

/// Reads one JSON object and returns `LEVEL message | NAME=VALUE …`, or the error.
fn read_with(text: &str, rules: &ReadRules<'_>) -> String {
    let mut scanner = Scanner::new(text);
    let mut reader = EntryReader::default();
    let members = scanner.object(|scanner, name| {
        reader.add(name, scanner.value()?);
        Ok(())
    });
    assert_eq!(members, Ok(()), "{text}");
    finish(reader, rules)
}

fn finish<'a>(mut reader: EntryReader<'a>, rules: &ReadRules<'_>) -> String {
    let mut batch = Batch::default();
    match reader.finish(rules, None, &mut batch) {
        Ok(()) => shown(&batch.entries(Level::Debug)[0]),
        Err(error) => error.to_string(),
    }
}

fn shown(entry: &Entry<'_>) -> String {
    let mut text = format!("{} {}", entry.level, entry.message);
    if entry.has_fields() {
        text.push_str(" |");
    }
    if let Some(at) = entry.at {
        text.push_str(&format!(" at={}", String::from_utf8_lossy(&at.rfc3339())));
    }
    for field in entry.fields {
        text.push_str(&format!(" {}={}", field.name(), field.value()));
    }
    text
}

fn read(text: &str) -> String {
    read_with(text, &ReadRules::default())
}

/// Reads the fields of a form.
fn read_form(form: &str) -> String {
    let mut reader = EntryReader::default();
    for (name, value) in form_urlencoded::parse(form.as_bytes()) {
        reader.add_text(name, value);
    }
    finish(reader, &ReadRules::default())
}

#[test]
fn message_is_found_under_many_names_and_the_rest_are_fields() {
    for (text, expected) in [
        (r#"{"message":"a"}"#, "INFO a"),
        (r#"{"msg":"a","level":"warn"}"#, "WARNING a"),
        (r#"{"x":1,"msg":"b","message":"a","y":2}"#, "INFO a | x=1 msg=b y=2"),
        (r#"{"message":"","msg":"b"}"#, "INFO  | msg=b"),
        (r#"{"message":null,"msg":"b"}"#, "INFO b"),
        (r#"{"message":{"a":1}}"#, r#"INFO {"a":1}"#),
        (r#"{"message":[1, 2]}"#, "INFO [1, 2]"),
        (r#"{"message":true}"#, "INFO true"),
        (r#"{"message":-0.50}"#, "INFO -0.50"),
        (r#"{"event":"e","text":"t"}"#, "INFO t | event=e"),
        (r#"{"event":"e","text":1}"#, "INFO e | text=1"),
        (r#"{"log":{"level":"error"},"m":"x"}"#, "ERROR x"),
        (r#"{"MESSAGE":"x","@m":"y"}"#, "INFO x | @m=y"),
        (r#"{"user":"bob"}"#, "INFO  | user=bob"),
        (
            r#"{"message":"a","n":null,"o":{},"p":[],"q":{"r":{"s":1e400}},"t":false}"#,
            "INFO a | o={} p=[] q.r.s=1e400 t=false",
        ),
        (r#"{"message":"a","api_key":"k","root_pass":"r","dry_run":1,"idempotency_key":"i"}"#, "INFO a"),
        (
            r#"{"message":"a","x":1,"x":2,"at":"never","level_":1,"cut":5}"#,
            "INFO a | x=2 _at=never level_=1 _cut=5",
        ),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
    for nothing in
        [r#"{}"#, r#"{"level":"error"}"#, r#"{"api_key":"k","time":1795410148}"#, r#"{"message":null}"#]
    {
        assert!(read(nothing).starts_with("The message is missing"), "{nothing}");
    }
}

#[test]
fn level_is_read_as_the_sender_means_it() {
    for (text, expected) in [
        (r#"{"m":"x","level":"FATAL"}"#, "CRITICAL x | level=FATAL"),
        (r#"{"m":"x","level":" Warning "}"#, "WARNING x"),
        (r#"{"m":"x","level":3.0}"#, "ERROR x"),
        (r#"{"m":"x","level":"3"}"#, "ERROR x"),
        (r#"{"m":"x","level":35}"#, "INFO x | level=35"),
        (r#"{"m":"x","level":60}"#, "CRITICAL x | level=60"),
        (r#"{"m":"x","level":550}"#, "CRITICAL x | level=550"),
        (r#"{"m":"x","level":"noise"}"#, "INFO x | level=noise"),
        (r#"{"m":"x","level":""}"#, "INFO x | level="),
        (r#"{"m":"x","level":true}"#, "INFO x | level=true"),
        (r#"{"m":"x","level":[1]}"#, "INFO x | level=[1]"),
        (r#"{"m":"x","level":{}}"#, "INFO x | level={}"),
        (r#"{"m":"x","level":40,"levelno":40}"#, "ERROR x | level=40 levelno=40"),
        (r#"{"m":"x","level":40,"levelname":"WARN"}"#, "WARNING x"),
        (r#"{"m":"x","level":250,"level_name":"NOTICE"}"#, "INFO x | level=NOTICE"),
        (r#"{"m":"x","level":420,"level_name":"AUDIT"}"#, "ERROR x | level=AUDIT"),
        (r#"{"m":"x","severity":"ERROR","priority":3}"#, "ERROR x | priority=3"),
        (r#"{"m":"x","severity":3}"#, "INFO x | severity=3"),
        (r#"{"m":"x","severity":"P1","lvl":"crit"}"#, "CRITICAL x | level=crit severity=P1"),
        (r#"{"m":"x","levelname":"SPAM","levelno":5}"#, "DEBUG x | level=SPAM"),
        (r#"{"m":"x","levelno":30}"#, "WARNING x | level=30"),
        (r#"{"m":"x","log.level":"debug"}"#, "DEBUG x"),
        (r#"{"m":"x","@l":"Fatal","p":"low"}"#, "CRITICAL x | level=Fatal p=low"),
        (r#"{"m":"x","level":{"name":"ERROR","no":40,"icon":"i"}}"#, "ERROR x | level.icon=i"),
        (r#"{"m":"x","level":{"value":30}}"#, "INFO x | level=30"),
        (r#"{"m":"x","level":{"no":30}}"#, "WARNING x | level=30"),
        (r#"{"m":"x","level":{"name":"AUDIT","no":35}}"#, "WARNING x | level=AUDIT"),
        (r#"{"m":"x","level":{"name":"AUDIT"}}"#, "INFO x | level=AUDIT"),
        (
            r#"{"m":"x","record":{"level":{"name":"SUCCESS","no":25}}}"#,
            "INFO x | level=SUCCESS record.level.no=25",
        ),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
    let long = "é".repeat(1_000_000);
    let expected = format!("INFO x | level={}", "é".repeat(128));
    assert_eq!(read(&format!(r#"{{"m":"x","level":"{long}"}}"#)), expected);
    assert_eq!(read(&format!(r#"{{"m":"x","level":{{"name":"{long}"}}}}"#)), expected);
    let syslog = ReadRules { scale: Scale::Syslog, ..ReadRules::default() };
    assert_eq!(read_with(r#"{"m":"x","level":0}"#, &syslog), "CRITICAL x");
    assert_eq!(read_with(r#"{"m":"x","level":7}"#, &syslog), "DEBUG x | level=7");
    let pino = ReadRules { scale: Scale::Pino, ..ReadRules::default() };
    assert_eq!(read_with(r#"{"m":"x","level":100}"#, &pino), "CRITICAL x | level=100");
}

#[test]
fn time_of_the_sender_is_read_from_the_first_name_that_has_one() {
    for (text, expected) in [
        (r#"{"m":"x","ts":1795410148.1,"time":"noon"}"#, "INFO x | at=2026-11-23T05:02:28.100000Z time=noon"),
        (
            r#"{"m":"x","time":1795410148100,"at":"2026-01-01T00:00:00Z"}"#,
            "INFO x | at=2026-01-01T00:00:00.000000Z time=1795410148100",
        ),
        (
            r#"{"m":"x","instant":{"epochSecond":1795410148,"nanoOfSecond":839707396}}"#,
            "INFO x | at=2026-11-23T05:02:28.839707Z",
        ),
        (r#"{"m":"x","instant":{"epochSecond":"soon"}}"#, "INFO x | instant.epochSecond=soon"),
        (r#"{"m":"x","date":"2026-11-23"}"#, "INFO x | date=2026-11-23"),
        (r#"{"m":"x","datetime":"2026-11-23T05:02:28+00:00"}"#, "INFO x | at=2026-11-23T05:02:28.000000Z"),
        (r#"{"m":"x","date":"1795410148"}"#, "INFO x | at=2026-11-23T05:02:28.000000Z"),
        (r#"{"m":"x","created":1795410148}"#, "INFO x | created=1795410148"),
        (r#"{"m":"x","time":5}"#, "INFO x | time=5"),
        (
            r#"{"text":"x","record":{"time":{"repr":"2026-11-23 05:02:28+00:00","timestamp":1795410148.1}}}"#,
            "INFO x | at=2026-11-23T05:02:28.100000Z record.time.repr=2026-11-23 05:02:28+00:00",
        ),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn options_leave_fields_out_and_cut_messages() {
    let none = ReadRules { keeps_fields: false, ..ReadRules::default() };
    assert_eq!(read_with(r#"{"m":"x","level":"fatal","time":1795410148,"a":1}"#, &none), "CRITICAL x");
    assert!(read_with(r#"{"a":1}"#, &none).starts_with("The message is missing"));
    let dropped = ["password".to_owned(), "http.headers".to_owned()];
    let some = ReadRules { dropped_fields: &dropped, ..ReadRules::default() };
    let text = r#"{"m":"x","password":1,"passwords":2,"http":{"headers":{"a":1},"x":3},"http.headers":4}"#;
    assert_eq!(read_with(text, &some), "INFO x | passwords=2 http.x=3");
    let args = [("app".to_owned(), crate::config::ArgValue::Present)];
    let required = ReadRules { required_args: &args, ..ReadRules::default() };
    assert_eq!(read_with(r#"{"m":"x","app":"a","apps":1}"#, &required), "INFO x | apps=1");
    let short = ReadRules { max_message_chars: 3, ..ReadRules::default() };
    assert_eq!(
        read_with(r#"{"m":"éééé"}"#, &short),
        "The message has 4 characters, and at most 3 are allowed"
    );
    let cut = ReadRules { cuts_messages: true, ..short };
    assert_eq!(read_with(r#"{"m":"éééé","a":1}"#, &cut), "INFO ééé | a=1 cut=4");
    assert_eq!(read_with(r#"{"m":"\n\n\n\n"}"#, &cut), "INFO \n\n\n | cut=4");
}

#[test]
fn changes_and_marks_are_counted() {
    let mut reader = EntryReader::default();
    let mut batch = Batch::default();
    let cut = ReadRules { max_message_chars: 1, cuts_messages: true, ..ReadRules::default() };
    reader.add("m".into(), Some(Value::Text("xy".into())));
    reader.add("level".into(), Some(Value::Text("noise".into())));
    reader.mark_repaired();
    reader.mark_unparsed();
    for number in 0..130 {
        reader.add(format!("n{number}").into(), Some(Value::Number("1")));
    }
    reader.finish(&cut, None, &mut batch).unwrap();
    reader.add("m".into(), Some(Value::Text("z".into())));
    reader.finish(&cut, None, &mut batch).unwrap();
    let entries = batch.entries(Level::Debug);
    assert!(shown(&entries[0]).ends_with(" n127=1 cut=2 utf8=replaced parse=failed fields_dropped=2"));
    assert_eq!(shown(&entries[1]), "INFO z");
    let changes = batch.changes;
    assert_eq!((changes.unknown_levels, changes.cut_messages), (1, 1));
    assert_eq!((changes.dropped_fields, changes.replaced_texts), (2, 1));
}

#[test]
fn record_of_pythons_http_handler_is_formatted() {
    let standard = "name=app.module&levelname=ERROR&levelno=40&pathname=%2Fa%2Fb.py&filename=b.py&module=b\
                    &stack_info=None&lineno=7&funcName=f&created=1795410148.1&msecs=100.0&relativeCreated=5\
                    &thread=1&threadName=MainThread&processName=MainProcess&process=9&taskName=None";
    let fields = "at=2026-11-23T05:02:28.100000Z logger=app.module file=/a/b.py line=7 function=f thread=MainThread process=9";
    let form = format!(
        "msg=user+%25s+took+%25d&args=%28%27bob%27%2C+12%29&exc_info=None&exc_text=None&{standard}&user=u"
    );
    assert_eq!(read_form(&form), format!("ERROR user bob took 12 | {fields} user=u"));
    let failed = "exc_info=%28tuple%29&exc_text=Traceback%0AValueError";
    let form = format!("msg=m&args=%28%29&{failed}&{standard}");
    assert_eq!(read_form(&form), format!("ERROR m\nTraceback\nValueError | {fields}"));
    let form = format!("msg=m+%25s&args=%28%3Cobject%3E%2C%29&{standard}");
    assert_eq!(read_form(&form), format!("ERROR m %s | {fields} args=(<object>,)"));
    let custom = standard.replace("levelname=ERROR", "levelname=AUDIT");
    assert_eq!(
        read_form(&format!("msg=m&args=%28%29&{custom}")),
        format!("ERROR m | {}", fields.replace("logger", "level=AUDIT logger"))
    );
}

#[test]
fn first_value_of_a_form_that_is_not_blank_counts() {
    assert_eq!(read_form("message=&message=a&message=b&level=&level=error&level=0"), "ERROR a");
    assert_eq!(read_form("message="), "INFO ");
    assert_eq!(read_form("message=&msg=b"), "INFO b");
    assert_eq!(read_form("x=1&message=a&msg=b&x=2&level="), "INFO a | msg=b x=2");
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let text = "[a-c=|\\\\\" \n\u{85}\u{2028}é]{0,6}|( \\\\\\| )?(at|level|cut)=x";
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        text.prop_map(Into::into),
    ];
    let name = "message|msg|level|time|at|severity|[a-c=| \\\\\"\n.]{0,3}";
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(name, inner, 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn plain_entries_are_read_as_all_others(
        members in prop::collection::vec(
            (r#"message|msg|level|api_key|x"#, r#"[0-9]|3\.0|null|\{\}|"(|a{1,12}|[0-7]|warn|Error|fatal| 1 |none)""#),
            0..4,
        ),
        scale in prop::sample::select(vec![Scale::Auto, Scale::Python, Scale::Syslog]),
        default_level in prop::option::of("[0-9]|error"),
    ) {
        let rules = ReadRules { scale, max_message_chars: 8, ..ReadRules::default() };
        let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let text = format!("{{{}}}", members.join(","));
        let default_level = default_level.map(Cow::Owned);
        let mut batches = [Batch::default(), Batch::default()];
        let [whole, stepwise] = &mut batches;
        let reader = || {
            let mut reader = EntryReader::default();
            let read = Scanner::new(&text).object(|scanner, name| {
                reader.add(name, scanner.value()?);
                Ok(())
            });
            assert_eq!(read, Ok(()));
            reader
        };
        let outcome = reader().finish(&rules, default_level.clone(), whole);
        let mut reader = reader();
        let mut members = std::mem::take(&mut reader.members);
        prop_assert_eq!(outcome, reader.finish_with(&mut members, &rules, default_level, stepwise), "{}", text);
        prop_assert_eq!(&batches[0], &batches[1], "{}", text);
    }

    #[test]
    fn any_object_becomes_one_line_and_the_same_record_again(json in any_json(), message in any_json()) {
        let object = match json {
            serde_json::Value::Object(object) => object,
            other => [("message".to_owned(), message), ("x".to_owned(), other)].into_iter().collect(),
        };
        let text = serde_json::Value::Object(object).to_string();
        let mut reader = EntryReader::default();
        let read = Scanner::new(&text).object(|scanner, name| {
            reader.add(name, scanner.value()?);
            Ok(())
        });
        prop_assert_eq!(read, Ok(()));
        let mut batch = Batch::default();
        if reader.finish(&ReadRules::default(), None, &mut batch).is_ok() {
            crate::record::fuzzing::entry_comes_back(&batch.first().unwrap());
        }
    }
}

#[test]
fn parts_that_the_dialect_gives_come_first_and_others_are_fields() {
    let mut reader = EntryReader::default();
    reader.add("message".into(), Some(Value::Text("own".into())));
    reader.add("time".into(), Some(Value::Number("5")));
    reader.add("level".into(), Some(Value::Number("4")));
    reader.add_field("severity".into(), Value::Text("error".into()));
    reader.set_message("given".into());
    reader.set_time(SenderTime::from_micros(0).unwrap());
    reader.set_read_level(Level::Warning, Some("WARN3".into()));
    let line = finish(reader, &ReadRules::default());
    assert_eq!(
        line,
        "WARNING given | at=1970-01-01T00:00:00.000000Z level=WARN3 time=5 severity=error message=own _level=4"
    );
}

#[test]
fn outer_members_give_way_to_those_of_the_entry() {
    let mut reader = EntryReader::default();
    reader.add("message".into(), Some(Value::Text("own".into())));
    reader.add("host".into(), Some(Value::Text("a".into())));
    for (name, value) in [("host", "b"), ("source", "c"), ("message", "d"), ("level", "error")] {
        reader.add_outer(name.into(), Value::Text(value.into()), "hec");
    }
    assert_eq!(finish(reader, &ReadRules::default()), "ERROR own | host=a hec.host=b source=c hec.message=d");
    let mut reader = EntryReader::default();
    reader.add("level".into(), Some(Value::Text("debug".into())));
    reader.add_outer("level".into(), Value::Text("error".into()), "hec");
    reader.add_outer("text".into(), Value::Text("only".into()), "hec");
    assert!(!reader.has_message());
    assert_eq!(finish(reader, &ReadRules::default()), "DEBUG only | hec.level=error");
}
