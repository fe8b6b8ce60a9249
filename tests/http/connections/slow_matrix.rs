//! Tests of all kinds of slow clients over HTTP, HTTPS and HTTP/2. While slow clients with a request
//! hold all connections, the next client waits, and is served once their timeouts have passed. A
//! client without a whole head of a request makes room at once (`full.rs`). Here it has its place,
//! and its timeout ends it.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::frames::{self, Frames};
use crate::harness::{Conn, KEY, ROOT, Server, Setup, each, route};

/// Maximum time until a slow client is disconnected. Each configured timeout is one second, and in
/// some cases two of them pass.
const LIMIT: Duration = Duration::from_secs(4);

/// Runs a client that is slow until the server closes the connection.
type Slow<'a> = &'a (dyn Fn(&Server) + Sync);

fn with_short_timeouts(setup: Setup, max_connections: u32) -> Setup {
    ["request_timeout", "body_timeout", "response_timeout", "keep_alive_timeout"]
        .into_iter()
        .fold(setup.http(&format!("max_connections = {max_connections}")), |setup, time| {
            setup.http(&format!("{time} = 1"))
        })
}

/// Checks that a third client waits while two slow clients hold both connections, and is served
/// afterwards.
fn check_slow_client(server: &Server, slow: Slow<'_>) {
    let begin = Barrier::new(3);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                begin.wait();
                slow(server);
            });
        }
        begin.wait();
        std::thread::sleep(Duration::from_millis(300));
        let started = Instant::now();
        server.save("the next client");
        let waited = started.elapsed();
        assert!(waited < LIMIT, "the places were free only after {waited:?}");
        assert!(waited > Duration::from_millis(100), "the slow ones did not hold the places");
    });
}

fn matrix(slow: Slow<'_>) {
    each(|setup| check_slow_client(&with_short_timeouts(setup, 2).start(), slow));
}

fn matrix_of_tls(slow: Slow<'_>) {
    check_slow_client(&with_short_timeouts(Setup::new().tls(), 2).start(), slow);
}

/// Checks that two clients without a whole head end by their timeouts, which `slow` itself checks,
/// and that another client is served meanwhile.
fn check_silent_client(setup: Setup, silent: Slow<'_>) {
    let server = with_short_timeouts(setup, 10).start();
    std::thread::scope(|scope| {
        let clients = [scope.spawn(|| silent(&server)), scope.spawn(|| silent(&server))];
        server.save("the next client");
        let started = Instant::now();
        for client in clients {
            client.join().unwrap();
        }
        assert!(started.elapsed() < 2 * LIMIT, "closed only after {:?}", started.elapsed());
    });
}

fn silent_matrix(silent: Slow<'_>) {
    each(|setup| check_silent_client(setup, silent));
}

fn silent_matrix_of_tls(silent: Slow<'_>) {
    check_silent_client(Setup::new().tls(), silent);
}

fn until_closed(conn: &mut Conn) {
    conn.set_read_timeout(LIMIT);
    conn.read_to_end();
}

/// Sends a byte at intervals until the server closes.
fn trickle(conn: &mut Conn, byte: &[u8]) {
    let started = Instant::now();
    while conn.send_raw(byte).is_ok() && conn.is_silent_for(Duration::from_millis(200)) {
        assert!(started.elapsed() < LIMIT, "a byte now and then keeps the connection");
    }
    until_closed(conn);
}

fn begin_of_a_record(conn: &mut Conn) {
    let headers = [("Content-Length", "1000"), ("Content-Type", "application/json"), ("API-KEY", KEY)];
    conn.send("POST", &route("save-log"), &headers, b"").unwrap();
}

#[test]
fn no_byte_is_sent() {
    silent_matrix(&|server| until_closed(&mut server.connect()));
}

#[test]
fn half_a_request_line() {
    silent_matrix(&|server| {
        let mut conn = server.connect();
        conn.send_raw(b"GET /sta").unwrap();
        until_closed(&mut conn);
    });
}

#[test]
fn a_header_trickles() {
    silent_matrix(&|server| {
        let mut conn = server.connect();
        conn.send_raw(b"GET /status HTTP/1.1\r\nHost: a\r\nX-Slow: ").unwrap();
        trickle(&mut conn, b"a");
    });
}

#[test]
fn a_head_without_its_body() {
    matrix(&|server| {
        let mut conn = server.connect();
        begin_of_a_record(&mut conn);
        until_closed(&mut conn);
    });
}

#[test]
fn a_body_that_stops() {
    matrix(&|server| {
        let mut conn = server.connect();
        begin_of_a_record(&mut conn);
        conn.send_raw(b"{\"message\": \"never").unwrap();
        until_closed(&mut conn);
    });
}

#[test]
fn a_body_trickles() {
    matrix(&|server| {
        let mut conn = server.connect();
        begin_of_a_record(&mut conn);
        trickle(&mut conn, b" ");
    });
}

#[test]
fn a_chunked_body_trickles() {
    matrix(&|server| {
        let mut conn = server.connect();
        let headers = [("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")];
        conn.send("POST", &route("save-log"), &headers, b"").unwrap();
        trickle(&mut conn, b"1\r\n \r\n");
    });
}

#[test]
fn silence_between_requests() {
    silent_matrix(&|server| {
        let mut conn = server.connect();
        assert_eq!(conn.get("/status").status, 200);
        until_closed(&mut conn);
    });
}

#[test]
fn half_a_request_after_a_whole_one() {
    silent_matrix(&|server| {
        let mut conn = server.connect();
        assert_eq!(conn.get("/status").status, 200);
        // A silent connection releases its buffers within this time.
        std::thread::sleep(Duration::from_millis(600));
        conn.send_raw(b"GET /status HT").unwrap();
        conn.set_read_timeout(LIMIT);
        let answer = String::from_utf8_lossy(&conn.read_to_end()).into_owned();
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
    });
}

#[test]
fn the_end_of_one_request_and_the_beginning_of_another_in_one_piece() {
    silent_matrix(&|server| {
        let mut conn = server.connect();
        conn.send_raw(b"GET /status HTTP/1.1\r\nHost: a\r\n\r\nGET /sta").unwrap();
        assert_eq!(conn.receive("GET").unwrap().status, 200);
        std::thread::sleep(Duration::from_millis(600));
        conn.send_raw(b"tus HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(conn.receive("GET").unwrap().status, 200, "bytes were lost while it was silent");
        until_closed(&mut conn);
    });
}

#[test]
fn an_answer_after_which_the_client_never_closes() {
    silent_matrix(&|server| {
        let mut conn = server.connect();
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(conn.request("GET", "/status", &[("Connection", "close")], b"").status, 200);
        std::thread::sleep(LIMIT);
    });
}

/// Fills the log with more bytes than fit into all socket buffers.
fn fill(server: &Server) {
    let logs = vec![json!({"msg": "x".repeat(8000)}); 128];
    for _ in 0..24 {
        server.save_batch(&json!(logs)).success();
    }
}

#[test]
fn an_answer_that_is_not_read() {
    each(|setup| {
        let server = with_short_timeouts(setup, 2).start();
        fill(&server);
        check_slow_client(&server, &|server| {
            let mut conn = server.connect();
            conn.send("GET", &route("get-logs"), &[("API-KEY", KEY), ("ROOT-PASS", ROOT)], b"").unwrap();
            std::thread::sleep(LIMIT);
        });
    });
}

#[test]
fn silence_before_the_handshake() {
    silent_matrix_of_tls(&|server| until_closed(&mut server.connect_bare()));
}

#[test]
fn half_a_client_hello() {
    silent_matrix_of_tls(&|server| {
        let mut conn = server.connect_bare();
        conn.send_raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap();
        until_closed(&mut conn);
    });
}

#[test]
fn a_client_hello_trickles() {
    silent_matrix_of_tls(&|server| {
        let mut conn = server.connect_bare();
        conn.send_raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap();
        trickle(&mut conn, b"\0");
    });
}

#[test]
fn silence_after_http2_was_negotiated() {
    silent_matrix_of_tls(&|server| {
        Frames::silent(server.address()).until_closed(LIMIT);
    });
}

#[test]
fn half_an_http2_preface() {
    silent_matrix_of_tls(&|server| {
        let mut frames = Frames::silent(server.address());
        frames.conn.send_raw(&frames::PREFACE[..9]).unwrap();
        frames.until_closed(LIMIT);
    });
}

#[test]
fn silence_after_the_http2_preface() {
    silent_matrix_of_tls(&|server| {
        Frames::open(server.address(), &[]).until_closed(LIMIT);
    });
}

#[test]
fn half_an_http2_frame() {
    silent_matrix_of_tls(&|server| {
        let mut frames = Frames::open(server.address(), &[]);
        let whole = frames::frame(frames::HEADERS, 5, 1, &frames::head("GET", "/status", &[]));
        frames.conn.send_raw(&whole[..whole.len() / 2]).unwrap();
        frames.until_closed(LIMIT);
    });
}

#[test]
fn an_http2_head_that_never_ends() {
    silent_matrix_of_tls(&|server| {
        let mut frames = Frames::open(server.address(), &[]);
        frames.send(frames::HEADERS, 0, 1, &frames::head("GET", "/status", &[])).unwrap();
        frames.until_closed(LIMIT);
    });
}

#[test]
fn an_http2_stream_whose_body_never_comes() {
    matrix_of_tls(&|server| {
        let mut frames = Frames::open(server.address(), &[]);
        let headers = [("api-key", KEY), ("content-type", "application/json")];
        frames.request(1, "POST", &route("save-log"), &headers, false).unwrap();
        assert_eq!(frames.status().unwrap(), (1, 408));
        frames.until_closed(LIMIT);
    });
}

#[test]
fn an_http2_body_trickles() {
    matrix_of_tls(&|server| {
        let mut frames = Frames::open(server.address(), &[]);
        let headers = [("api-key", KEY), ("content-type", "application/json")];
        frames.request(1, "POST", &route("save-log"), &headers, false).unwrap();
        let started = Instant::now();
        // Meanwhile the client reads no frames of the server.
        while started.elapsed() < LIMIT && frames.send(frames::DATA, 0, 1, b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(150));
        }
        assert!(started.elapsed() < LIMIT, "a byte now and then keeps the connection");
    });
}

#[test]
fn an_http2_window_that_never_opens() {
    let server = with_short_timeouts(Setup::new().tls(), 2).start();
    fill(&server);
    for target in ["/status".to_owned(), route("get-logs")] {
        check_slow_client(&server, &|server| {
            let mut frames = Frames::open(server.address(), &[(frames::INITIAL_WINDOW_SIZE, 0)]);
            frames.request(1, "GET", &target, &[("api-key", KEY), ("root-pass", ROOT)], true).unwrap();
            let received = frames.until_closed(LIMIT);
            assert!(received.iter().all(|frame| frame.kind != frames::DATA), "{received:?}");
        });
    }
}

#[test]
fn an_http2_answer_that_is_not_read() {
    let server = with_short_timeouts(Setup::new().tls(), 2).start();
    fill(&server);
    check_slow_client(&server, &|server| {
        let mut frames = Frames::open(server.address(), &[(frames::INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
        let room = 0x7000_0000_u32.to_be_bytes();
        frames.send(frames::WINDOW_UPDATE, 0, 0, &room).unwrap();
        let target = route("get-logs");
        frames.request(1, "GET", &target, &[("api-key", KEY), ("root-pass", ROOT)], true).unwrap();
        std::thread::sleep(LIMIT);
    });
}

#[test]
fn an_idle_http2_connection() {
    silent_matrix_of_tls(&|server| {
        let mut frames = Frames::open(server.address(), &[]);
        frames.request(1, "GET", "/status", &[], true).unwrap();
        assert_eq!(frames.status().unwrap(), (1, 200));
        let received = frames.until_closed(LIMIT);
        assert!(received.iter().any(|frame| frame.kind == frames::GOAWAY), "{received:?}");
    });
}

#[test]
fn pings_do_not_keep_an_http2_connection_open() {
    silent_matrix_of_tls(&|server| {
        let mut frames = Frames::open(server.address(), &[]);
        frames.request(1, "GET", "/status", &[], true).unwrap();
        let started = Instant::now();
        while started.elapsed() < LIMIT && frames.send(frames::PING, 0, 0, b"12345678").is_ok() {
            std::thread::sleep(Duration::from_millis(150));
        }
        assert!(started.elapsed() < LIMIT, "pings keep the connection");
    });
}

#[test]
fn an_http2_stream_that_makes_progress_is_not_cut() {
    let server = with_short_timeouts(Setup::new().tls(), 2).start();
    let logs = vec![json!({"msg": "x".repeat(8000)}); 12];
    server.save_batch(&json!(logs)).success();
    let size = std::fs::metadata(server.log_path()).unwrap().len();
    let mut frames = Frames::open(server.address(), &[(frames::INITIAL_WINDOW_SIZE, 0)]);
    let target = route("get-logs");
    frames.request(1, "GET", &target, &[("api-key", KEY), ("root-pass", ROOT)], true).unwrap();
    let (mut received, started) = (0, Instant::now());
    while received < size {
        std::thread::sleep(Duration::from_millis(500));
        frames.send(frames::WINDOW_UPDATE, 0, 1, &20_000_u32.to_be_bytes()).unwrap();
        frames.send(frames::WINDOW_UPDATE, 0, 0, &20_000_u32.to_be_bytes()).unwrap();
        let mut now = 0;
        while now < 20_000 && received < size {
            let frame = frames.receive_one_of(&[frames::DATA]).unwrap();
            now += frame.payload.len() as u64;
            received += frame.payload.len() as u64;
        }
    }
    assert_eq!(received, size);
    assert!(started.elapsed() > Duration::from_millis(2000), "too fast to show anything");
}
