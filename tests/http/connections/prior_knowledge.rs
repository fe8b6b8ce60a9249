//! Tests of HTTP/2 without TLS by prior knowledge (RFC 9113, section 3.3).

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::frames::{self, Frames};
use crate::harness::{KEY, Setup, cannot_run, route};

#[test]
fn requests_are_answered_without_tls() {
    let server = Setup::new().start();
    let mut frames = Frames::open_plain(server.address(), &[]);
    let body = format!("{{\"api_key\": \"{KEY}\", \"message\": \"plain\"}}");
    let json = [("content-type", "application/json")];
    frames.request(1, "POST", &route("save-log"), &json, false).unwrap();
    frames.send(frames::DATA, frames::END_STREAM, 1, body.as_bytes()).unwrap();
    assert_eq!(frames.status().unwrap(), (1, 200));
    frames.request(3, "GET", "/nowhere", &[], true).unwrap();
    assert_eq!(frames.status().unwrap(), (3, 404));
    assert_eq!(server.messages(), ["plain"]);
}

/// The fast path is off with these options, so other code reads the first bytes.
#[test]
fn requests_are_answered_without_the_fast_path() {
    let server = Setup::new().server("debug", json!(true)).start();
    let mut frames = Frames::open_plain(server.address(), &[]);
    frames.request(1, "GET", "/status", &[], true).unwrap();
    assert_eq!(frames.status().unwrap(), (1, 200));
    assert_eq!(server.get("/status").status, 200);
    server.assert_alive();
}

#[test]
fn the_preface_may_arrive_in_any_pieces() {
    for setup in [Setup::new(), Setup::new().server("debug", json!(true))] {
        let server = setup.start();
        for cuts in [vec![1], vec![3, 4], vec![14, 18], vec![23], (1..24).collect()] {
            let mut conn = server.connect_bare();
            let mut begin = 0;
            for cut in cuts {
                conn.send_raw(&frames::PREFACE[begin..cut]).unwrap();
                begin = cut;
                std::thread::sleep(Duration::from_millis(30));
            }
            conn.send_raw(&frames::PREFACE[begin..]).unwrap();
            let mut frames = Frames { conn };
            frames.send(frames::SETTINGS, 0, 0, &[]).unwrap();
            frames.request(1, "GET", "/status", &[], true).unwrap();
            assert_eq!(frames.status().unwrap(), (1, 200));
        }
    }
}

#[test]
fn what_only_begins_like_the_preface_is_http1() {
    let server = Setup::new().http("request_timeout = 1").start();
    for bytes in ["P", "PRI", "PRI * HTTP/2.0\r\n\r\nSM"] {
        let mut conn = server.connect();
        conn.send_raw(bytes.as_bytes()).unwrap();
        let answer = String::from_utf8_lossy(&conn.read_to_end()).into_owned();
        // The last one is a whole head of HTTP/1, followed by a part of another one.
        assert!(answer.starts_with("HTTP/1.1 40"), "{bytes}: {answer:?}");
    }
    for bytes in ["PRI * HTTP/2.0\r\n\r\nSMx\r\n\r\n", "PRI * HTTP/1.1\r\nHost: a\r\n\r\n", "PRIX"] {
        let mut conn = server.connect();
        conn.send_raw(bytes.as_bytes()).unwrap();
        conn.half_close();
        let answer = String::from_utf8_lossy(&conn.read_to_end()).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{bytes}: {answer:?}");
    }
    // A request whose first letters arrive alone.
    let mut conn = server.connect();
    for piece in ["P", "R", "OPFIND /status HTTP/1.1\r\nHost: a\r\n\r\n"] {
        conn.send_raw(piece.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(conn.receive("PROPFIND").unwrap().status, 405);
    server.assert_alive();
}

#[test]
fn the_preface_counts_only_at_the_begin_of_a_connection() {
    let server = Setup::new().start();
    for first in ["fast", "slow"] {
        let mut conn = server.connect();
        let headers = [("Content-Type", "application/json"), ("X-Slow", "1")];
        let headers = if first == "fast" { &headers[..1] } else { &headers[..] };
        let body = json!({"api_key": KEY, "message": first}).to_string();
        conn.request("POST", &route("save-log"), headers, body.as_bytes()).success();
        conn.send_raw(frames::PREFACE).unwrap();
        let answer = String::from_utf8_lossy(&conn.read_to_end()).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    }
    server.assert_alive();
}

#[test]
fn prior_knowledge_is_not_for_tls() {
    let server = Setup::new().tls().start();
    let mut conn = server.connect();
    conn.send_raw(frames::PREFACE).unwrap();
    let answer = String::from_utf8_lossy(&conn.read_to_end()).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    let mut conn = server.connect_bare();
    conn.send_raw(frames::PREFACE).unwrap();
    let answer = String::from_utf8_lossy(&conn.read_to_end()).into_owned();
    assert!(answer.contains("This port speaks HTTPS"), "{answer:?}");
}

#[test]
fn an_offer_to_upgrade_is_ignored() {
    let server = Setup::new().start();
    let mut conn = server.connect();
    let offer =
        [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk")];
    for _ in 0..2 {
        let response = conn.request("GET", "/status", &offer, b"");
        assert_eq!(response.status, 200, "{response:?}");
        assert!(response.header("upgrade").is_none(), "{response:?}");
    }
    let body = json!({"api_key": KEY, "message": "no upgrade"}).to_string();
    let headers = [&offer[..], &[("Content-Type", "application/json")]].concat();
    conn.request("POST", &route("save-log"), &headers, body.as_bytes()).success();
    assert_eq!(server.messages(), ["no upgrade"]);
}

#[test]
fn the_admin_socket_speaks_http2_as_well() {
    let server = Setup::new().with_admin_socket().start();
    let mut stream = UnixStream::connect(server.admin_socket()).unwrap();
    let head = frames::head("GET", "/status", &[]);
    let bytes = [
        frames::PREFACE,
        &frames::frame(frames::SETTINGS, 0, 0, &[]),
        &frames::frame(frames::HEADERS, 5, 1, &head),
    ]
    .concat();
    stream.write_all(&bytes).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains("is working") {
        let mut piece = [0; 1000];
        let count = std::io::Read::read(&mut stream, &mut piece).unwrap();
        assert!(count > 0, "closed: {received:?}");
        received.extend_from_slice(&piece[..count]);
    }
}

#[test]
fn a_stop_answers_open_streams_without_tls() {
    let mut server = Setup::new().key("slow", &json!({"delay": 0.7})).start();
    let mut frames = Frames::open_plain(server.address(), &[]);
    let target = format!("{}?api_key=slow&message=in+flight", route("save-log"));
    frames.request(1, "GET", &target, &[], true).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.signal(Signal::SIGTERM);
    assert_eq!(frames.receive_one_of(&[frames::GOAWAY]).unwrap().stream, 0);
    assert_eq!(frames.status().unwrap(), (1, 200));
    assert_eq!(server.wait_for_exit(Duration::from_secs(8)).code(), Some(0));
    assert_eq!(server.messages(), ["in flight"]);
}

#[test]
fn curl_speaks_http2_by_prior_knowledge() {
    let server = Setup::new().start();
    let url = format!("http://{}{}?api_key={KEY}&message=curl", server.address(), route("save-log"));
    let version = Command::new("curl").arg("-V").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("HTTP2")) {
        return cannot_run("curl with HTTP/2");
    }
    for (how, wanted) in [("--http2-prior-knowledge", "success. 2"), ("--http2", "success. 1.1")] {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "10", how, "-w", " %{http_version}", &url])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text, wanted, "{how}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(server.messages(), ["curl", "curl"]);
}

#[test]
fn a_silent_connection_does_not_delay_a_stop() {
    let mut server = Setup::new().start();
    let silent = UnixStream::connect(server.run_dir().join("sample1.sock")).unwrap();
    // The answer to a later connection shows that the server has accepted the silent one.
    server.get("/status");
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    assert!(server.stop().success());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(silent);
}
