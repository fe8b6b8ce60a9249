//! Tests with malicious clients, and with stops at bad moments. One client must not affect the
//! others.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Conn, KEY, Setup, route};

fn post(headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("POST {} HTTP/1.1\r\nHost: x\r\n", route("save-log"));
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    (text + "\r\n" + body).into_bytes()
}

fn whole(message: &str) -> Vec<u8> {
    let body = format!("message={message}");
    let length = body.len().to_string();
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    post(&[("API-KEY", KEY), form, ("Content-Length", &length)], &body)
}

#[test]
fn announced_lengths_without_a_key_reserve_no_memory() {
    let server = Setup::new().http("response_timeout = 3").start();
    let announced = [100_000_000, 27_000_000, 1_000_000, 1_000_000, 300_000, 300_000, 20_000, 20_000];
    let mut open: Vec<Conn> = announced
        .iter()
        .map(|length| {
            let mut conn = server.connect();
            let json = ("Content-Type", "application/json");
            conn.send_raw(&post(&[json, ("Content-Length", &length.to_string())], "{")).unwrap();
            conn
        })
        .collect();
    std::thread::sleep(Duration::from_millis(100));
    open.iter_mut().for_each(|conn| conn.send_raw(b" ").unwrap());
    std::thread::sleep(Duration::from_millis(100));
    let body = json!({"message": "x".repeat(8000)});
    let headers = [("API-KEY", KEY), ("Content-Type", "application/json")];
    server.request("POST", &route("save-log"), &headers, body.to_string().as_bytes()).success();
}

#[test]
fn a_multipart_body_takes_memory_for_its_size_only() {
    let server = Setup::new().start();
    let before = server.memory_now();
    let head = "--B\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\n";
    let mut body = head.as_bytes().to_vec();
    body.extend(std::iter::repeat_n(0xff_u8, 40_000_000));
    body.extend_from_slice(b"\r\n--B--\r\n");
    let kind = [("Content-Type", "multipart/form-data; boundary=B")];
    let answer = server.request("POST", &route("save-log"), &kind, &body);
    // Each byte would become U+FFFD, which has three.
    assert_eq!(answer.status, 413, "{answer:?}");
    // The buffer of the body doubles when it grows, and is copied then.
    let peak = server.memory_peak() - before;
    assert!(peak < 120_000_000, "{peak} bytes");
    server.assert_alive();
}

#[test]
fn connections_in_the_backlog_are_answered_at_a_stop() {
    const COUNT: usize = 400;
    let mut server = Setup::new().server("backlog", json!(2000)).start();
    server.signal(Signal::SIGSTOP);
    let mut waiting: Vec<Conn> = (0..COUNT)
        .map(|n| {
            let mut conn = server.connect();
            conn.send_raw(&whole(&format!("m{n}"))).unwrap();
            conn
        })
        .collect();
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGCONT);
    for (n, conn) in waiting.iter_mut().enumerate() {
        assert_eq!(conn.receive("POST").unwrap_or_else(|error| panic!("{n}: {error}")).status, 200);
    }
    assert!(server.wait_for_exit(Duration::from_secs(10)).success());
    assert_eq!(server.log_lines().len(), COUNT);
}

#[test]
fn a_stop_waits_for_the_rest_of_a_begun_head() {
    let mut server = Setup::new().start();
    let mut conn = server.connect();
    conn.send_raw(&whole("first")).unwrap();
    assert_eq!(conn.receive("POST").unwrap().status, 200);
    let second = whole("second");
    conn.send_raw(&second[..20]).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    server.signal(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(800));
    conn.send_raw(&second[20..]).unwrap();
    assert_eq!(conn.receive("POST").unwrap().status, 200);
    assert!(server.wait_for_exit(Duration::from_secs(10)).success());
}

#[test]
fn requests_that_outlast_the_stop_are_answered_503_or_408() {
    let mut server =
        Setup::new().key("slow", &json!({"delay": 20})).http("graceful_shutdown_timeout = 1").start();
    let mut delayed = server.connect();
    let body = r#"{"message":"m"}"#;
    let json = ("Content-Type", "application/json");
    delayed.send_raw(&post(&[("API-KEY", "slow"), json, ("Content-Length", "15")], body)).unwrap();
    let mut half = server.connect();
    half.send_raw(&post(&[("API-KEY", KEY), json, ("Content-Length", "15")], "{")).unwrap();
    std::thread::sleep(Duration::from_millis(150));
    server.signal(Signal::SIGTERM);
    delayed.receive("POST").unwrap().problem(503);
    half.receive("POST").unwrap().problem(408);
    assert!(server.wait_for_exit(Duration::from_secs(10)).success());
}

#[test]
fn malformed_requests_count_towards_dos_detect() {
    let server = Setup::new().posed().system("dos_detect", json!(5)).start();
    let smuggled = |conn: &mut Conn| {
        let headers =
            [("X-Real-IP", "203.0.113.9"), ("Content-Length", "5"), ("Transfer-Encoding", "chunked")];
        conn.send_raw(&post(&headers, "0\r\n\r\n")).unwrap();
        conn.receive("POST").unwrap().status
    };
    let statuses: Vec<u16> = (0..20).map(|_| smuggled(&mut server.connect())).collect();
    assert_eq!(statuses[0], 400);
    assert_eq!(statuses[19], 403, "{statuses:?}");
}

#[test]
fn garbage_after_a_request_is_refused() {
    let server = Setup::new().start();
    let mut conn = server.connect();
    let mut bytes = whole("good");
    bytes.extend_from_slice(b"GARBAGE\r\n\r\n");
    conn.send_raw(&bytes).unwrap();
    assert_eq!(conn.receive("POST").unwrap().status, 200);
    conn.receive("GET").unwrap().problem(400);
}

#[test]
fn blank_lines_do_not_hide_two_lengths() {
    let server = Setup::new().start();
    let mut conn = server.connect();
    let headers = [("API-KEY", KEY), ("Content-Length", "5"), ("Transfer-Encoding", "chunked")];
    let mut bytes = b"\r\n\r\n".to_vec();
    bytes.extend(post(&headers, "0\r\n\r\n"));
    conn.send_raw(&bytes).unwrap();
    conn.receive("POST").unwrap().problem(400);
}

#[test]
fn exactly_one_host_header_is_required() {
    let server = Setup::new().start();
    for head in [
        "GET /status HTTP/1.1\r\n\r\n",
        "GET /status HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /status HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /status HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET /status HTTP/1.1\r\nHost: me@a\r\n\r\n",
    ] {
        let mut conn = server.connect();
        conn.send_raw(head.as_bytes()).unwrap();
        conn.receive("GET").unwrap().problem(400);
    }
    let mut conn = server.connect();
    conn.send_raw(b"GET /status HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(conn.receive("GET").unwrap().status, 200);
}

#[test]
fn a_refusal_keeps_the_connection_open() {
    let server = Setup::new().key("limited", &json!({"rate": "0/minute"})).start();
    let mut conn = server.connect();
    for _ in 0..3 {
        let answer = conn.request("POST", &route("save-log"), &[("API-KEY", "limited")], b"message=m");
        answer.problem(429);
    }
    assert_eq!(conn.get("/status").status, 200);
}

#[test]
fn an_overflowing_length_and_an_endless_target_are_refused() {
    let server = Setup::new().start();
    let mut conn = server.connect();
    conn.send_raw(&post(&[("API-KEY", KEY), ("Content-Length", "99999999999999999999")], "")).unwrap();
    let answer = conn.receive("POST").unwrap();
    assert!([400, 413].contains(&answer.status), "{answer:?}");
    let mut conn = server.connect();
    conn.send_raw(format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(100_000)).as_bytes()).ok();
    conn.receive("GET").unwrap().problem(414);
}

#[test]
fn a_refused_client_that_keeps_sending_can_read_the_refusal() {
    let server = Setup::new().start();
    let mut conn = server.connect();
    let json = ("Content-Type", "application/json");
    conn.send_raw(&post(&[("API-KEY", "wrong"), json, ("Content-Length", "99000000")], "{")).unwrap();
    let piece = vec![b' '; 1_000_000];
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(250));
        conn.send_raw(&piece).expect("the server still takes what is sent");
    }
    conn.receive("POST").unwrap().unauthorized("Unknown API-KEY.");
}
