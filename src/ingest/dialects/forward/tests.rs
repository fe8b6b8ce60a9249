//! Tests of the messages of a connection.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::connection::Connection;
use crate::ingest::batch::Batch;
use crate::ingest::body::stream::stream_rules;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::socket_dialect::{ConnectionParser, SocketError};
use crate::record::Level;

/// Encodes a JSON value.
fn packed(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(value, &mut bytes);
    bytes
}

fn pack(value: &Value, into: &mut Vec<u8>) {
    match value {
        Value::Null => rmp::encode::write_nil(into).unwrap(),
        Value::Bool(is_true) => rmp::encode::write_bool(into, *is_true).unwrap(),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => drop(rmp::encode::write_uint(into, number).unwrap()),
            (None, Some(number)) => drop(rmp::encode::write_sint(into, number).unwrap()),
            _ => rmp::encode::write_f64(into, number.as_f64().unwrap()).unwrap(),
        },
        Value::String(text) => rmp::encode::write_str(into, text).unwrap(),
        Value::Array(list) => {
            rmp::encode::write_array_len(into, list.len() as u32).unwrap();
            list.iter().for_each(|value| pack(value, into));
        }
        Value::Object(members) => {
            rmp::encode::write_map_len(into, members.len() as u32).unwrap();
            for (name, value) in members {
                rmp::encode::write_str(into, name).unwrap();
                pack(value, into);
            }
        }
    }
}

/// Returns an event with the extension for times.
fn event(seconds: u32, nanos: u32, record: &Value) -> Vec<u8> {
    [b"\x92\xd7\x00", &seconds.to_be_bytes()[..], &nanos.to_be_bytes(), &packed(record)].concat()
}

/// Returns a message with packed events.
fn packed_forward(tag: &str, events: &[u8], options: &Value) -> Vec<u8> {
    let mut message = vec![0x93];
    rmp::encode::write_str(&mut message, tag).unwrap();
    rmp::encode::write_bin(&mut message, events).unwrap();
    pack(options, &mut message);
    message
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Client {
    connection: Connection,
    buffer: Vec<u8>,
    stored: Vec<String>,
    answer: Vec<u8>,
    max_batch: usize,
}

impl Client {
    fn new() -> Self {
        let connection = Connection::new(None).unwrap();
        Self { connection, buffer: Vec::new(), stored: Vec::new(), answer: Vec::new(), max_batch: 0 }
    }

    /// Gives more bytes, as a socket does.
    fn send(&mut self, bytes: &[u8]) -> Result<(), SocketError> {
        self.buffer.extend_from_slice(bytes);
        loop {
            let mut batch = Batch::default();
            let rules = stream_rules(&ReadRules::default());
            let read = self.connection.read(&self.buffer, false, &rules, &mut batch, &mut self.answer);
            self.max_batch = self.max_batch.max(batch.len());
            for entry in batch.entries(Level::Debug) {
                let fields: Vec<String> =
                    entry.fields.iter().map(|field| format!("{}={}", field.name(), field.value())).collect();
                let at = entry.at.map(|at| String::from_utf8(at.rfc3339().to_vec()).unwrap());
                let at = at.unwrap_or_else(|| "-".to_owned());
                self.stored.push(format!("{} {at} {} | {}", entry.level, entry.message, fields.join(" ")));
            }
            let done = read?;
            if done == 0 {
                return Ok(());
            }
            self.buffer.drain(..done);
            if self.buffer.is_empty() {
                return Ok(());
            }
        }
    }
}

fn stored(message: &[u8]) -> Vec<String> {
    let mut client = Client::new();
    client.send(message).unwrap();
    assert!(client.buffer.is_empty());
    // In single bytes it is the same.
    let mut slow = Client::new();
    for byte in message {
        slow.send(&[*byte]).unwrap();
    }
    assert_eq!((&slow.stored, &slow.answer), (&client.stored, &client.answer));
    client.stored
}

#[test]
fn a_single_event_is_read_as_a_json_record_is() {
    let record = json!({
        "log": "disk full", "level": "warn", "http": {"status": 500, "tags": ["a", 1], "none": {}},
        "ok": true, "ratio": 0.5, "none": null, "below": -3, "api_key": "secret",
    });
    let message = packed(&json!(["app.web", 1_795_410_148, record]));
    let expected = "WARNING 2026-11-23T05:02:28.000000Z disk full | below=-3 http.none={} http.status=500 \
        http.tags=[\"a\",1] ok=true ratio=0.5 tag=app.web";
    assert_eq!(stored(&message), [expected]);
    let own_tag = packed(&json!(["t", 0, {"message": {"a": [1, "x"]}, "tag": "mine", "log": 5}]));
    assert_eq!(stored(&own_tag), ["INFO - {\"a\":[1,\"x\"]} | log=5 tag=mine forward.tag=t"]);
}

#[test]
fn every_mode_stores_every_event() {
    let one = event(1_795_410_148, 123_456_789, &json!({"message": "one", "level": "error"}));
    let two = packed(&json!([1_795_410_149, {"msg": "two"}]));
    let with_metadata =
        [&b"\x92\x92\xce\x6b\x03\xc0\xe6"[..], &packed(&json!({"k": "v"})), &packed(&json!({"m": "three"}))]
            .concat();
    let events = [&one[..], &two, &with_metadata].concat();
    let time = u32::from_be_bytes([0x6b, 0x03, 0xc0, 0xe6]);
    assert_eq!(time, 1_795_408_102);
    let expected = [
        "ERROR 2026-11-23T05:02:28.123456Z one | tag=t",
        "INFO 2026-11-23T05:02:29.000000Z two | tag=t",
        "INFO 2026-11-23T04:28:22.000000Z three | metadata.k=v tag=t",
    ];
    let forward = [&b"\x92\xa1t\x93"[..], &events].concat();
    assert_eq!(stored(&forward), expected);
    let forward = [&b"\x93\xa1t\x93"[..], &events, b"\x81\xa4size\x03"].concat();
    assert_eq!(stored(&forward), expected);
    assert_eq!(stored(&packed_forward("t", &events, &json!({"size": 3}))), expected);
    let compressed = gzip(&events);
    assert_eq!(stored(&packed_forward("t", &compressed, &json!({"compressed": "gzip"}))), expected);
    // Fluentd puts members behind each other.
    let members = [gzip(&one), gzip(&two), gzip(&with_metadata)].concat();
    assert_eq!(stored(&packed_forward("t", &members, &json!({"compressed": "gzip"}))), expected);
    let zstd = zstd::encode_all(&events[..], 0).unwrap();
    assert_eq!(stored(&packed_forward("t", &zstd, &json!({"compressed": "zstd"}))), expected);
    // Version 0 of the protocol has no type for bytes.
    let mut old = b"\x92\xa1t\xdb".to_vec();
    old.extend_from_slice(&(events.len() as u32).to_be_bytes());
    old.extend_from_slice(&events);
    assert_eq!(stored(&old), expected);
    let metadata_alone = [
        &b"\x93\xa1t\x92\xce\x6b\x03\xc0\xe6"[..],
        &packed(&json!({"k": "v"})),
        &packed(&json!({"m": "three"})),
    ]
    .concat();
    assert_eq!(stored(&metadata_alone), [expected[2]]);
}

#[test]
fn a_chunk_is_acknowledged_behind_its_last_event() {
    let mut client = Client::new();
    let message = packed(&json!(["t", 0, {"log": "a"}, {"chunk": "abc=="}]));
    client.send(&message).unwrap();
    assert_eq!(client.answer, packed(&json!({"ack": "abc=="})));
    client.answer.clear();
    let events: Vec<u8> =
        (0..20_000).flat_map(|number| packed(&json!([1, {"log": number.to_string()}]))).collect();
    let message = packed_forward("t", &gzip(&events), &json!({"chunk": "x", "compressed": "gzip"}));
    client.send(message.get(..message.len() - 1).unwrap()).unwrap();
    assert_eq!((client.stored.len(), client.answer.len()), (1, 0));
    client.send(message.get(message.len() - 1..).unwrap()).unwrap();
    assert_eq!(client.answer, packed(&json!({"ack": "x"})));
    assert_eq!(client.stored.len(), 20_001);
    assert!(client.max_batch <= 8_193, "{}", client.max_batch);
    assert!(client.stored[20_000].contains("19999"));
}

#[test]
fn a_large_message_is_stored_while_it_arrives() {
    let text = "x".repeat(100_000);
    let events: Vec<u8> = (0..120).flat_map(|_| packed(&json!([1, {"log": text}]))).collect();
    // Text that can't be compressed below the limit of whole messages.
    let mut state = 1_u64;
    let mut letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'0' + (state >> 58) as u8)
    };
    let noise: Vec<u8> = (0..140)
        .flat_map(|_| packed(&json!([1, {"log": (0..90_000).map(|_| letter()).collect::<String>()}])))
        .collect();
    for message in [
        packed_forward("t", &events, &json!({"chunk": "x"})),
        packed_forward("t", &gzip(&noise), &json!({"chunk": "x"})),
    ] {
        assert!(message.len() > 9_000_000);
        let mut client = Client::new();
        let (most, rest) = message.split_at(message.len() - 1_000);
        let mut largest = 0;
        for piece in most.chunks(65_536) {
            client.send(piece).unwrap();
            largest = largest.max(client.buffer.len());
        }
        assert!(client.stored.len() > 50 && client.answer.is_empty());
        assert!(largest < 9_000_000);
        client.send(rest).unwrap();
        assert_eq!(client.answer, packed(&json!({"ack": "x"})));
        assert!(client.buffer.is_empty());
    }
}

#[test]
fn heartbeats_and_other_values_are_ignored() {
    let message = [b"\xc0\x00\x80\xa2ab\xc0"[..].to_vec(), packed(&json!(["t", 0, {"log": "a"}]))].concat();
    assert_eq!(stored(&message), ["INFO - a | tag=t"]);
    assert!(stored(b"\x92\xa1t\x90").is_empty());
    assert!(stored(b"\x93\xa1t\x00\xc0").is_empty());
    assert!(stored(b"\x92\xa1t\xc4\x00").is_empty());
}

#[test]
fn text_that_is_no_utf8_is_replaced() {
    let message = b"\x93\xa1t\x00\x82\xa3log\xa2a\xff\xa1b\xc4\x01\xfe";
    assert_eq!(stored(message), ["INFO - a\u{fffd} | b=\u{fffd} tag=t utf8=replaced"]);
}

#[test]
fn malformed_messages_end_the_connection() {
    let bomb = gzip(&vec![0; 50_000_000]);
    let huge = gzip(&[&b"\x92\x01\xdb\x10\x00\x00\x00"[..], &vec![b'a'; 50_000_000]].concat());
    let deep = [&b"\x93\xa1t\x00\x81\xa1a"[..], &[0x91; 100]].concat();
    for message in [
        b"GET / HTTP/1.1\r\n".to_vec(),
        b"\x91\xa1t".to_vec(),
        b"\x90".to_vec(),
        b"\x92\xa1t\x00".to_vec(),
        b"\x93\xa1t\x00\x05".to_vec(),
        b"\x93\x01\x00\x80".to_vec(),
        b"\xc1".to_vec(),
        packed_forward("t", b"\x92\x01", &json!({})),
        packed_forward("t", b"\x05", &json!({})),
        packed_forward("t", b"\x1f\x8b\x00\x00", &json!({})),
        packed_forward("t", &bomb, &json!({})),
        packed_forward("t", &huge, &json!({})),
        deep,
    ] {
        let mut client = Client::new();
        assert!(client.send(&message).is_err(), "{:x?}", message.get(..20));
        assert!(client.stored.is_empty() && client.answer.is_empty());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        bytes in prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => Just(0x93), 1 => Just(0xa1), 1 => Just(0x82)], 0..80),
        cut in 0..80_usize,
    ) {
        let mut whole = Client::new();
        let outcome = whole.send(&bytes);
        let (first, second) = bytes.split_at(cut.min(bytes.len()));
        let mut pieces = Client::new();
        let other = pieces.send(first).and_then(|()| pieces.send(second));
        prop_assert_eq!(outcome, other);
        prop_assert_eq!(whole.stored, pieces.stored);
        prop_assert_eq!(whole.answer, pieces.answer);
    }

    #[test]
    fn generated_events_come_back(
        texts in prop::collection::vec(".{0,30}", 1..40),
        is_compressed: bool,
        step in 1..60_usize,
    ) {
        let events: Vec<u8> =
            texts.iter().flat_map(|text| packed(&json!([1, {"message": text, "n": text.len()}]))).collect();
        let events = if is_compressed { gzip(&events) } else { events };
        let mut client = Client::new();
        for piece in packed_forward("t", &events, &json!({"chunk": "c"})).chunks(step) {
            client.send(piece).unwrap();
        }
        let expected: Vec<String> =
            texts.iter().map(|text| format!("INFO - {text} | n={} tag=t", text.len())).collect();
        prop_assert_eq!(client.stored, expected);
        prop_assert_eq!(client.answer, packed(&json!({"ack": "c"})));
    }
}
