//! Tests of the formats of Seq.

use proptest::prelude::*;

use super::*;
use crate::ingest::testing::records_of;

fn read_at(path: &str, query: &str, body: &[u8]) -> Result<Vec<String>, String> {
    records_of(&Seq, path, query, body)
}

fn read(body: &str) -> Result<Vec<String>, String> {
    read_at("/ingest/clef", "", body.as_bytes())
}

#[test]
fn lines_of_clef_become_records() {
    for (line, expected) in [
        (
            r#"{"@t":"2026-11-30T06:23:00.384358Z","@m":"a","@l":"Warning","x":1}"#,
            "WARNING a at=2026-11-30T06:23:00.384358Z x=1",
        ),
        (
            r#"{"@t":"2026-11-30T06:23:00Z","@mt":"Hello {User}!","User":"bob"}"#,
            "INFO Hello bob! at=2026-11-30T06:23:00.000000Z template=Hello {User}! User=bob",
        ),
        (
            r#"{"@mt":"{A} {@B} {$C} {D:000} {E,5} {F} {{x}} {}","A":1,"B":{"c":2},"C":"s","D":7,"E":true,"@r":["007"]}"#,
            r#"INFO 1 {"c":2} s 007 true {F} {x} {} template={A} {@B} {$C} {D:000} {E,5} {F} {{x}} {} A=1 B.c=2 C=s D=7 E=true"#,
        ),
        (
            r#"{"@m":"failed","@x":"System.Exception: x\n at y","@l":"Fatal"}"#,
            "CRITICAL failed\nSystem.Exception: x\n at y level=Fatal",
        ),
        (r#"{"@m":"a","@i":"e1","@tr":"t","@@at":"p"}"#, "INFO a @i=e1 @tr=t @at=p"),
        (r#"{"@m":"a","@l":"Noise","@t":"noon"}"#, "INFO a level=Noise @t=noon"),
        (r#"{"@m":"a","level":"error","message":"b"}"#, "INFO a _level=error message=b"),
        (r#"{"message":"a","level":"error"}"#, "ERROR a"),
        (r#"{"@x":"only"}"#, "INFO only"),
    ] {
        assert_eq!(read(line).unwrap(), [expected.to_owned()], "{line}");
    }
    assert_eq!(read("{\"@m\":\"a\"}\n{\"@m\":\"b\"}\n").unwrap(), ["INFO a", "INFO b"]);
    assert_eq!(read("").unwrap(), [""; 0]);
    assert!(read("{\"@m\":\"a\"}\nno").unwrap_err().starts_with("400 Bad Request The event 1 is"));
}

#[test]
fn raw_events_become_records() {
    let body = r#"{"Events": [{"Timestamp": "2026-11-30 06:23:00.384358+00:00", "Level": "WARNING", "MessageTemplate": "E2 seq {0}", "Properties": {"MachineName":"h", "0": "x"}}, {"Level":"Information","RenderedMessage":"r","MessageTemplate":"{t}","Exception":"e"}]}"#;
    assert_eq!(
        read_at("/api/events/raw", "", body.as_bytes()).unwrap(),
        [
            "WARNING E2 seq x at=2026-11-30T06:23:00.384358Z template=E2 seq {0} MachineName=h 0=x",
            "INFO r\ne level=Information template={t}",
        ]
    );
    assert_eq!(read(r#"{"Events":[]}"#).unwrap(), [""; 0]);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body: Vec<u8>, near in "(\\{\"@mt\":|\\{\"Events\":\\[|\\{|\\}|\\]|\"a\\{b\\}\"|,|null|\n){0,12}", template in "\\PC{0,20}") {
        for body in [&body[..], near.as_bytes()] {
            drop(read_at("/ingest/clef", "", body));
        }
        drop(render(&template, &[("a".into(), Value::Number("1"))], Some("[1]")));
    }

    #[test]
    fn any_messages_come_back(texts in prop::collection::vec("\\PC{1,20}x", 1..6)) {
        let body: String = texts.iter().map(|text| format!("{}\n", serde_json::json!({ "@m": text }))).collect();
        let expected: Vec<String> = texts.iter().map(|text| format!("INFO {text}")).collect();
        prop_assert_eq!(read(&body).unwrap(), expected);
    }
}
