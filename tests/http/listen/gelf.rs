//! Tests of GELF over UDP, TCP and TLS.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::json;

use super::{SOON, free_port, listening_for, metric, send};
use crate::harness::{Conn, Server, eventually};

/// Returns the stored records as `LEVEL message | NAME=VALUE …`.
fn records(server: &Server) -> Vec<String> {
    let parsed = server.parsed();
    assert!(parsed.iter().all(|line| line.route == "gelf" && line.key == "devices"));
    parsed.iter().map(|line| format!("{} {} | {}", line.level, line.message, line.shown_fields())).collect()
}

fn stored(server: &Server, count: usize) -> Vec<String> {
    eventually("the messages are stored", SOON, || server.log_lines().len() == count);
    records(server)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn chunk(number: u64, place: u8, count: u8, payload: &[u8]) -> Vec<u8> {
    [&b"\x1e\x0f"[..], &number.to_be_bytes(), &[place, count], payload].concat()
}

const MESSAGE: &[u8] =
    br#"{"version":"1.1","host":"web1","short_message":"disk full","full_message":"disk full\nat /x",
    "timestamp":1795410148.25,"level":3,"_user_id":42}"#;

const RECORD: &str =
    "ERROR disk full\nat /x | at=2026-11-23T05:02:28.250000Z user_id=42 version=1.1 host=web1";

#[test]
fn datagrams_are_plain_compressed_or_in_chunks() {
    let port = free_port();
    let server = listening_for("gelf", &[format!("udp://127.0.0.1:{port}")]).start();
    send(port, MESSAGE);
    send(port, &gzip(MESSAGE));
    send(port, &zlib(MESSAGE));
    let compressed = gzip(MESSAGE);
    let half = compressed.len() / 2;
    send(port, &chunk(1, 1, 2, &compressed[half..]));
    send(port, &chunk(1, 1, 2, &compressed[half..]));
    send(port, &chunk(1, 0, 2, &compressed[..half]));
    assert_eq!(stored(&server, 4), [RECORD; 4]);
    // Bombs and everything else that is no message are counted, and the next message is stored.
    let before = metric(&server, "moca_datagrams_dropped_total");
    for datagram in [&b"text"[..], b"\x1e\x0f", b"[]", &gzip(&vec![b' '; 10_000_000]), &chunk(2, 5, 2, b"")] {
        send(port, datagram);
    }
    send(port, MESSAGE);
    assert_eq!(stored(&server, 5)[4], RECORD);
    assert_eq!(metric(&server, "moca_datagrams_dropped_total") - before, 5);
}

#[test]
fn half_messages_are_bounded_and_given_up() {
    let port = free_port();
    let server = listening_for("gelf", &[format!("udp://127.0.0.1:{port}")]).start();
    for number in 0..1_200 {
        send(port, &chunk(number, 0, 2, b"{\"short_message\":"));
        if number % 50 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    send(port, &chunk(0, 1, 2, b"\"lost\"}"));
    send(port, &chunk(1_199, 1, 2, b"\"kept\"}"));
    assert_eq!(stored(&server, 1), ["INFO kept | "]);
    assert!(metric(&server, "moca_datagrams_dropped_total") >= 200);
}

#[test]
fn messages_of_a_connection_end_at_zero_bytes_or_line_ends() {
    let (tcp, tls) = (free_port(), free_port());
    let on = [format!("tcp://127.0.0.1:{tcp}"), format!("tls://127.0.0.1:{tls}")];
    let server = listening_for("gelf", &on).tls().start();
    let mut stream = TcpStream::connect(("127.0.0.1", tcp)).unwrap();
    for byte in [MESSAGE, b"\0"].concat() {
        stream.write_all(&[byte]).unwrap();
    }
    stored(&server, 1);
    stream.write_all(b"{\"short_message\":\"one\"}\nno json\0{\"short_message\":\"last\"}").unwrap();
    assert_eq!(stored(&server, 3)[1..], ["INFO one | ", "INFO no json | parse=failed"]);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(stored(&server, 4)[3], "INFO last | ");
    let mut encrypted = Conn::open_tls(([127, 0, 0, 1], tls).into(), "http/1.1").unwrap();
    encrypted.send_raw(&[MESSAGE, b"\0"].concat()).unwrap();
    assert_eq!(stored(&server, 5)[4], RECORD);
}

#[test]
fn a_long_message_is_cut_and_an_endless_one_ends_the_connection() {
    let port = free_port();
    let server = listening_for("gelf", &[format!("tcp://127.0.0.1:{port}")]).start();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let message = json!({"short_message": "a".repeat(300_000)}).to_string();
    stream.write_all(&[message.as_bytes(), b"\0"].concat()).unwrap();
    stored(&server, 1);
    assert_eq!(server.parsed()[0].field("cut"), Some("300000"));
    let endless = vec![b'{'; 1_000_000];
    while stream.write_all(&endless).is_ok() {}
    assert!(metric(&server, "moca_refused_total{reason=\"body_too_large\"}") > 0);
}
