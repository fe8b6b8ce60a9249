//! Tests of whole requests.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use proptest::prelude::*;
use prost::Message;
use serde_json::json;

use super::messages::{
    ArrayValue, ExportLogsServiceRequest, KeyValueList, Kind, LogRecord, Scope, named, request, text,
    value_of,
};
use super::*;
use crate::ingest::body::memory::{BodyMemory, OutOfMemory, Unlimited};
use crate::ingest::body::received::BodyTexts;
use crate::record::{Entry, Level, OwnField};

const SECOND: u64 = 1_000_000_000;

/// Returns each entry as one text: level, message, time and fields.
fn shown(entry: &Entry<'_>) -> String {
    let at = entry.at.map(|at| format!(" at={}", at.micros())).unwrap_or_default();
    let fields = entry.fields.iter().map(|field| format!(" {}={}", field.name(), field.value()));
    format!("{} {}{at}{}", entry.level.as_str(), entry.message, fields.collect::<String>())
}

struct Read {
    entries: Vec<String>,
    reply: Option<Bytes>,
}

fn read_with(media_type: &str, body: &[u8], rules: ReadRules<'_>) -> Result<Read, IngestError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(media_type).unwrap());
    let texts = BodyTexts::default();
    let received = ReceivedBody::new(&headers, body, &texts, &Unlimited);
    let head = RequestHead { route: &ROUTES[0], path: "/v1/logs", query: None, headers: &headers };
    let request = IngestRequest { head, body: received, rules };
    let batch = Otlp.entries(&request, Params::without_body(None, &headers))?;
    let entries = batch.entries(Level::Debug).iter().map(shown).collect();
    Ok(Read { entries, reply: batch.prepared })
}

fn read(media_type: &str, body: &[u8]) -> Result<Vec<String>, IngestError> {
    read_with(media_type, body, ReadRules::default()).map(|read| read.entries)
}

fn records(records: Vec<LogRecord>) -> Vec<String> {
    let body = request(Vec::new(), Scope::default(), records).encode_to_vec();
    read("application/x-protobuf", &body).unwrap()
}

fn record(body: &str) -> LogRecord {
    LogRecord { body: Some(text(body)), ..LogRecord::default() }
}

#[test]
fn all_parts_of_a_record_are_kept() {
    let nested = value_of(Kind::Named(KeyValueList {
        values: vec![
            named("a", value_of(Kind::Int(-3))),
            named(
                "b",
                value_of(Kind::Named(KeyValueList { values: vec![named("c", value_of(Kind::Bool(true)))] })),
            ),
            named("e", value_of(Kind::Named(KeyValueList::default()))),
        ],
    }));
    let list = value_of(Kind::Array(ArrayValue {
        values: vec![
            text("x\n"),
            value_of(Kind::Double(1.5)),
            messages::AnyValue { kind: None },
            nested.clone(),
        ],
    }));
    let attributes = vec![
        named("code.line", value_of(Kind::Int(23))),
        named("ratio", value_of(Kind::Double(0.25))),
        named("nan", value_of(Kind::Double(f64::NAN))),
        named("n", nested),
        named("list", list),
        named("raw", value_of(Kind::Bytes(vec![0, 255, 1]))),
        named("nothing", messages::AnyValue { kind: None }),
        named("service.name", text("inner")),
        named("level", text("mine")),
        named("api_key", text("secret")),
    ];
    let sent = LogRecord {
        time_unix_nano: 1_795_410_148 * SECOND + 123_456_789,
        observed_time_unix_nano: SECOND,
        severity_number: 18,
        severity_text: "Error2".to_owned(),
        attributes,
        trace_id: (1..=16).collect(),
        span_id: vec![0xab; 8],
        event_name: "login".to_owned(),
        flags: 1,
        ..record("text | a=b")
    };
    let scope = Scope {
        name: "lib".to_owned(),
        version: "1.0".to_owned(),
        attributes: vec![named("team", text("red"))],
    };
    let resource = vec![named("service.name", text("outer")), named("host.name", text("h"))];
    let body = request(resource, scope, vec![sent]).encode_to_vec();
    let entries = read("application/x-protobuf; charset=x", &body).unwrap();
    let list = r#"["x\n",1.5,null,{"a":-3,"b":{"c":true},"e":{}}]"#;
    let expected = format!(
        "ERROR text | a=b at=1795410148123456 level=Error2 resource.service.name=outer host.name=h \
         otel.scope.name=lib otel.scope.version=1.0 otel.scope.team=red code.line=23 ratio=0.25 nan=NaN \
         n.a=-3 n.b.c=true n.e={{}} list={list} raw=AP8B service.name=inner _level=mine \
         trace_id=0102030405060708090a0b0c0d0e0f10 span_id=abababababababab event_name=login"
    );
    assert_eq!(entries, [expected]);
}

#[test]
fn json_says_the_same() {
    let body = json!({"unknown": [1], "resourceLogs": [{
        "scopeLogs": [{
            "logRecords": [{
                "timeUnixNano": "1795410148123456789", "observedTimeUnixNano": 5, "severityNumber": 9,
                "severityText": "Information", "body": {"stringValue": "hallo"},
                "attributes": [
                    {"key": "a", "value": {"intValue": "12"}}, {"key": "b", "value": {"intValue": 13}},
                    {"key": "c", "value": {"doubleValue": 1.50}}, {"key": "d", "value": {"boolValue": true}},
                    {"key": "e", "value": {"arrayValue": {"values": [{"stringValue": "x"}, {"intValue": "7"}]}}},
                    {"key": "f", "value": {"kvlistValue": {"values": [{"key": "g", "value": {"stringValue": "y"}}]}}},
                    {"key": "h", "value": {"bytesValue": "AP8B"}}, {"key": "i", "value": {}},
                    {"key": "j", "value": {"doubleValue": "NaN"}}, {"key": "k", "value": null}, 7
                ],
                "traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174", "flags": 1
            }, {"body": null, "traceId": "00000000000000000000000000000000", "severityNumber": "SEVERITY_NUMBER_WARN"}],
            "scope": {"name": "s", "version": ""}
        }],
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "svc"}}]}
    }]});
    let expected = [
        "INFO hallo at=1795410148123456 level=Information service.name=svc otel.scope.name=s a=12 b=13 c=1.5 \
         d=true e=[\"x\",7] f.g=y h=AP8B j=NaN trace_id=5b8efff798038103d269b633813fc60c \
         span_id=eee19b7ec3c1b174",
        "WARNING  service.name=svc otel.scope.name=s",
    ];
    for media_type in ["application/json", "application/json; charset=utf-8", "text/plain"] {
        assert_eq!(read(media_type, body.to_string().as_bytes()).unwrap(), expected, "{media_type}");
    }
}

#[test]
fn severities_become_levels() {
    let of = |severity_number, severity_text: &str| {
        let severity_text = severity_text.to_owned();
        records(vec![LogRecord { severity_number, severity_text, ..record("m") }]).remove(0)
    };
    let numbers: String = (0..=25).map(|number| of(number, "").chars().next().unwrap()).collect();
    assert_eq!(numbers, "IDDDDDDDDIIIIWWWWEEEECCCCI");
    for (number, text, expected) in [
        (9, "INFO", "INFO m"),
        (9, "info", "INFO m"),
        (13, "WARN", "WARNING m"),
        (13, "WARNING", "WARNING m"),
        (17, "ERROR", "ERROR m"),
        (21, "FATAL", "CRITICAL m level=FATAL"),
        (21, "CRITICAL", "CRITICAL m"),
        (1, "", "DEBUG m level=TRACE"),
        (10, "", "INFO m level=INFO2"),
        (5, "", "DEBUG m"),
        (9, "Error", "INFO m level=Error"),
        (0, "warn", "WARNING m"),
        (0, "Severe", "ERROR m level=Severe"),
        (0, "noise", "INFO m level=noise"),
        (0, "", "INFO m"),
        (99, "", "INFO m level=99"),
        (-1, "error", "ERROR m"),
    ] {
        assert_eq!(of(number, text), expected, "{number} {text}");
    }
    assert_eq!(of(9, &"x".repeat(500)), format!("INFO m level={}", "x".repeat(128)));
}

#[test]
fn time_is_that_of_the_record_else_that_of_its_observer() {
    let of = |time_unix_nano, observed_time_unix_nano| {
        records(vec![LogRecord { time_unix_nano, observed_time_unix_nano, ..record("m") }]).remove(0)
    };
    assert_eq!(of(0, 0), "INFO m");
    assert_eq!(of(0, 2 * SECOND), "INFO m at=2000000");
    assert_eq!(of(SECOND, 2 * SECOND), "INFO m at=1000000");
    assert_eq!(of(u64::MAX, 0), "INFO m at=18446744073709551");
}

#[test]
fn bodies_of_any_type_are_messages() {
    let of = |body| {
        let body = Some(body);
        records(vec![LogRecord { body, severity_number: 13, ..LogRecord::default() }]).remove(0)
    };
    let list = |values| value_of(Kind::Named(KeyValueList { values }));
    assert_eq!(of(value_of(Kind::Int(5))), "WARNING 5");
    assert_eq!(of(value_of(Kind::Double(2.0))), "WARNING 2.0");
    assert_eq!(of(value_of(Kind::Bool(false))), "WARNING false");
    assert_eq!(of(value_of(Kind::Bytes(b"abc".to_vec()))), "WARNING YWJj");
    assert_eq!(of(value_of(Kind::Array(ArrayValue { values: vec![text("a\"")] }))), "WARNING [\"a\\\"\"]");
    assert_eq!(of(messages::AnyValue { kind: None }), "WARNING ");
    assert_eq!(of(text("{\"message\":\"inner\"}")), "WARNING {\"message\":\"inner\"}");
    let object = list(vec![
        named("message", text("inner")),
        named("user", text("u")),
        named("n", value_of(Kind::Int(1))),
    ]);
    assert_eq!(of(object), "WARNING inner user=u n=1");
    let object = list(vec![named("msg", text("inner")), named("level", text("fatal"))]);
    assert_eq!(of(object), "CRITICAL inner level=fatal");
    let object = list(vec![named("user", text("u"))]);
    assert_eq!(of(object), "WARNING {\"user\":\"u\"} user=u");
    assert_eq!(of(list(Vec::new())), "WARNING {}");
}

#[test]
fn body_that_is_an_object_keeps_the_fields_around_it() {
    let object = KeyValueList { values: vec![named("message", text("m")), named("host.name", text("mine"))] };
    let sent = LogRecord {
        body: Some(value_of(Kind::Named(object))),
        severity_number: 21,
        severity_text: "FATAL".to_owned(),
        attributes: vec![named("a", text("b"))],
        span_id: vec![1; 8],
        time_unix_nano: SECOND,
        ..LogRecord::default()
    };
    let resource = vec![named("host.name", text("h")), named("a", text("outer"))];
    let body = request(resource, Scope::default(), vec![sent]).encode_to_vec();
    assert_eq!(
        read("application/x-protobuf", &body).unwrap(),
        ["CRITICAL m at=1000000 level=FATAL host.name=mine resource.host.name=h resource.a=outer a=b \
          span_id=0101010101010101"]
    );
}

#[test]
fn invalid_utf8_is_replaced_and_noted_at_its_record_only() {
    let mut body = request(Vec::new(), Scope::default(), vec![record("good"), record("bXd")]).encode_to_vec();
    let at = body.windows(3).position(|part| part == b"bXd").unwrap();
    body[at + 1] = 0xff;
    let entries = read("application/x-protobuf", &body).unwrap();
    assert_eq!(entries, ["INFO good", "INFO b\u{fffd}d utf8=replaced"]);
    let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"good"}},{"body":{"stringValue":"b@d"}}]}]}]}"#;
    let json: Vec<u8> = json.iter().map(|byte| if *byte == b'@' { 0xff } else { *byte }).collect();
    assert_eq!(read("application/json", &json).unwrap(), entries);
}

#[test]
fn empty_requests_have_no_entries() {
    for (media_type, body) in [
        ("application/x-protobuf", &b""[..]),
        ("application/json", b"{}"),
        ("application/json", b""),
        ("application/json", br#"{"resourceLogs":[]}"#),
        ("application/json", br#"{"resourceLogs":[{"resource":null,"scopeLogs":[{"logRecords":[]}]}]}"#),
        ("application/json", br#"{"resourceLogs":null}"#),
    ] {
        assert!(read(media_type, body).unwrap().is_empty(), "{media_type}");
    }
    let empty = request(Vec::new(), Scope::default(), Vec::new()).encode_to_vec();
    assert!(read("application/x-protobuf", &empty).unwrap().is_empty());
}

#[test]
fn record_without_anything_is_stored() {
    assert_eq!(records(vec![LogRecord::default()]), ["INFO "]);
}

#[test]
fn malformed_records_are_rejected_and_the_others_stored() {
    // The body of the second record is cut.
    let broken = [&[0x12, 0x02, 0x2a, 0x05][..]].concat();
    let good = record("good").encode_to_vec();
    let scope = [&[0x12, u8::try_from(good.len()).unwrap()][..], &good, &broken].concat();
    let resource = [&[0x12, u8::try_from(scope.len()).unwrap()][..], &scope].concat();
    let body = [&[0x0a, u8::try_from(resource.len()).unwrap()][..], &resource].concat();
    let rules = ReadRules::default();
    let stored = read_with("application/x-protobuf", &body, rules).unwrap();
    assert_eq!(stored.entries, ["INFO good"]);
    let response = ExportLogsServiceResponse::decode(stored.reply.unwrap()).unwrap();
    assert_eq!(response.partial_success.unwrap().rejected_log_records, 1);
    let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[5,{"body":{"stringValue":"good"}}]}]}]}"#;
    let stored = read_with("application/json", json, rules).unwrap();
    assert_eq!(stored.entries, ["INFO good"]);
    let response: serde_json::Value = serde_json::from_slice(&stored.reply.unwrap()).unwrap();
    assert_eq!(response["partialSuccess"]["rejectedLogRecords"], "1");
    // When no record is left, the request fails.
    let scope = [&[0x12, 0x04][..], &broken].concat();
    let body = [&[0x0a, 0x06][..], &scope].concat();
    assert_eq!(read("application/x-protobuf", &body).unwrap_err().status(), StatusCode::BAD_REQUEST);
}

#[test]
fn malformed_requests_are_refused() {
    for (media_type, body) in [
        ("application/x-protobuf", &b"\x0a\x05\x12"[..]),
        ("application/x-protobuf", b"{}"),
        ("application/x-protobuf", b"\xff"),
        ("application/x-protobuf", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
        ("application/json", b"{"),
        ("application/json", b"[]"),
        ("application/json", br#"{"resourceLogs":[{]}"#),
    ] {
        let error = read(media_type, body).unwrap_err();
        assert_eq!(error.status(), StatusCode::BAD_REQUEST, "{media_type} {body:?}");
    }
}

#[test]
fn values_deep_inside_of_each_other_are_bounded() {
    let nested = |depth: usize| {
        (0..depth).fold(text("x"), |inner, _| {
            value_of(Kind::Named(KeyValueList { values: vec![named("k", inner)] }))
        })
    };
    let with = |value| LogRecord { attributes: vec![named("a", value)], ..record("m") };
    let eight = "INFO m a.k.k.k.k.k.k.k={\"k\":{\"k\":\"x\"}}";
    assert_eq!(records(vec![with(nested(9))]), [eight]);
    assert_eq!(records(vec![with(nested(90))]).len(), 1);
    let deep = |depth| {
        // prost would refuse to decode these, but it encodes them.
        let body = request(Vec::new(), Scope::default(), vec![record("good"), with(nested(depth))]);
        read_with("application/x-protobuf", &body.encode_to_vec(), ReadRules::default()).unwrap()
    };
    assert_eq!(deep(300).entries, ["INFO good"]);
    let json = |depth: usize| {
        let value = format!(
            "{}{{\"stringValue\":\"x\"}}{}",
            "{\"arrayValue\":{\"values\":[".repeat(depth),
            "]}}".repeat(depth)
        );
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{}},{{"body":{value}}}]}}]}}]}}"#)
    };
    assert_eq!(read("application/json", json(50).as_bytes()).unwrap().len(), 2);
    assert_eq!(read("application/json", json(5000).as_bytes()).unwrap().len(), 1);
}

#[test]
fn rules_of_the_log_apply() {
    let dropped = ["password".to_owned(), "http".to_owned()];
    let rules = ReadRules { dropped_fields: &dropped, max_message_chars: 300_000, ..ReadRules::default() };
    let attributes =
        vec![named("password", text("x")), named("http.method", text("GET")), named("a", text("b"))];
    let long = LogRecord { attributes, ..record(&"m".repeat(300_001)) };
    let body = request(Vec::new(), Scope::default(), vec![long]).encode_to_vec();
    let entries = read_with("application/x-protobuf", &body, rules).unwrap().entries;
    assert_eq!(entries, [format!("INFO {} a=b cut=300001", "m".repeat(300_000))]);
    let rules = ReadRules { keeps_fields: false, ..ReadRules::default() };
    let sent = LogRecord { time_unix_nano: SECOND, severity_text: "x".to_owned(), ..record("m") };
    let body = request(vec![named("a", text("b"))], Scope::default(), vec![sent]).encode_to_vec();
    assert_eq!(read_with("application/x-protobuf", &body, rules).unwrap().entries, ["INFO m"]);
    assert_eq!(OwnField::Cut.name(), "cut");
}

#[test]
fn memory_and_number_of_records_are_bounded() {
    struct Limited(std::sync::atomic::AtomicUsize);
    impl BodyMemory for Limited {
        fn take(&self, bytes: usize) -> Result<(), OutOfMemory> {
            let before = self.0.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            if before + bytes > 4_000_000 { Err(OutOfMemory::Ever(4_000_000)) } else { Ok(()) }
        }
    }
    let memory = Limited(std::sync::atomic::AtomicUsize::new(0));
    // The fields of the resource are repeated for each record.
    let body = request(
        vec![named("a", text(&"x".repeat(1000)))],
        Scope::default(),
        vec![LogRecord::default(); 20_000],
    );
    let body = body.encode_to_vec();
    let mut entries = Entries::new(&ReadRules::default(), &memory);
    assert!(matches!(read_wire(&body, &mut entries), Err(ReadError::Refused(IngestError::Memory(_)))));
    let many = request(Vec::new(), Scope::default(), vec![LogRecord::default(); 131_073]).encode_to_vec();
    assert_eq!(read("application/x-protobuf", &many).unwrap_err(), IngestError::TooManyRecords);
}

#[test]
fn grpc_statuses_and_retry_info_are_written() {
    let reply =
        grpc::refusal(Code::ResourceExhausted, "é 100%".to_owned(), Some(std::time::Duration::from_secs(7)));
    assert_eq!(reply.headers()["grpc-status"], "8");
    assert_eq!(reply.headers()["grpc-message"], "%C3%A9 100%25");
    let details = data_encoding::BASE64_NOPAD.decode(reply.headers()["grpc-status-details-bin"].as_bytes());
    let status = wire::Status::decode(&*details.unwrap()).unwrap();
    assert_eq!((status.code, status.message.as_str()), (8, "é 100%"));
    assert_eq!(status.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
    let retry = wire::RetryInfo::decode(&*status.details[0].value).unwrap();
    assert_eq!(retry.retry_delay.unwrap().seconds, 7);
}

#[test]
fn frames_of_grpc_are_read() {
    let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    };
    let plain = headers(&[("content-type", "application/grpc")]);
    let framed = |headers: &HeaderMap, body: &[u8]| grpc::framed(headers, body);
    assert_eq!(framed(&plain, b"\0\0\0\0\x02ab"), Ok(Framed { message: 5..7, coding: None }));
    assert_eq!(framed(&plain, b"\0\0\0\0\0"), Ok(Framed { message: 5..5, coding: None }));
    let gzip = headers(&[("content-type", "application/grpc+proto"), ("grpc-encoding", "gzip")]);
    assert_eq!(framed(&gzip, b"\x01\0\0\0\x01a"), Ok(Framed { message: 5..6, coding: Some("gzip") }));
    assert_eq!(framed(&gzip, b"\0\0\0\0\x01a"), Ok(Framed { message: 5..6, coding: None }));
    for body in [
        &b""[..],
        b"\0\0\0\0",
        b"\0\0\0\0\x02a",
        b"\0\0\0\0\0\0\0\0\0\0",
        b"\x01\0\0\0\x01a",
        b"\x02\0\0\0\0",
    ] {
        assert!(framed(&plain, body).is_err(), "{body:?}");
    }
    let unknown = headers(&[("content-type", "application/grpc"), ("grpc-encoding", "snappy")]);
    let error = framed(&unknown, b"\x01\0\0\0\x01a").unwrap_err();
    assert!(matches!(error, IngestError::Dialect { code: Some(12), .. }));
    assert!(framed(&headers(&[("content-type", "application/json")]), b"\0\0\0\0\0").is_err());
    assert!(!grpc::is_announced(&headers(&[("content-type", "application/grpc-web")])));
}

fn any_value() -> impl Strategy<Value = messages::AnyValue> {
    let leaf = prop_oneof![
        Just(messages::AnyValue { kind: None }),
        any::<String>().prop_map(|value| value_of(Kind::Text(value))),
        any::<bool>().prop_map(|value| value_of(Kind::Bool(value))),
        any::<i64>().prop_map(|value| value_of(Kind::Int(value))),
        any::<f64>().prop_map(|value| value_of(Kind::Double(value))),
        any::<Vec<u8>>().prop_map(|value| value_of(Kind::Bytes(value))),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| value_of(Kind::Array(ArrayValue { values }))),
            prop::collection::vec((any::<String>(), inner), 0..4).prop_map(|pairs| {
                let values = pairs.into_iter().map(|(key, value)| named(&key, value)).collect();
                value_of(Kind::Named(KeyValueList { values }))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_request_keeps_its_records(bodies in prop::collection::vec(any_value(), 0..5), message: String, resource in any_value(), attribute in any_value()) {
        let mut sent: Vec<LogRecord> = bodies.into_iter().map(|body| LogRecord { body: Some(body), ..LogRecord::default() }).collect();
        sent.push(LogRecord { attributes: vec![named("a", attribute)], ..record(&message) });
        let count = sent.len();
        let body = request(vec![named("r", resource)], Scope::default(), sent).encode_to_vec();
        let entries = read("application/x-protobuf", &body).unwrap();
        prop_assert_eq!(entries.len(), count);
        prop_assert!(entries[count - 1].contains(&message));
        // The reader agrees with prost about what a message is.
        prop_assert!(ExportLogsServiceRequest::decode(&*body).is_ok());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, cut in 0..200_usize, message: String) {
        let valid = request(vec![named("r", text("x"))], Scope::default(), vec![record(&message)]).encode_to_vec();
        let mut broken = valid.clone();
        broken.truncate(cut);
        let mut mixed = valid;
        for (place, byte) in bytes.iter().enumerate() {
            let at = (place * 7 + usize::from(*byte)) % mixed.len();
            mixed[at] = *byte;
        }
        for media_type in ["application/x-protobuf", "application/json", ""] {
            for body in [&bytes, &broken, &mixed] {
                drop(read(media_type, body));
            }
        }
    }

    #[test]
    fn any_json_is_read_or_refused(text in r#"([\[\]{},:"a1]|"resourceLogs":|"scopeLogs":|"logRecords":|"body":|"attributes":|\{"stringValue":"x"\}|null|\[\{){0,30}"#) {
        for text in [text.clone(), format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{text}]}}]}}]}}"#)] {
            drop(read("application/json", text.as_bytes()));
        }
    }
}
