//! Tests that a flood costs bounded memory, and that the memory returns to the system after it.

use std::time::Duration;

use serde_json::json;

use crate::harness::frames::{self, Frames};
use crate::harness::{Conn, KEY, ROOT, Server, Setup, cannot_run, each, eventually, raise_file_limit, route};

/// Time within which the memory of a flood returns to the system.
const RETURN_TIME: Duration = Duration::from_secs(60);

/// Part of a flood that may stay, in bytes.
const MAX_REST: u64 = 4_000_000;

/// Opens this many connections whose client accepts no byte of an answer, with the requests of
/// many streams.
fn stalled(server: &Server, connections: usize, streams: u32) -> Vec<Frames> {
    let head = frames::head("GET", "/status", &[]);
    let requests: Vec<u8> =
        (0..streams).flat_map(|n| frames::frame(frames::HEADERS, 5, 2 * n + 1, &head)).collect();
    let mut all = Vec::new();
    for _ in 0..connections {
        let mut frames = Frames::open_to(server, &[(frames::INITIAL_WINDOW_SIZE, 0)]);
        frames.conn.send_raw(&requests).unwrap();
        all.push(frames);
    }
    for frames in &mut all {
        // The answer to the last request has begun.
        frames.send(frames::PING, 0, 0, b"12345678").unwrap();
        frames.receive_one_of(&[frames::PING]).unwrap();
    }
    all
}

#[test]
fn streams_of_a_client_that_reads_nothing_cost_little_and_their_memory_returns() {
    if !raise_file_limit(2000) {
        return cannot_run("2,000 open files");
    }
    each(|setup| {
        let server = setup.start();
        // The first requests map code and fill caches.
        drop(stalled(&server, 3, 127));
        server.save("before");
        let (before, own_before) = (server.memory_now(), server.memory_own());
        let flood = stalled(&server, 250, 127);
        let during = server.memory_now();
        assert!(during < before + 60_000_000, "{} kB more", (during - before) / 1000);
        drop(flood);
        eventually("the memory of the streams returns", RETURN_TIME, || {
            server.memory_own() < own_before + MAX_REST
        });
        server.assert_alive();
    });
}

/// Checks that the memory of a flood returns. Each connection of the flood is kept open until all
/// have begun.
fn returns_after(server: &Server, what: &str, begin: impl Fn(&mut Conn)) {
    let flood = |count| {
        let mut connections: Vec<Conn> = (0..count).map(|_| server.connect()).collect();
        connections.iter_mut().for_each(&begin);
        server.save("behind the flood");
        connections
    };
    drop(flood(10));
    let before = server.memory_own();
    let connections = flood(600);
    std::thread::sleep(Duration::from_millis(300));
    let during = server.memory_own();
    drop(connections);
    assert!(during > before + MAX_REST, "{what}: not a flood: {} kB", (during - before) / 1000);
    eventually(&format!("{what}: {during} of {before} return"), RETURN_TIME, || {
        server.memory_own() < before + MAX_REST
    });
}

#[test]
fn memory_returns_after_slow_heads() {
    if !raise_file_limit(2000) {
        return cannot_run("2,000 open files");
    }
    let server = Setup::new().start();
    returns_after(&server, "slow heads", |conn| {
        conn.send_raw(b"GET /status HTTP/1.1\r\nHost: a\r\nX-Slow: ").unwrap();
    });
    let large = format!("GET /status HTTP/1.1\r\nHost: a\r\nX-Large: {}", "x".repeat(15_000));
    returns_after(&server, "large heads", |conn| conn.send_raw(large.as_bytes()).unwrap());
}

#[test]
fn memory_returns_after_bodies_and_followers() {
    if !raise_file_limit(4000) {
        return cannot_run("4,000 open files");
    }
    let server = Setup::new().start();
    let body = "x".repeat(60_000);
    returns_after(&server, "bodies", |conn| {
        let headers = [("API-KEY", KEY), ("Content-Type", "application/json"), ("Content-Length", "100000")];
        conn.send("POST", &route("save-log"), &headers, body.as_bytes()).unwrap();
    });
    let before = server.memory_own();
    let mut followers: Vec<Conn> = (0..300).map(|_| server.connect()).collect();
    for conn in &mut followers {
        conn.send("GET", &route("tail"), &[("API-KEY", KEY), ("ROOT-PASS", ROOT)], b"").unwrap();
        assert_eq!(conn.read_head().unwrap().status, 200);
    }
    for n in 0..50 {
        server.save_batch(&json!(vec![json!({"message": format!("{n} {}", "y".repeat(4000))}); 50]));
    }
    drop(followers);
    eventually("the memory of followers returns", RETURN_TIME, || server.memory_own() < before + MAX_REST);
    server.assert_alive();
}
