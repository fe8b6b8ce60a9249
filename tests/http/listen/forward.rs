//! Tests of Fluent Forward over TCP and Unix sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::{SOON, free_port, listening_for, metric};
use crate::harness::{Server, Setup, eventually};

/// Encodes a JSON value.
pub(super) fn packed(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(value, &mut bytes);
    bytes
}

fn pack(value: &Value, into: &mut Vec<u8>) {
    match value {
        Value::Null => rmp::encode::write_nil(into).unwrap(),
        Value::Bool(is_true) => rmp::encode::write_bool(into, *is_true).unwrap(),
        Value::Number(number) => {
            rmp::encode::write_uint(into, number.as_u64().unwrap()).unwrap();
        }
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

/// Returns an event with nanoseconds.
pub(super) fn event(seconds: u32, nanos: u32, record: &Value) -> Vec<u8> {
    [b"\x92\xd7\x00", &seconds.to_be_bytes()[..], &nanos.to_be_bytes(), &packed(record)].concat()
}

/// Returns a message with packed events.
fn packed_forward(events: &[u8], options: &Value) -> Vec<u8> {
    let mut message = b"\x93\xa7app.web".to_vec();
    rmp::encode::write_bin(&mut message, events).unwrap();
    pack(options, &mut message);
    message
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn records(server: &Server) -> Vec<String> {
    let parsed = server.parsed();
    assert!(parsed.iter().all(|line| line.route == "forward" && line.key == "devices"));
    parsed.iter().map(|line| format!("{} {} | {}", line.level, line.message, line.shown_fields())).collect()
}

fn stored(server: &Server, count: usize) -> Vec<String> {
    eventually("the events are stored", SOON, || server.log_lines().len() == count);
    records(server)
}

fn open(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Reads exactly these bytes.
pub(super) fn expect(stream: &mut impl Read, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, expected);
}

fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

#[test]
fn every_mode_is_stored_and_acknowledged() {
    let port = free_port();
    let server = listening_for("forward", &[format!("tcp://127.0.0.1:{port}")]).start();
    let record = json!({"log": "disk full", "level": "error", "http": {"status": 500}});
    let one = event(1_795_410_148, 123_456_000, &record);
    let events = [&one[..], &one].concat();
    let mut stream = open(port);
    let forward = [&b"\x93\xa7app.web\x92"[..], &events, &packed(&json!({"chunk": "b"}))].concat();
    let messages = [
        packed(&json!(["app.web", 1_795_410_148, record, {"chunk": "a"}])),
        forward,
        packed_forward(&events, &json!({"chunk": "c", "size": 2})),
        packed_forward(&gzip(&events), &json!({"chunk": "d", "compressed": "gzip"})),
    ];
    for (message, chunk) in messages.iter().zip(["a", "b", "c", "d"]) {
        for piece in message.chunks(7) {
            stream.write_all(piece).unwrap();
        }
        // The answer comes when the events are durable.
        expect(&mut stream, &packed(&json!({"ack": chunk})));
        let expected = match chunk {
            "a" => 1,
            "b" => 3,
            "c" => 5,
            _ => 7,
        };
        assert_eq!(server.log_lines().len(), expected);
    }
    let records = stored(&server, 7);
    let fields = "http.status=500 tag=app.web";
    assert_eq!(records[0], format!("ERROR disk full | at=2026-11-23T05:02:28.000000Z {fields}"));
    for record in &records[1..] {
        assert_eq!(*record, format!("ERROR disk full | at=2026-11-23T05:02:28.123456Z {fields}"));
    }
    // A heartbeat has no answer, and neither has a message without a chunk.
    stream.write_all(b"\xc0").unwrap();
    stream.write_all(&packed(&json!(["t", 0, {"log": "last"}]))).unwrap();
    assert_eq!(stored(&server, 8)[7], "INFO last | tag=t");
}

#[test]
fn a_message_that_breaks_off_leaves_nothing() {
    let port = free_port();
    let server = listening_for("forward", &[format!("tcp://127.0.0.1:{port}")]).start();
    let events: Vec<u8> =
        (0..5_000).flat_map(|number| packed(&json!([1, {"log": number.to_string()}]))).collect();
    let message = packed_forward(&events, &json!({"chunk": "x"}));
    let mut stream = open(port);
    stream.write_all(&message[..message.len() / 2]).unwrap();
    drop(stream);
    eventually("it is counted", SOON, || {
        metric(&server, "moca_refused_total{reason=\"incomplete_body\"}") == 1
    });
    assert!(server.log_lines().is_empty());
    let mut stream = open(port);
    stream.write_all(&message).unwrap();
    expect(&mut stream, &packed(&json!({"ack": "x"})));
    let messages = server.messages();
    assert_eq!(messages.len(), 5_000);
    assert!(messages.iter().enumerate().all(|(number, message)| *message == number.to_string()));
}

#[test]
fn other_protocols_and_bombs_end_the_connection() {
    let port = free_port();
    let server = listening_for("forward", &[format!("tcp://127.0.0.1:{port}")]).start();
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        packed_forward(&gzip(&vec![0; 30_000_000]), &json!({})),
        packed_forward(
            &gzip(&[&b"\x92\x01\xdb\x7f\xff\xff\xff"[..], &vec![b'a'; 30_000_000]].concat()),
            &json!({}),
        ),
        [&b"\x93\xa1t\x00\x81\xa1a"[..], &[0x91; 100]].concat(),
    ] {
        let mut stream = open(port);
        stream.write_all(&bytes).unwrap();
        assert!(is_closed(&mut stream));
    }
    let mut stream = open(port);
    stream.write_all(&packed(&json!(["t", 0, {"log": "next"}]))).unwrap();
    assert_eq!(stored(&server, 1), ["INFO next | tag=t"]);
}

#[test]
fn an_event_that_is_too_large_ends_the_connection() {
    let port = free_port();
    let server = listening_for("forward", &[format!("tcp://127.0.0.1:{port}")]).start();
    let mut stream = open(port);
    stream.write_all(b"\x93\xa1t\x00\x81\xa3log\xdb\x7f\xff\xff\xff").unwrap();
    while stream.write_all(&[b'a'; 65_536]).is_ok() {}
    assert!(metric(&server, "moca_refused_total{reason=\"body_too_large\"}") > 0);
    assert!(server.log_lines().is_empty());
}

fn digest(parts: &[&[u8]]) -> String {
    data_encoding::HEXLOWER.encode(&Sha512::digest(parts.concat()))
}

/// Reads HELO, sends PING with the digest of this secret, and returns the PONG.
fn handshake(stream: &mut TcpStream, secret: &str) -> (Vec<u8>, [u8; 16]) {
    expect(stream, b"\x92\xa4HELO\x83\xa5nonce\xc4\x10");
    let mut nonce = [0; 16];
    stream.read_exact(&mut nonce).unwrap();
    expect(stream, b"\xa4auth\xc4\x00\xa9keepalive\xc3");
    let proof = digest(&[b"salt", b"client", &nonce, secret.as_bytes()]);
    stream.write_all(&packed(&json!(["PING", "client", "salt", proof, "", ""]))).unwrap();
    let mut pong = vec![0; 7];
    stream.read_exact(&mut pong).unwrap();
    (pong, nonce)
}

#[test]
fn a_shared_key_is_proved_by_both() {
    let port = free_port();
    let listen = json!([{
        "type": "forward", "on": format!("tcp://127.0.0.1:{port}"), "key": "devices", "shared_key": "s3cret",
    }]);
    let server = Setup::new().key("dk", &json!({"name": "devices"})).log("listen", listen).start();
    let mut stream = open(port);
    let (pong, nonce) = handshake(&mut stream, "s3cret");
    assert_eq!(pong, b"\x95\xa4PONG\xc3");
    let proof = digest(&[b"salt", b"moca-file-log", &nonce, b"s3cret"]);
    expect(&mut stream, &[&b"\xa0\xadmoca-file-log\xd9\x80"[..], proof.as_bytes()].concat());
    stream.write_all(&packed(&json!(["t", 0, {"log": "a"}, {"chunk": "c"}]))).unwrap();
    expect(&mut stream, &packed(&json!({"ack": "c"})));
    let mut stream = open(port);
    assert_eq!(handshake(&mut stream, "other").0, b"\x95\xa4PONG\xc2");
    expect(&mut stream, b"\xb3shared_key mismatch\xa0\xa0");
    assert!(is_closed(&mut stream));
    // Without a handshake, nothing is stored.
    let mut stream = open(port);
    stream.write_all(&packed(&json!(["t", 0, {"log": "b"}]))).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.windows(6).any(|bytes| bytes == b"\xa4PONG\xc2"));
    assert_eq!(stored(&server, 1), ["INFO a | tag=t"]);
    assert!(!server.stderr().contains("s3cret"));
}

#[test]
fn maintenance_keeps_the_answer_back() {
    let port = free_port();
    let server = listening_for("forward", &[format!("tcp://127.0.0.1:{port}")]).start();
    server.set("system.json", "/maintenance_mode", json!(true));
    eventually("maintenance begins", SOON, || server.get("/moca-file-log/save-log?message=a").status == 503);
    let mut stream = open(port);
    stream.write_all(&packed(&json!(["t", 0, {"log": "a"}, {"chunk": "c"}]))).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(stream.read(&mut [0]).is_err() && server.log_lines().is_empty());
    server.set("system.json", "/maintenance_mode", json!(false));
    stream.set_read_timeout(Some(SOON)).unwrap();
    expect(&mut stream, &packed(&json!({"ack": "c"})));
    assert_eq!(stored(&server, 1), ["INFO a | tag=t"]);
}

#[test]
fn a_unix_socket_takes_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forward");
    let server = listening_for("forward", &[format!("unix:{}", path.display())]).start();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&packed(&json!(["t", 0, {"log": "a"}, {"chunk": "c"}]))).unwrap();
    expect(&mut stream, &packed(&json!({"ack": "c"})));
    assert_eq!(stored(&server, 1), ["INFO a | tag=t"]);
}
