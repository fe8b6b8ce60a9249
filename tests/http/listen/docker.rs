//! Replays what the logging drivers of Docker send: `gelf`, `fluentd` and `syslog`.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};

use super::forward::{expect, packed};
use super::{SOON, free_port, listening, listening_for, send};
use crate::harness::{Server, eventually};

fn stored(server: &Server, count: usize) -> Vec<String> {
    eventually("the records are stored", SOON, || server.log_lines().len() == count);
    let parsed = server.parsed();
    parsed.iter().map(|line| format!("{} {} | {}", line.level, line.message, line.shown_fields())).collect()
}

/// Returns the message that the `gelf` driver makes of a line of a container.
fn gelf_message(line: &str, is_error: bool) -> Vec<u8> {
    let message = json!({
        "version": "1.1",
        "host": "docker1",
        "short_message": line,
        "timestamp": 1_795_410_148.25,
        "level": if is_error { 3 } else { 6 },
        "_command": "nginx -g daemon off;",
        "_container_id": "4f6c",
        "_container_name": "web",
        "_created": "2026-11-23T05:00:00.1Z",
        "_image_id": "sha256:9d",
        "_image_name": "nginx:1",
        "_tag": "4f6c",
    });
    message.to_string().into_bytes()
}

const GELF_FIELDS: &str = "command=nginx -g daemon off; container_id=4f6c container_name=web \
    created=2026-11-23T05:00:00.1Z image_id=sha256:9d image_name=nginx:1 tag=4f6c";

#[test]
fn gelf_driver_over_udp() {
    let port = free_port();
    let server = listening_for("gelf", &[format!("udp://127.0.0.1:{port}")]).start();
    // The driver compresses by gzip, or by `gelf-compression-type`.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&gelf_message("GET /", false)).unwrap();
    send(port, &gzip.finish().unwrap());
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(&gelf_message("failed", true)).unwrap();
    send(port, &zlib.finish().unwrap());
    // A datagram has at most 1420 bytes.
    let long = gelf_message(&"x".repeat(5_000), true);
    let count = long.chunks(1_408).count() as u8;
    for (place, payload) in long.chunks(1_408).enumerate() {
        send(port, &[&b"\x1e\x0f12345678"[..], &[place as u8, count], payload].concat());
    }
    let records = stored(&server, 3);
    let at = "at=2026-11-23T05:02:28.250000Z";
    assert_eq!(records[0], format!("INFO GET / | {at} level=6 {GELF_FIELDS} host=docker1 version=1.1"));
    assert_eq!(records[1], format!("ERROR failed | {at} {GELF_FIELDS} host=docker1 version=1.1"));
    assert_eq!(server.messages()[2], "x".repeat(5_000));
}

#[test]
fn gelf_driver_over_tcp() {
    let port = free_port();
    let server = listening_for("gelf", &[format!("tcp://127.0.0.1:{port}")]).start();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    for line in ["one", "two"] {
        stream.write_all(&[&gelf_message(line, true)[..], b"\0"].concat()).unwrap();
    }
    stored(&server, 2);
    assert_eq!(server.messages(), ["one", "two"]);
}

/// Returns the record of the `fluentd` driver.
fn fluentd_record(line: &str) -> Value {
    json!({"container_id": "4f6c", "container_name": "/web", "log": line, "source": "stderr"})
}

const FLUENTD_FIELDS: &str = "container_id=4f6c container_name=/web source=stderr tag=docker.web";

#[test]
fn fluentd_driver_over_tcp_and_a_unix_socket() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forward");
    let on = [format!("tcp://127.0.0.1:{port}"), format!("unix:{}", path.display())];
    let server = listening_for("forward", &on).start();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // The time of the driver is a number of 64 bits. It sends options, even without any.
    let mut message = b"\x94\xaadocker.web\xd3".to_vec();
    message.extend_from_slice(&1_795_410_148_i64.to_be_bytes());
    message.extend_from_slice(&packed(&fluentd_record("one")));
    message.push(0x80);
    stream.write_all(&message).unwrap();
    // `fluentd-sub-second-precision`, and `fluentd-request-ack`.
    let mut message = b"\x94\xaadocker.web\xc7\x08\x00".to_vec();
    message.extend_from_slice(&1_795_410_148_u32.to_be_bytes());
    message.extend_from_slice(&250_000_000_u32.to_be_bytes());
    message.extend_from_slice(&packed(&fluentd_record("two")));
    message.extend_from_slice(&packed(&json!({"chunk": "ZGVmYXVsdA=="})));
    stream.write_all(&message).unwrap();
    expect(&mut stream, &packed(&json!({"ack": "ZGVmYXVsdA=="})));
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(&message).unwrap();
    expect(&mut stream, &packed(&json!({"ack": "ZGVmYXVsdA=="})));
    assert_eq!(
        stored(&server, 3),
        [
            format!("INFO one | at=2026-11-23T05:02:28.000000Z {FLUENTD_FIELDS}"),
            format!("INFO two | at=2026-11-23T05:02:28.250000Z {FLUENTD_FIELDS}"),
            format!("INFO two | at=2026-11-23T05:02:28.250000Z {FLUENTD_FIELDS}"),
        ]
    );
}

#[test]
fn syslog_driver_in_each_format() {
    let port = free_port();
    let on = [format!("udp://127.0.0.1:{port}"), format!("tcp://127.0.0.1:{port}")];
    let server = listening(&on).start();
    // No `syslog-format`, `rfc3164`, `rfc5424` and `rfc5424micro`.
    send(port, b"<30>Nov 23 05:02:28 4f6c[612]: one\n");
    send(port, b"<27>Nov 23 05:02:28 docker1 4f6c[612]: two\n");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stored(&server, 2);
    stream.write_all(b"<30>1 2026-11-23T05:02:28Z docker1 4f6c 612 4f6c - three\n").unwrap();
    stream.write_all(b"<27>1 2026-11-23T05:02:28.250000Z docker1 4f6c 612 4f6c - four\n").unwrap();
    let records = stored(&server, 4);
    assert_eq!(server.messages(), ["one", "two", "three", "four"]);
    let of = |record: &str| record.split_once(" | ").map(|(_, fields)| fields.to_owned()).unwrap();
    assert!(records[0].starts_with("INFO one") && of(&records[0]).contains("app=4f6c procid=612"));
    assert!(records[1].starts_with("ERROR two") && of(&records[1]).contains("host=docker1 app=4f6c"));
    let three = "facility=daemon host=docker1 app=4f6c procid=612 msgid=4f6c";
    assert!(of(&records[2]).contains(three), "{}", records[2]);
    assert!(records[3].starts_with("ERROR four | at=2026-11-23T05:02:28.250000Z"));
    assert!(of(&records[3]).contains(three));
}
