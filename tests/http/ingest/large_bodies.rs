//! Tests of large bodies. The server parses them off the event loop, so small requests do not wait.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{KEY, Server, Setup, route};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Sends small requests on their own connection while the senders run. Returns the time of each.
fn small_requests_beside(server: &Server, senders: &[&(dyn Fn() + Sync)]) -> Vec<Duration> {
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
        let mut times = Vec::new();
        while at_it.load(Ordering::Relaxed) > 0 {
            let began = Instant::now();
            conn.get(&target).success();
            times.push(began.elapsed());
            std::thread::sleep(Duration::from_millis(2));
        }
        times
    })
}

/// Checks that the small requests did not wait for the large bodies, of which one `alone` takes this
/// long.
///
/// On the event loop, the small requests together would wait for all bodies, and few would finish. A
/// pause of the machine delays one or two of them, so the longest time alone says nothing.
fn assert_not_delayed(times: &[Duration], alone: Duration) {
    let delayed: Vec<_> = times.iter().filter(|time| **time >= alone / 2).collect();
    let waited: Duration = delayed.iter().copied().sum();
    assert!(waited < alone * 3, "{delayed:?} beside bodies of {alone:?} each, {} requests", times.len());
    assert!(times.len() > 20, "{} requests, {delayed:?}", times.len());
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
    assert_not_delayed(&small_requests_beside(&server, &[send; 10]), alone);
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
    assert_not_delayed(&small_requests_beside(&server, &[send; 6]), alone);
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
    body["message"] = json!("m".repeat(9000));
    let too_long =
        "message parameter format error. The message has 9000 characters, and at most 8192 are allowed.";
    server.post_json(&route("save-log"), &body).refused(422, too_long);
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
