//! Tests of HTTP/2 that curl cannot make, with floods, malformed heads, concurrent streams, and the
//! end of a connection.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::frames::{self, Frames};
use crate::harness::{KEY, Setup, route};

const LIMIT: Duration = Duration::from_secs(4);

fn save(message: &str) -> String {
    format!("{}?api_key={KEY}&message={message}", route("save-log"))
}

#[test]
fn a_thousand_streams_in_sequence_are_answered() {
    let server = Setup::new().tls().start();
    let mut frames = Frames::open(server.address(), &[]);
    for n in 0..1000 {
        frames.request(2 * n + 1, "GET", &save(&n.to_string()), &[], true).unwrap();
        let answer = frames.receive_one_of(&[frames::HEADERS, frames::RST_STREAM, frames::GOAWAY]).unwrap();
        assert_eq!((answer.kind, answer.stream), (frames::HEADERS, 2 * n + 1));
        // Gives the server window for the answers, which are small.
        frames.send(frames::WINDOW_UPDATE, 0, 0, &100_u32.to_be_bytes()).unwrap();
    }
    assert_eq!(server.messages().len(), 1000);
}

#[test]
fn a_thousand_streams_at_once_are_bounded() {
    let server = Setup::new().tls().key("slow", &json!({"delay": 0.5})).start();
    let before = server.memory_peak();
    let mut frames = Frames::open(server.address(), &[]);
    let target = format!("{}?api_key=slow&message=m", route("save-log"));
    let head = frames::head("GET", &target, &[]);
    for n in 0..1000 {
        // The server may have closed the connection.
        frames.send(frames::HEADERS, 5, 2 * n + 1, &head).ok();
    }
    let (mut answered, mut refused) = (0, 0);
    while answered + refused < 1000 {
        let kinds = [frames::HEADERS, frames::RST_STREAM, frames::GOAWAY];
        let Ok(frame) = frames.receive_one_of(&kinds) else { break };
        match frame.kind {
            frames::HEADERS => answered += 1,
            frames::RST_STREAM => refused += 1,
            _ => break,
        }
    }
    assert!((1..=32).contains(&answered), "{answered} requests were in hand at once, {refused} refused");
    assert!(server.memory_peak() - before < 30_000_000, "{} bytes", server.memory_peak() - before);
    server.save("served");
}

#[test]
fn rapid_resets_end_the_connection() {
    let server = Setup::new().tls().key("slow", &json!({"delay": 5})).start();
    let before = server.memory_peak();
    let target = format!("{}?api_key=slow&message=m", route("save-log"));
    let head = frames::head("GET", &target, &[]);
    let mut frames = Frames::open(server.address(), &[]);
    let mut flood = Vec::new();
    for n in 0..20_000_u32 {
        flood.extend_from_slice(&frames::frame(frames::HEADERS, 5, 2 * n + 1, &head));
        flood.extend_from_slice(&frames::frame(frames::RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    let started = Instant::now();
    // The server may close before all bytes are sent.
    frames.conn.send_raw(&flood).ok();
    frames.until_closed(LIMIT);
    assert!(started.elapsed() < LIMIT);
    assert!(server.memory_peak() - before < 30_000_000, "{} bytes", server.memory_peak() - before);
    server.save("served");
    assert_eq!(server.messages(), ["served"]);
}

#[test]
fn a_slow_stream_does_not_delay_the_others() {
    let server = Setup::new().tls().key("slow", &json!({"delay": 1})).http("response_timeout = 20").start();
    let mut frames = Frames::open(server.address(), &[]);
    let target = format!("{}?api_key=slow&message=slow", route("save-log"));
    frames.request(1, "GET", &target, &[], true).unwrap();
    for stream in [3, 5, 7] {
        frames.request(stream, "GET", &save("quick"), &[], true).unwrap();
        assert_eq!(frames.receive_one_of(&[frames::HEADERS]).unwrap().stream, stream);
    }
    assert_eq!(frames.receive_one_of(&[frames::HEADERS]).unwrap().stream, 1);
    assert_eq!(server.messages(), ["quick", "quick", "quick", "slow"]);
}

#[test]
fn each_stream_has_its_own_timeouts() {
    let server = Setup::new()
        .tls()
        .key("slow", &json!({"delay": 20}))
        .http("response_timeout = 1")
        .http("request_timeout = 2")
        .http("body_timeout = 1")
        .start();
    let mut frames = Frames::open(server.address(), &[]);
    let target = format!("{}?api_key=slow&message=m", route("save-log"));
    frames.request(1, "GET", &target, &[], true).unwrap();
    assert_eq!(frames.status().unwrap(), (1, 503));
    frames.request(3, "GET", "/status", &[], true).unwrap();
    assert_eq!(frames.status().unwrap(), (3, 200));
    frames.request(5, "POST", &route("save-log"), &[("api-key", KEY)], false).unwrap();
    let started = Instant::now();
    assert_eq!(frames.receive_one_of(&[frames::HEADERS]).unwrap().stream, 5);
    assert!(started.elapsed() > Duration::from_millis(700), "{:?}", started.elapsed());
}

#[test]
fn a_refused_body_does_not_end_the_other_streams() {
    let server = Setup::new().tls().http("request_max_size = 1000").start();
    let mut frames = Frames::open(server.address(), &[]);
    let headers = [("api-key", KEY), ("content-length", "2000")];
    frames.request(1, "POST", &route("save-log"), &headers, false).unwrap();
    let answer = frames.receive_one_of(&[frames::HEADERS]).unwrap();
    // The connection stays open. HTTP/1 would close it after this refusal.
    assert_eq!(answer.stream, 1);
    frames.request(3, "GET", "/status", &[], true).unwrap();
    assert_eq!(frames.receive_one_of(&[frames::HEADERS, frames::GOAWAY]).unwrap().stream, 3);
}

#[test]
fn malformed_heads_are_refused_and_the_server_keeps_running() {
    let server = Setup::new().tls().start();
    let pseudo = [(":method", "GET"), (":scheme", "https"), (":path", "/status")];
    let with = |more: &[(&str, &str)]| frames::fields(&[&pseudo, more].concat());
    let refused = [
        ("no authority and no host", with(&[])),
        ("two authorities", with(&[(":authority", "a"), (":authority", "b")])),
        ("another host", with(&[(":authority", "a"), ("host", "b")])),
        ("two hosts", with(&[("host", "a"), ("host", "a")])),
        ("a header in capitals", with(&[(":authority", "a"), ("X-Big", "1")])),
        ("of the connection", with(&[(":authority", "a"), ("connection", "close")])),
        ("transfer-encoding", with(&[(":authority", "a"), ("transfer-encoding", "chunked")])),
        ("a line end", with(&[(":authority", "a"), ("x", "a\r\nb: c")])),
        ("no path", frames::fields(&[(":method", "GET"), (":scheme", "https"), (":authority", "a")])),
        ("no HPACK", vec![0xff; 40]),
    ];
    for (name, block) in refused {
        let mut frames = Frames::open(server.address(), &[]);
        frames.send(frames::HEADERS, 5, 1, &block).unwrap();
        let kinds = [frames::HEADERS, frames::RST_STREAM, frames::GOAWAY];
        if let Ok(frame) = frames.receive_one_of(&kinds)
            && frame.kind == frames::HEADERS
        {
            assert_eq!(frame.payload[0], 0x8c, "{name} is not answered 400: {frame:?}");
        }
    }
    let mut frames = Frames::open(server.address(), &[]);
    let block = with(&[("host", "only.host")]);
    frames.send(frames::HEADERS, 5, 1, &block).unwrap();
    assert_eq!(frames.status().unwrap(), (1, 200));
    server.assert_alive();
}

#[test]
fn a_body_that_is_longer_or_shorter_than_announced_is_not_stored() {
    let server = Setup::new().tls().start();
    for announced in ["5", "500"] {
        let mut frames = Frames::open(server.address(), &[]);
        let headers = [("content-length", announced), ("content-type", "application/json")];
        frames.request(1, "POST", &route("save-log"), &headers, false).unwrap();
        let body = format!("{{\"api_key\": \"{KEY}\", \"message\": \"m\"}}");
        frames.send(frames::DATA, frames::END_STREAM, 1, body.as_bytes()).unwrap();
        let kinds = [frames::HEADERS, frames::RST_STREAM, frames::GOAWAY];
        let answer = frames.receive_one_of(&kinds).unwrap();
        assert!(answer.kind != frames::HEADERS || answer.payload[0] == 0x8c, "{answer:?}");
    }
    server.assert_alive();
    assert_eq!(server.messages(), ["still alive"]);
}

#[test]
fn endless_continuations_end_the_connection() {
    let server = Setup::new().tls().start();
    let before = server.memory_peak();
    let mut frames = Frames::open(server.address(), &[]);
    frames.send(frames::HEADERS, 0, 1, &frames::head("GET", "/status", &[])).unwrap();
    let field = frames::fields(&[("x-flood", &"x".repeat(8000))]);
    let continuation = 9;
    let started = Instant::now();
    while started.elapsed() < LIMIT && frames.send(continuation, 0, 1, &field).is_ok() {}
    assert!(started.elapsed() < LIMIT, "continuations never end");
    assert!(server.memory_peak() - before < 20_000_000, "{} bytes", server.memory_peak() - before);
    server.save("served");
}

#[test]
fn a_stop_sends_goaway_and_answers_open_streams() {
    let mut server = Setup::new().tls().key("slow", &json!({"delay": 0.7})).start();
    let mut idle = Frames::open(server.address(), &[]);
    idle.request(1, "GET", "/status", &[], true).unwrap();
    assert_eq!(idle.status().unwrap(), (1, 200));
    let mut frames = Frames::open(server.address(), &[]);
    let target = format!("{}?api_key=slow&message=in+flight", route("save-log"));
    frames.request(1, "GET", &target, &[], true).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.signal(Signal::SIGTERM);
    let started = Instant::now();
    assert_eq!(frames.receive_one_of(&[frames::GOAWAY]).unwrap().stream, 0);
    assert_eq!(frames.status().unwrap(), (1, 200));
    assert_eq!(server.wait_for_exit(Duration::from_secs(8)).code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(server.messages(), ["in flight"]);
    assert!(!server.stderr().contains("were cut"), "{}", server.stderr());
}

#[test]
fn a_stream_that_outlasts_the_stop_is_answered_503() {
    let mut server =
        Setup::new().tls().key("slow", &json!({"delay": 20})).http("graceful_shutdown_timeout = 1").start();
    let mut frames = Frames::open(server.address(), &[]);
    let target = format!("{}?api_key=slow&message=never", route("save-log"));
    frames.request(1, "GET", &target, &[], true).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.signal(Signal::SIGTERM);
    assert_eq!(frames.status().unwrap(), (1, 503));
    server.wait_for_exit(Duration::from_secs(4));
}
