//! Tests of events and raw lines.

use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::ingest::testing::records_of;

fn read_at(path: &str, query: &str, body: &[u8]) -> Result<Vec<String>, String> {
    records_of(&Hec, path, query, body)
}

const EVENT: &str = "/services/collector/event";

fn read(body: &str) -> Result<Vec<String>, String> {
    read_at(EVENT, "", body.as_bytes())
}

fn one(body: &str) -> String {
    let mut lines = read(body).unwrap();
    assert_eq!(lines.len(), 1, "{body}");
    lines.remove(0)
}

#[test]
fn event_and_its_envelope_become_one_record() {
    for (body, expected) in [
        (r#"{"event":"a"}"#, "INFO a"),
        (
            r#"{"event": "E3 splunk", "host":"h", "index": "main", "source": "/m.py", "sourcetype": "text", "time": 1796019784.0087388}"#,
            "INFO E3 splunk at=2026-11-30T06:23:04.008738Z host=h index=main source=/m.py sourcetype=text",
        ),
        (r#"{"event":"a","time":"1796019784.5"}"#, "INFO a at=2026-11-30T06:23:04.500000Z"),
        (r#"{"event":"a","time":"noon"}"#, "INFO a time=noon"),
        (r#"{"event":5}"#, "INFO 5"),
        (r#"{"event":false}"#, "INFO false"),
        (r#"{"event":[1,2]}"#, "INFO [1,2]"),
        (r#"{"event":{"message":"m","severity":"error","user":"u"},"host":"h"}"#, "ERROR m user=u host=h"),
        (r#"{"event":{"a":1,"b":"x"}}"#, r#"INFO {"a":1,"b":"x"} a=1 b=x"#),
        (
            r#"{"event":{"message":"m","host":"own"},"host":"h","fields":{"host":"f","x":1}}"#,
            "INFO m host=own hec.host=f x=1",
        ),
        (r#"{"event":"a","fields":{"level":"warn","app":"x","list":[1]}}"#, "WARNING a app=x list=[1]"),
        (
            r#"{"event":{"line":"from docker","source":"stdout","tag":"t"},"host":"h","source":"s"}"#,
            "INFO from docker source=stdout tag=t host=h hec.source=s",
        ),
        (
            r#"{"event":{"line":{"msg":"inner","level":"error"},"source":"stderr"}}"#,
            "ERROR inner source=stderr",
        ),
        (r#"{"event":"{\"message\":\"text stays text\"}"}"#, r#"INFO {"message":"text stays text"}"#),
        (r#"{"event":{"message":"m","v":NaN}}"#, "INFO m v=NaN"),
    ] {
        assert_eq!(one(body), expected, "{body}");
    }
}

#[test]
fn events_stand_behind_each_other() {
    for between in ["", " ", "\n", "\r\n", ",", "\r\n\r\n"] {
        let body = [r#"{"event":"a"}"#, r#"{"event":"b"}"#, r#"{"event":"c"}"#].join(between);
        assert_eq!(read(&body).unwrap(), ["INFO a", "INFO b", "INFO c"], "{between:?}");
    }
}

#[test]
fn errors_have_the_numbers_of_splunk() {
    for (body, text, code) in [
        ("", "No data", 5),
        (" \n", "No data", 5),
        ("no json", "Invalid data format in event 0", 6),
        (r#"{"event":"a"}{"event":"#, "Invalid data format in event 1", 6),
        (r#"{"host":"a"}"#, "Event field is required in event 0", 12),
        (r#"{"event":null}"#, "Event field is required in event 0", 12),
        (r#"{"event":"a"}{"event":""}"#, "Event field cannot be blank in event 1", 13),
    ] {
        assert_eq!(read(body).unwrap_err(), format!("400 Bad Request {text}"), "{body}");
        let headers = HeaderMap::new();
        let head = RequestHead { route: &ROUTES[1], path: EVENT, query: None, headers: &headers };
        let (status, cause) = (StatusCode::BAD_REQUEST, RefusalCause::Malformed);
        let refusal =
            RefusedRequest { status, cause, code: Some(code), detail: text, reason: None, retry_after: None };
        let reply = Hec.refuse(&head, &refusal).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
        let (text, number) = split_number(text);
        assert_eq!((answer["text"].as_str(), answer["code"].as_u64()), (Some(text), Some(u64::from(code))));
        assert_eq!(answer["invalid-event-number"].as_u64(), number.map(|number| number as u64));
    }
}

#[test]
fn raw_lines_stay_text_and_have_the_fields_of_the_query() {
    let lines =
        read_at("/services/collector/raw", "host=h&channel=c&sourcetype=s", b"a\r\n\n{\"message\":1}\nc")
            .unwrap();
    assert_eq!(
        lines,
        [
            "INFO a host=h sourcetype=s",
            r#"INFO {"message":1} host=h sourcetype=s"#,
            "INFO c host=h sourcetype=s"
        ]
    );
    assert_eq!(read_at("/raw/1.0", "", b"\n").unwrap_err(), "400 Bad Request No data");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body: Vec<u8>, near in "(\\{\"event\":|\\{|\\}|\"a\"|\"line\":|,|null|\n){0,12}") {
        for body in [&body[..], near.as_bytes()] {
            for path in [EVENT, "/services/collector/raw"] {
                drop(read_at(path, "host=h", body));
            }
        }
    }

    #[test]
    fn any_events_come_back(texts in prop::collection::vec("\\PC{1,20}x", 1..6)) {
        let body: String = texts.iter().map(|text| serde_json::json!({ "event": text }).to_string()).collect();
        let expected: Vec<String> = texts.iter().map(|text| format!("INFO {text}")).collect();
        prop_assert_eq!(read(&body).unwrap(), expected);
    }
}
