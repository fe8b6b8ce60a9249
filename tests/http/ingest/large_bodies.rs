//! Tests of large bodies. The server parses them off the event loop, so small requests do not wait.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{KEY, Server, Setup, route};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Sends small requests on their own connection while the senders run. Returns their number and the
/// longest time.
fn small_requests_beside(server: &Server, senders: &[&(dyn Fn() + Sync)]) -> (usize, Duration) {
    let at_it = AtomicUsize::new(senders.len());
    std::thread::scope(|scope| {
        for sender in senders {
            let at_it = &at_it;
            scope.spawn(move || {
                sender();
                at_it.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let mut conn = server.connect();
        let target = format!("{}?api_key={KEY}&message=small", route("save-log"));
        let (mut count, mut slowest) = (0, Duration::ZERO);
        while at_it.load(Ordering::Relaxed) > 0 {
            let began = Instant::now();
            conn.get(&target).success();
            slowest = slowest.max(began.elapsed());
            count += 1;
            std::thread::sleep(Duration::from_millis(2));
        }
        (count, slowest)
    })
}

#[test]
fn parsing_large_bodies_does_not_delay_small_requests() {
    let server = Setup::new().http("max_body_memory = 1000000000").start();
    // The body is slow to parse for its size and holds no known key.
    let body = format!("{{\"api_key\": \"nobody\", \"x\": [{}0]}}", "[],".repeat(1_700_000));
    let send = || {
        server.request("POST", &route("save-log"), &[JSON], body.as_bytes()).unauthorized("Unknown API-KEY.");
    };
    let began = Instant::now();
    send();
    let alone = began.elapsed();
    let send: &(dyn Fn() + Sync) = &send;
    let (count, slowest) = small_requests_beside(&server, &[send; 10]);
    // On the event loop, the slowest request would take at least as long as one large body, and few
    // would finish.
    assert!(slowest < alone / 2, "{slowest:?} beside bodies of {alone:?} each, {count} requests");
    assert!(count > 20, "{count} requests, the slowest {slowest:?}");
}

#[test]
fn decompressing_large_bodies_does_not_delay_small_requests() {
    let server = Setup::new().http("max_body_memory = 1000000000").start();
    let body = zstd::stream::encode_all(std::io::repeat(b' ').take(60_000_000), 1).unwrap();
    let headers = [JSON, ("Content-Encoding", "zstd")];
    let send = || {
        server.request("POST", &route("save-log"), &headers, &body).problem(400);
    };
    let began = Instant::now();
    send();
    let alone = began.elapsed();
    let send: &(dyn Fn() + Sync) = &send;
    let (count, slowest) = small_requests_beside(&server, &[send; 6]);
    assert!(slowest < alone / 2, "{slowest:?} beside bodies of {alone:?} each, {count} requests");
    assert!(count > 20, "{count} requests, the slowest {slowest:?}");
}

#[test]
fn large_and_small_bodies_get_the_same_answer() {
    let server =
        Setup::new().key("slow", &json!({"delay": 0.2, "required": {"args": {"app": "large"}}})).start();
    let padding = "x".repeat(1_000_000);
    let mut body =
        json!({"api_key": "slow", "message": "large", "level": 3, "app": "large", "padding": padding});
    let began = Instant::now();
    server.post_json(&route("save-log"), &body).success();
    assert!(began.elapsed() >= Duration::from_millis(200), "the delay of the key");
    body["app"] = json!("other");
    server.post_json(&route("save-log"), &body).refused(403, "Missing required argument.");
    body["app"] = json!("large");
    body["level"] = json!(9);
    server.post_json(&route("save-log"), &body).refused(400, "level parameter format error.");
    let logs: Vec<_> = (0..1024).map(|n| json!({"message": format!("{n} {}", "m".repeat(2000))})).collect();
    server.save_batch(&json!(logs)).success();
    // Routes that ignore the body accept it as well.
    let body = json!({"api_key": KEY, "root_pass": crate::harness::ROOT, "padding": "x".repeat(1_000_000)});
    assert_eq!(server.post_json(&route("details"), &body).json()["count"], 1025);
    server.post_json(&route("clear-logs"), &body).success();
    assert!(server.messages().is_empty());
    server.assert_alive();
}

#[test]
fn clients_that_disconnect_free_their_memory() {
    let server = Setup::new().http("max_body_memory = 40000000").start();
    let body =
        format!("{{\"api_key\": \"{KEY}\", \"message\": \"m\", \"x\": [{}0]}}", "[],".repeat(1_500_000));
    for _ in 0..8 {
        let mut conn = server.connect();
        conn.send("POST", &route("save-log"), &[JSON], body.as_bytes()).unwrap();
    }
    // All memory is free again.
    crate::harness::eventually("there is room", Duration::from_secs(20), || {
        server.request("POST", &route("save-log"), &[JSON], &vec![b' '; 34_000_000]).status == 400
    });
    server.assert_alive();
}
