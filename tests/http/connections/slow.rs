//! Tests of each timeout and limit with clients that are slow, silent, half closed or too many.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Conn, KEY, Setup, cannot_run, each, eventually, raise_file_limit, route};

const LIMIT: Duration = Duration::from_secs(4);

/// Checks that the server answers 408 and closes. It may close a new silent connection without an
/// answer.
fn times_out(conn: &mut Conn, may_be_silent: bool) {
    let started = Instant::now();
    conn.set_read_timeout(LIMIT);
    let answer = String::from_utf8_lossy(&conn.read_to_end()).into_owned();
    assert!(started.elapsed() < LIMIT, "closed only after {:?}", started.elapsed());
    assert!(started.elapsed() > Duration::from_millis(500), "closed at once");
    if !(may_be_silent && answer.is_empty()) {
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer:?}");
    }
}

#[test]
fn a_slow_header_times_out() {
    each(|setup| {
        let server = setup.http("request_timeout = 1").start();
        let mut conn = server.connect();
        conn.send_raw(b"GET /status HTTP/1.1\r\nHost: a\r\nX-Slow: ").unwrap();
        times_out(&mut conn, false);
        server.assert_alive();
    });
}

#[test]
fn a_trickling_header_times_out_too() {
    each(|setup| {
        let server = setup.http("request_timeout = 1").start();
        let mut conn = server.connect();
        conn.send_raw(b"GET /status HTTP/1.1\r\nX-Slow: ").unwrap();
        let started = Instant::now();
        while started.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(50));
            if conn.send_raw(b"a").is_err() || !conn.is_silent_for(Duration::from_millis(20)) {
                break;
            }
        }
        assert!(started.elapsed() < LIMIT, "a byte now and then keeps the connection");
        server.assert_alive();
    });
}

#[test]
fn a_silent_new_connection_is_closed() {
    each(|setup| {
        let server = setup.http("request_timeout = 1").start();
        times_out(&mut server.connect(), true);
        server.assert_alive();
    });
}

#[test]
fn a_slow_body_times_out() {
    each(|setup| {
        let server = setup.http("request_timeout = 1").start();
        let mut conn = server.connect();
        let headers = [("Content-Length", "1000"), ("Content-Type", "application/json"), ("API-KEY", KEY)];
        conn.send("POST", &route("save-log"), &headers, b"").unwrap();
        conn.send_raw(b"{\"message\": \"never ends").unwrap();
        times_out(&mut conn, false);
        assert!(server.messages().is_empty());
        server.assert_alive();
    });
}

#[test]
fn silence_inside_a_body_times_out_earlier() {
    each(|setup| {
        let server = setup.http("request_timeout = 30").http("body_timeout = 1").start();
        let mut conn = server.connect();
        let headers = [("Content-Length", "1000"), ("Content-Type", "application/json")];
        conn.send("POST", &route("save-log"), &headers, b"").unwrap();
        conn.send_raw(b"{\"message\": \"silence").unwrap();
        times_out(&mut conn, false);
        server.assert_alive();
    });
}

#[test]
fn an_idle_connection_is_closed_without_an_answer() {
    each(|setup| {
        let server = setup.http("keep_alive_timeout = 1").start();
        let mut conn = server.connect();
        assert_eq!(conn.get("/status").status, 200);
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(conn.get("/status").status, 200, "closed too early");
        assert!(conn.is_closed_within(LIMIT), "an idle connection stays open");
    });
}

#[test]
fn without_keep_alive_every_answer_closes() {
    each(|setup| {
        let server = setup.http("keep_alive = false").start();
        for target in ["/status", "/nothing"] {
            let mut conn = server.connect();
            let response = conn.get(target);
            assert!(response.expect_header("connection").eq_ignore_ascii_case("close"), "{response:?}");
            assert!(conn.is_closed_within(LIMIT), "still open");
        }
    });
}

#[test]
fn a_client_may_ask_to_close() {
    let server = Setup::new().start();
    let mut conn = server.connect();
    assert_eq!(conn.request("GET", "/status", &[("Connection", "close")], b"").status, 200);
    assert!(conn.is_closed_within(LIMIT), "still open");
    let mut conn = server.connect();
    conn.send_raw(b"GET /status HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(conn.receive("GET").unwrap().status, 200);
    assert!(conn.is_closed_within(LIMIT), "still open");
}

#[test]
fn an_answer_after_response_timeout_is_503() {
    each(|setup| {
        let server = setup.http("response_timeout = 1").key("slow", &json!({"delay": 20})).start();
        let started = Instant::now();
        let response = server.get(&format!("{}?api_key=slow&message=m", route("save-log")));
        response.problem(503);
        response.retry_after();
        assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
        server.assert_alive();
    });
}

#[test]
fn connections_of_one_address_are_limited() {
    each(|setup| {
        let server = setup.http("max_connections_per_ip = 3").http("keep_alive_timeout = 30").start();
        let mut open: Vec<Conn> = (0..3).map(|_| server.connect()).collect();
        for conn in &mut open {
            assert_eq!(conn.get("/status").status, 200);
        }
        let mut refused = server.connect();
        // The answer may come without a request. A request on the closing connection could cause a
        // reset, and the client would lose the answer.
        if refused.is_silent_for(Duration::from_millis(300)) {
            refused.send("GET", "/status", &[], b"").ok();
        }
        let answer = String::from_utf8_lossy(&refused.read_to_end()).into_owned();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer:?}");
        assert!(answer.to_lowercase().contains("retry-after:"), "{answer:?}");
        drop(open);
        eventually("the places are free again", LIMIT, || {
            server
                .connect()
                .try_request("GET", "/status", &[], b"")
                .is_ok_and(|response| response.status == 200)
        });
    });
}

#[test]
fn thousands_of_open_connections_are_served() {
    // The usual limit of open files in a container permits this many.
    const COUNT: usize = 15_000;
    if !raise_file_limit(COUNT as u64 + 1000) {
        cannot_run("too few open files are allowed");
        return;
    }
    let server = Setup::new()
        .http("keep_alive_timeout = 120")
        .http("request_timeout = 120")
        .server("backlog", json!(4096))
        .start();
    server.assert_alive();
    let before = server.memory_now();
    let mut open: Vec<Conn> = (0..COUNT).map(|_| server.connect()).collect();
    server.assert_alive();
    let silent = server.memory_now() - before;
    assert!(silent < 36_000_000, "{silent} bytes while no client sent a byte");
    for (n, conn) in open.iter_mut().enumerate() {
        assert_eq!(conn.get("/status").status, 200, "connection {n}");
    }
    eventually("buffers of silent connections are given back", LIMIT, || server.memory_now() < 120_000_000);
    server.assert_alive();
    // All clients send at the same time, and each gets an answer.
    for conn in &mut open {
        conn.send("GET", "/status", &[], b"").unwrap();
    }
    for (n, conn) in open.iter_mut().enumerate() {
        assert_eq!(conn.receive("GET").unwrap().status, 200, "connection {n}");
    }
    drop(open);
    server.assert_alive();
}

#[test]
fn a_client_that_does_not_read_is_disconnected() {
    each(|setup| {
        let server = setup.http("response_timeout = 1").start();
        let logs = vec![json!({"msg": "x".repeat(8000)}); 128];
        for _ in 0..24 {
            server.save_batch(&json!(logs)).success();
        }
        let mut conn = server.connect();
        let target = format!("{}?api_key={KEY}&root_pass={}", route("get-logs"), crate::harness::ROOT);
        conn.send("GET", &target, &[], b"").unwrap();
        // The answer is larger than all socket buffers, and the server must not wait without limit.
        std::thread::sleep(Duration::from_millis(4000));
        let received = conn.read_to_end().len() as u64;
        let size = std::fs::metadata(server.log_path()).unwrap().len();
        assert!(received < size, "a stalled client was waited for");
        server.assert_alive();
    });
}
