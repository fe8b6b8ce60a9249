//! Tests of the push API of Loki.

use http::header::CONTENT_TYPE;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::ingest::body::memory::{BodyMemory, OutOfMemory, Unlimited};
use crate::ingest::body::received::BodyTexts;
use crate::ingest::entry::read_rules::ReadRules;
use crate::record::{Entry, Level};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<StreamAdapter>,
    #[prost(string, tag = "2")]
    format: String,
}

#[derive(Clone, PartialEq, Message)]
struct StreamAdapter {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<EntryAdapter>,
    #[prost(uint64, tag = "3")]
    hash: u64,
}

#[derive(Clone, PartialEq, Message)]
struct EntryAdapter {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(bytes = "vec", tag = "2")]
    line: Vec<u8>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<LabelPair>,
    #[prost(message, repeated, tag = "4")]
    parsed: Vec<LabelPair>,
}

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

fn pair(name: &str, value: &str) -> LabelPair {
    LabelPair { name: name.to_owned(), value: value.to_owned() }
}

fn entry(line: &str) -> EntryAdapter {
    let timestamp = Some(Timestamp { seconds: 1_795_410_148, nanos: 100_000_000 });
    EntryAdapter { timestamp, line: line.as_bytes().to_vec(), ..EntryAdapter::default() }
}

fn push(labels: &str, entries: Vec<EntryAdapter>) -> PushRequest {
    let stream = StreamAdapter { labels: labels.to_owned(), entries, hash: 7 };
    PushRequest { streams: vec![stream], format: "x".to_owned() }
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

fn shown(entry: &Entry<'_>) -> String {
    let at = entry.at.map(|at| format!(" at={}", String::from_utf8(at.rfc3339().to_vec()).unwrap()));
    let fields = entry.fields.iter().map(|field| format!(" {}={}", field.name(), field.value()));
    let fields: String = at.into_iter().chain(fields).collect();
    let bar = if fields.is_empty() { "" } else { " |" };
    format!("{} {}{bar}{fields}", entry.level.as_str(), entry.message)
}

fn read_with(
    headers: &[(http::HeaderName, &str)],
    body: &[u8],
    memory: &dyn BodyMemory,
) -> Result<Vec<String>, IngestError> {
    let headers: HeaderMap =
        headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
    let texts = BodyTexts::default();
    let body = ReceivedBody::new(&headers, body, &texts, memory);
    let route = &ROUTES[0];
    let head = RequestHead { route, path: route.path, query: None, headers: &headers };
    let request = IngestRequest { head, body, rules: ReadRules::default() };
    let batch = Loki.entries(&request, Params::without_body(None, &headers))?;
    Ok(batch.entries(Level::Debug).iter().map(shown).collect())
}

fn read(content_type: &str, body: &[u8]) -> Result<Vec<String>, String> {
    read_with(&[(CONTENT_TYPE, content_type)], body, &Unlimited).map_err(|error| error.to_string())
}

#[test]
fn json_of_both_formats_is_read() {
    let at = "at=2026-11-23T05:02:28.100000Z";
    for (text, expected) in [
        (
            r#"{"streams":[{"stream":{"app":"x","severity":"error","k":"v"},"values":[["1795410148100000000","one"],["1795410148100000000","two",{"trace":"t","n":1}]]}]}"#,
            &["ERROR one | AT app=x k=v", "ERROR two | AT app=x k=v trace=t n=1"][..],
        ),
        (
            r#" {"a":[1],"streams":[{"values":[["1795410148100","{\"message\":\"text\"}",null]],"stream":{"message":"m","msg":"n","time":"1","level":"warn"}}]}"#,
            &[r#"WARNING {"message":"text"} | AT message=m msg=n time=1"#],
        ),
        (
            r#"{"streams":[{"labels":"{app=\"x\", level=\"fatal\"}","entries":[{"ts":"2026-11-23T05:02:28.1Z","line":"old"}]}]}"#,
            &["CRITICAL old | AT level=fatal app=x"],
        ),
        (
            r#"{"streams":[{"stream":{},"values":[["0","now"]]},{"stream":{"b":"c"},"values":[]}]}"#,
            &["INFO now"],
        ),
        (
            r#"{"streams":[{"stream":{"labels":"no"},"values":null},{"labels":"x","entries":[{"line":"l"}]}]}"#,
            &["INFO l | labels=x"],
        ),
        (r#"{"streams":[]}"#, &[]),
    ] {
        let expected: Vec<_> = expected.iter().map(|line| line.replace("AT", at)).collect();
        assert_eq!(read(JSON, text.as_bytes()), Ok(expected), "{text}");
    }
}

#[test]
fn json_of_another_form_is_refused_with_its_reason() {
    for (text, why) in [
        (r#"{"streams":[{"stream":{},"values":[[1795410148100000000,"x"]]}]}"#, "no string"),
        (r#"{"streams":[{"stream":{},"values":[["soon","x"]]}]}"#, "no time"),
        (r#"{"streams":[{"stream":{},"values":[["1"]]}]}"#, "without a line"),
        (r#"{"streams":[{"stream":[],"values":[]}]}"#, "labels"),
        (r#"{"streams":[{"stream":{},"values":[["1","x"]]}]"#, "streams"),
        ("{}", "streams"),
        ("[]", "streams"),
        ("", "streams"),
    ] {
        let error = read(JSON, text.as_bytes()).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn level_comes_from_labels_before_metadata() {
    for (labels, metadata, expected) in [
        (r#"{level="error"}"#, &[][..], "ERROR"),
        (r#"{level="7"}"#, &[], "INFO | level=7"),
        (r#"{detected_level="warn"}"#, &[], "WARNING"),
        (r#"{detected_level="unknown"}"#, &[("severity", "error")], "ERROR | detected_level=unknown"),
        (
            r#"{severity="3", severity_number="17"}"#,
            &[("level", "debug")],
            "DEBUG | severity=3 severity_number=17",
        ),
        (
            r#"{level="error"}"#,
            &[("level", "debug"), ("detected_level", "debug")],
            "ERROR | _level=debug detected_level=debug",
        ),
        (r"{}", &[("detected_level", "critical"), ("a", "b")], "CRITICAL | a=b"),
    ] {
        let metadata = metadata.iter().map(|(name, value)| pair(name, value)).collect();
        let entry = EntryAdapter { timestamp: None, line: b"".to_vec(), metadata, parsed: vec![] };
        let body = snappy(&push(labels, vec![entry]).encode_to_vec());
        let stored = read(PROTOBUF, &body).unwrap().remove(0);
        assert_eq!(stored.replacen("  ", " ", 1).trim_end(), expected, "{labels}");
    }
}

#[test]
fn body_is_read_under_every_type_and_coding() {
    let entries = vec![EntryAdapter { metadata: vec![pair("k", "v")], ..entry("line") }, entry("")];
    let bytes = push(r#"{app="x"}"#, entries).encode_to_vec();
    let at = "at=2026-11-23T05:02:28.100000Z";
    let expected = [format!("INFO line | {at} app=x k=v"), format!("INFO  | {at} app=x")];
    let json = br#"{"streams":[{"stream":{"app":"x"},"values":[["1795410148100000000","line",{"k":"v"}],["1795410148100000000",""]]}]}"#;
    let coded = snappy(&bytes);
    let codings: [&[(http::HeaderName, &str)]; 6] = [
        &[],
        &[(CONTENT_TYPE, PROTOBUF)],
        &[(CONTENT_TYPE, "application/x-protobuf; proto=x"), (CONTENT_ENCODING, "snappy")],
        &[(CONTENT_ENCODING, "Snappy")],
        &[(CONTENT_TYPE, "text/plain")],
        &[(CONTENT_TYPE, "application/octet-stream")],
    ];
    for headers in codings {
        assert_eq!(read_with(headers, &coded, &Unlimited).unwrap(), expected, "{headers:?}");
        assert_eq!(read_with(headers, &bytes, &Unlimited).unwrap(), expected, "{headers:?}");
        assert_eq!(read_with(headers, json, &Unlimited).unwrap(), expected, "{headers:?}");
    }
    for headers in [&[(CONTENT_TYPE, JSON)][..], &[(CONTENT_TYPE, "application/json; charset=utf-8")]] {
        assert_eq!(read_with(headers, json, &Unlimited).unwrap(), expected);
    }
    let both = [(CONTENT_TYPE, JSON), (CONTENT_ENCODING, SNAPPY)];
    assert_eq!(read_with(&both, &snappy(json), &Unlimited).unwrap(), expected);
}

#[test]
fn bytes_that_are_no_text_are_replaced_in_their_record_only() {
    let broken = EntryAdapter { timestamp: None, line: b"a\xffb".to_vec(), ..EntryAdapter::default() };
    let fine = EntryAdapter { timestamp: None, line: b"fine".to_vec(), ..EntryAdapter::default() };
    let body = snappy(&push("{}", vec![broken, fine]).encode_to_vec());
    assert_eq!(read(PROTOBUF, &body).unwrap(), ["INFO a\u{fffd}b | utf8=replaced", "INFO fine"]);
    let json = b"{\"streams\":[{\"stream\":{},\"values\":[[\"0\",\"a\xff\"],[\"0\",\"fine\"]]}]}";
    assert_eq!(read(JSON, json).unwrap(), ["INFO a\u{fffd} | utf8=replaced", "INFO fine"]);
}

/// Refuses all memory, for a body of at most 1,000 bytes.
struct NoMemory;

impl BodyMemory for NoMemory {
    fn take(&self, bytes: usize) -> Result<(), OutOfMemory> {
        assert!(bytes <= 1_000, "{bytes} bytes are asked for");
        Ok(())
    }

    fn max_body_bytes(&self) -> u64 {
        1_000
    }
}

#[test]
fn announced_length_is_refused_before_memory_is_taken() {
    let bomb = snappy(&vec![0; 10_000_000]);
    let error = read_with(&[], &bomb, &NoMemory).unwrap_err();
    assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
    for announced in [&b"\xff\xff\xff\xff\x0f"[..], b"\xff\xff\xff\xff\x0fabc", b"\x80\x80\x80\x10\x00a"] {
        let error = read_with(&[], announced, &NoMemory).unwrap_err();
        assert_eq!(error.status(), StatusCode::BAD_REQUEST, "{announced:?}");
    }
    let error = read_with(&[(CONTENT_TYPE, PROTOBUF)], b"", &NoMemory).unwrap_err();
    assert_eq!(error.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn labels_past_the_limits_of_a_record_are_counted_and_not_copied() {
    let many: Vec<String> = (0..1000).map(|number| format!("l{number}=\"\\n\"")).collect();
    let entries = (0..1000).map(|_| entry("")).collect();
    let body = snappy(&push(&format!("{{{}}}", many.join(",")), entries).encode_to_vec());
    let stored = read(PROTOBUF, &body).unwrap();
    assert_eq!(stored.len(), 1000);
    assert!(stored.iter().all(|line| line.ends_with("fields_dropped=872")), "{}", stored[0]);
}

fn any_push() -> impl Strategy<Value = PushRequest> {
    let pairs = || prop::collection::vec(("[a-c]{1,2}", ".{0,6}"), 0..3);
    let line = (prop::option::of((1_000_000_000..2_000_000_000_i64, 0..1_000_000_000)), ".{0,12}", pairs());
    let entry = line.prop_map(|(time, line, metadata)| EntryAdapter {
        timestamp: time.map(|(seconds, nanos)| Timestamp { seconds, nanos }),
        line: line.into_bytes(),
        metadata: metadata.iter().map(|(name, value)| pair(name, value)).collect(),
        parsed: Vec::new(),
    });
    let stream = (pairs(), prop::collection::vec(entry, 0..4)).prop_map(|(labels, entries)| {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        StreamAdapter { labels: format!("{{{}}}", labels.join(", ")), entries, hash: 0 }
    });
    prop::collection::vec(stream, 0..3).prop_map(|streams| PushRequest { streams, format: String::new() })
}

proptest! {
    #[test]
    fn any_push_is_stored_line_for_line(push in any_push()) {
        let lines: Vec<String> = push.streams.iter().flat_map(|stream| &stream.entries)
            .map(|entry| String::from_utf8(entry.line.clone()).unwrap()).collect();
        let stored = read(PROTOBUF, &snappy(&push.encode_to_vec())).unwrap();
        prop_assert_eq!(stored.len(), lines.len());
        for (stored, line) in stored.iter().zip(&lines) {
            let prefix = format!("INFO {line}");
            prop_assert!(stored.starts_with(&prefix), "{}", stored);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, push in any_push(), at: prop::sample::Index, byte: u8) {
        let mut near = push.encode_to_vec();
        if !near.is_empty() {
            let at = at.index(near.len());
            near[at] = byte;
        }
        for body in [&bytes, &snappy(&bytes), &near, &snappy(&near)] {
            for content_type in ["", JSON, PROTOBUF] {
                drop(read(content_type, body));
            }
        }
    }

    #[test]
    fn any_json_is_read_or_refused(text in r#"(\{"streams":\[)?[\[\]{}:,"\\a-c0-9 n]{0,30}"#, inside in r#"(\["?[0-9]{0,20}"?,"?[a-c]{0,3}"?(,\{"a":1\})?\],?){0,3}"#) {
        drop(read(JSON, text.as_bytes()));
        drop(read(JSON, format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[{inside}]}}]}}"#).as_bytes()));
    }
}
