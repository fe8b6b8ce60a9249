//! Tests of the upload of a journal: the body is stored while it arrives.

use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::frames::{self, Frames};
use crate::harness::{Conn, KEY, Server, Setup, eventually};

const TYPE: (&str, &str) = ("Content-Type", "application/vnd.fdo.journal");
const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");
const AUTH: (&str, &str) = ("X-API-Key", KEY);

/// Time after which a record would have been stored, if the server had read it.
const LONG: Duration = Duration::from_millis(700);

fn entry(message: &str) -> Vec<u8> {
    format!(
        "__CURSOR=s=1;i={message}\n__REALTIME_TIMESTAMP=1795410148100000\n_BOOT_ID=b\nPRIORITY=3\n\
         MESSAGE={message}\n_PID=12\n_COMM=smartd\n\n"
    )
    .into_bytes()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn upload(server: &Server, headers: &[(&str, &str)], body: &[u8]) -> crate::harness::Response {
    server.request("POST", "/upload", &[&[TYPE, AUTH], headers].concat(), body)
}

/// Begins an upload in chunks.
fn begin(server: &Server) -> Conn {
    let mut conn = server.connect();
    conn.send("POST", "/upload", &[TYPE, AUTH, CHUNKED], b"").unwrap();
    conn
}

fn send(conn: &mut Conn, message: &str) {
    conn.send_raw(&chunk(&entry(message))).unwrap();
}

fn end(conn: &mut Conn) -> crate::harness::Response {
    conn.send_raw(b"0\r\n\r\n").unwrap();
    conn.receive("POST").unwrap()
}

fn wait_for(server: &Server, messages: &[&str]) {
    eventually("the records are stored", Duration::from_secs(10), || server.messages() == messages);
}

#[test]
fn entries_become_records() {
    let server = Setup::new().start();
    let answer = upload(&server, &[], &[entry("one"), entry("two")].concat());
    assert_eq!((answer.status, answer.text().as_str()), (202, "OK."));
    assert!(answer.expect_header("content-type").starts_with("text/plain"));
    assert_eq!(answer.expect_header("accept-encoding"), "zstd,lz4,xz");
    assert_eq!(upload(&server, &[], b"").status, 202);
    assert_eq!(server.messages(), ["one", "two"]);
    let line = &server.parsed()[0];
    assert_eq!((line.level.as_str(), line.route.as_str()), ("ERROR", "journal"));
    assert_eq!(line.shown_fields(), "at=2026-11-23T05:02:28.100000Z _boot_id=b _pid=12 _comm=smartd");
}

#[test]
fn records_are_visible_while_the_upload_runs() {
    let server = Setup::new().http("request_timeout = 1").http("request_max_size = 100000").start();
    let mut conn = begin(&server);
    let mut sent = Vec::new();
    for n in 0..8 {
        let message = format!("{n}");
        send(&mut conn, &message);
        sent.push(message);
        eventually("the record is visible", Duration::from_secs(5), || server.messages() == sent);
        std::thread::sleep(Duration::from_millis(250));
    }
    // Neither the time of a request nor the size of a body limits it.
    let filling = "x".repeat(50_000);
    for n in 0..20 {
        send(&mut conn, &format!("{n} {filling}"));
    }
    assert_eq!(end(&mut conn).status, 202);
    assert_eq!(server.messages().len(), 28);
    assert_eq!(upload(&server, &[], &entry("again")).status, 202);
}

#[test]
fn upload_without_progress_ends_and_keeps_its_records() {
    let server = Setup::new().http("body_timeout = 1").start();
    let mut conn = begin(&server);
    send(&mut conn, "whole");
    conn.send_raw(&chunk(b"MESSAGE=never ends")).unwrap();
    let began = Instant::now();
    let answer = conn.receive("POST").unwrap();
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(began.elapsed() > Duration::from_millis(500) && began.elapsed() < Duration::from_secs(10));
    assert_eq!(server.messages(), ["whole"]);
    server.assert_alive();
}

#[test]
fn cut_connection_keeps_what_arrived_whole() {
    let server = Setup::new().start();
    for headers in [vec![TYPE, AUTH, CHUNKED], vec![TYPE, AUTH, ("Content-Length", "1000000")]] {
        let mut conn = server.connect();
        conn.send("POST", "/upload", &headers, b"").unwrap();
        let body = [entry("one"), entry("two"), b"MESSAGE=half".to_vec()].concat();
        let is_chunked = headers.contains(&CHUNKED);
        conn.send_raw(&if is_chunked { chunk(&body) } else { body }).unwrap();
        drop(conn);
    }
    wait_for(&server, &["one", "two", "one", "two"]);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(server.messages().len(), 4);
}

#[test]
fn malformed_bodies_are_refused_behind_their_whole_entries() {
    let server = Setup::new().start();
    let huge = [entry("before"), b"MESSAGE\n".to_vec(), u64::MAX.to_le_bytes().to_vec()].concat();
    let cut =
        [entry("before"), b"MESSAGE\n".to_vec(), 10_u64.to_le_bytes().to_vec(), b"abc".to_vec()].concat();
    for body in [huge, cut] {
        let answer = upload(&server, &[], &body);
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.text().starts_with("The body is malformed"), "{answer:?}");
    }
    assert_eq!(upload(&server, &[("Content-Encoding", "zstd")], b"no zstd at all").status, 400);
    let answer = upload(&server, &[("Content-Encoding", "br")], &entry("x"));
    assert_eq!((answer.status, answer.expect_header("accept-encoding")), (415, "zstd,lz4,xz"));
    assert_eq!(server.messages(), ["before", "before"]);
    server.assert_alive();
}

#[test]
fn codings_are_decoded() {
    let server = Setup::new().start();
    let plain: Vec<u8> = (0..200).flat_map(|n| entry(&format!("{n}"))).collect();
    let zstd = zstd::stream::encode_all(&plain[..], 3).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(&plain).unwrap();
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(&plain).unwrap();
    for (coding, body) in [("ZSTD", zstd), ("XZ", xz.finish().unwrap()), ("LZ4", lz4.finish().unwrap())] {
        let before = server.messages().len();
        let answer = upload(&server, &[("Content-Encoding", coding)], &[&body[..], &body].concat());
        assert_eq!(answer.status, 202, "{coding} {answer:?}");
        assert_eq!(server.messages().len(), before + 400, "{coding}");
        // A part of a body.
        let answer = upload(&server, &[("Content-Encoding", coding)], &body[..body.len() - 1]);
        assert_eq!(answer.status, 400, "{coding} {answer:?}");
    }
}

#[test]
fn refusals_come_before_the_body_is_read_and_as_text() {
    let server = Setup::new()
        .key("limited", &json!({"rate": "1/hour"}))
        .key("elsewhere", &json!({"allowed_path": ["/save-log"]}))
        .start();
    let expect = ("Expect", "100-continue");
    let refused = |key: &str, status: u16| {
        let mut conn = server.connect();
        let key = [("X-API-Key", key)];
        let headers = [&[TYPE, CHUNKED, expect], &key[..usize::from(!key[0].1.is_empty())]].concat();
        conn.send("POST", "/upload", &headers, b"").unwrap();
        let answer = conn.receive("POST").unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.expect_header("content-type").starts_with("text/plain"), "{answer:?}");
        assert!(!answer.text().is_empty() && !answer.text().starts_with('{'), "{answer:?}");
        answer
    };
    refused("", 401);
    refused("nobody", 401);
    refused("elsewhere", 403);
    let limited = [TYPE, ("X-API-Key", "limited")];
    assert_eq!(server.request("POST", "/upload", &limited, &entry("first")).status, 202);
    assert!(refused("limited", 429).retry_after() > 0);
    server.signal(Signal::SIGUSR1);
    server.wait_for_status(503);
    refused(KEY, 503);
    server.signal(Signal::SIGUSR2);
    server.wait_for_status(200);
    assert_eq!(server.messages(), ["first"]);
    assert_eq!(server.request("GET", "/upload", &[AUTH], b"").status, 405);
}

#[test]
fn maintenance_stops_the_reading_of_an_upload() {
    let server = Setup::new().http("body_timeout = 2").start();
    let mut conn = begin(&server);
    send(&mut conn, "before");
    wait_for(&server, &["before"]);
    server.signal(Signal::SIGUSR1);
    server.wait_for_status(503);
    // One piece may have been asked for already.
    send(&mut conn, "at the edge");
    std::thread::sleep(LONG);
    send(&mut conn, "during");
    std::thread::sleep(LONG);
    assert!(server.messages().len() <= 2, "{:?}", server.messages());
    // The client waits for the server, so the time limit of the body does not apply.
    assert!(conn.is_silent_for(Duration::from_secs(3)));
    server.signal(Signal::SIGUSR2);
    wait_for(&server, &["before", "at the edge", "during"]);
    assert_eq!(end(&mut conn).status, 202);
}

#[test]
fn used_up_limit_stops_the_reading_of_an_upload() {
    let server = Setup::new().key("limited", &json!({"rate": "2/4 seconds"})).start();
    let mut conn = server.connect();
    conn.send("POST", "/upload", &[TYPE, CHUNKED, ("X-API-Key", "limited")], b"").unwrap();
    send(&mut conn, "one");
    wait_for(&server, &["one"]);
    let other = format!("{}?api_key=limited&message=other", crate::harness::route("save-log"));
    server.get(&other).success();
    send(&mut conn, "at the edge");
    std::thread::sleep(Duration::from_millis(300));
    send(&mut conn, "late");
    std::thread::sleep(LONG);
    assert!(!server.messages().contains(&"late".to_owned()), "{:?}", server.messages());
    wait_for(&server, &["one", "other", "at the edge", "late"]);
    assert_eq!(end(&mut conn).status, 202);
}

#[test]
fn stop_ends_an_upload_so_that_the_client_resumes() {
    let mut server = Setup::new().start();
    let mut conn = begin(&server);
    send(&mut conn, "before");
    wait_for(&server, &["before"]);
    let began = Instant::now();
    assert!(server.stop().success());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let answer = conn.receive("POST").unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    server.respawn();
    assert_eq!(server.messages(), ["before"]);
}

#[test]
fn uploads_over_http2_are_the_same() {
    let server = Setup::new().http("request_timeout = 1").start();
    let mut frames = Frames::open_plain(server.address(), &[]);
    let headers = [("content-type", TYPE.1), ("x-api-key", KEY)];
    frames.request(1, "POST", "/upload", &headers, false).unwrap();
    let mut sent = Vec::new();
    for n in 0..5 {
        let message = format!("{n}");
        frames.send(frames::DATA, 0, 1, &entry(&message)).unwrap();
        sent.push(message);
        eventually("the record is visible", Duration::from_secs(5), || server.messages() == sent);
        std::thread::sleep(Duration::from_millis(300));
    }
    frames.send(frames::DATA, frames::END_STREAM, 1, &entry("last")).unwrap();
    assert_eq!(frames.status().unwrap(), (1, 202));
    frames.request(3, "POST", "/upload", &headers, false).unwrap();
    frames.send(frames::DATA, 0, 3, &entry("first")).unwrap();
    sent.extend(["last".to_owned(), "first".to_owned()]);
    eventually("the record is visible", Duration::from_secs(5), || server.messages() == sent);
    frames.send(frames::DATA, 0, 3, &[entry("cut"), b"MESSAGE=half".to_vec()].concat()).unwrap();
    drop(frames);
    sent.push("cut".to_owned());
    eventually("the record is stored", Duration::from_secs(5), || server.messages() == sent);
}

#[test]
fn memory_does_not_grow_with_the_upload() {
    let server = Setup::new().http("request_max_size = 100000").start();
    upload(&server, &[], &entry("warm"));
    let before = server.memory_now();
    server.reset_memory_peak();
    let mut conn = begin(&server);
    let many: Vec<u8> = (0..500).flat_map(|n| entry(&format!("{n} {}", "x".repeat(150)))).collect();
    let piece = chunk(&many);
    let pieces = 64 * 1024 * 1024 / piece.len();
    for _ in 0..pieces {
        conn.send_raw(&piece).unwrap();
    }
    // A field of 64 MiB, of which the message keeps the beginning.
    let length = 64_u64 << 20;
    conn.send_raw(&chunk(&[b"MESSAGE\n", &length.to_le_bytes()[..]].concat())).unwrap();
    for _ in 0..64 {
        conn.send_raw(&chunk(&[b'm'; 1 << 20])).unwrap();
    }
    conn.send_raw(&chunk(b"\n\n")).unwrap();
    assert_eq!(end(&mut conn).status, 202);
    let grown = server.memory_peak().saturating_sub(before);
    assert!(grown < 24 * 1024 * 1024, "{grown} bytes for an upload of 128 MiB");
    let lines = server.parsed();
    assert_eq!(lines.len(), 1 + pieces * 500 + 1);
    let last = lines.last().unwrap();
    assert_eq!((last.message.len(), last.shown_fields().as_str()), (262_144, "cut=67108864"));
}

#[test]
fn dry_run_shows_the_lines() {
    let server = Setup::new().start();
    let answer =
        server.request("POST", "/upload?dry_run=1", &[TYPE, AUTH], &[entry("one"), entry("two")].concat());
    assert_eq!((answer.status, &answer.json()["records"]), (200, &json!(2)));
    assert!(server.messages().is_empty());
}
