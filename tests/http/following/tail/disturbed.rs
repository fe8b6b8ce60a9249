//! Tests of Server-Sent Events while the server restarts, crashes, rotates and clears its log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::CREDENTIALS;
use crate::harness::{Conn, Follow, Line, Setup, route};

/// Generates pseudo-random numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Follows the log, reconnects after each end, and sometimes disconnects by itself.
fn follow_and_reconnect(
    address: std::net::SocketAddr,
    mut random: Random,
    is_over: &AtomicBool,
    last: &str,
) -> Vec<String> {
    let mut seen = Vec::new();
    let mut id = String::new();
    let until = Instant::now() + Duration::from_secs(60);
    while seen.last().map(String::as_str) != Some(last) {
        assert!(Instant::now() < until, "not through after {} records", seen.len());
        let mut leaves_after = if is_over.load(Ordering::Relaxed) { u64::MAX } else { random.below(400) };
        let mut headers = CREDENTIALS.to_vec();
        headers.extend((!id.is_empty()).then_some(("Last-Event-ID", id.as_str())));
        let target = format!("{}?lines=1000000", route("tail"));
        let opened = Conn::open(address).and_then(|conn| Follow::try_open(conn, &target, &headers));
        let mut events = match opened {
            Ok(Ok(events)) => events,
            Ok(Err(answer)) if answer.status == 410 => {
                id = answer.json()["oldest"].as_str().unwrap().to_owned();
                continue;
            }
            // A clear came between the request and the read.
            Ok(Err(answer)) if answer.status == 503 => continue,
            Ok(Err(answer)) => panic!("{answer:?}"),
            // The server restarts.
            Err(_) => {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        while leaves_after > 0 && !events.has_ended() && seen.last().map(String::as_str) != Some(last) {
            if let Some(event) = events.within(Duration::from_millis(50)) {
                seen.push(Line::parse(&event.data).message);
                id = event.id;
            }
            leaves_after -= 1;
        }
    }
    seen
}

/// Saves numbered records while the server is stopped, killed and cleared several times, and checks
/// the records that four followers received.
fn follow_disturbed_server(setup: Setup, clears: bool, seed: u64) {
    let mut server = setup.start();
    let address = server.address();
    let is_over = Arc::new(AtomicBool::new(false));
    let last = "the last one";
    let followers: Vec<_> = (0..4)
        .map(|n| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || follow_and_reconnect(address, Random(seed + n), &is_over, last))
        })
        .collect();
    let mut random = Random(seed);
    let mut number = 0;
    for _ in 0..if clears { 25 } else { 40 } {
        for _ in 0..random.below(20) {
            let count = 1 + random.below(60);
            let logs: Vec<Value> = (number..number + count)
                .map(|n| json!({"msg": format!("{n} {}", "x".repeat((n % 90) as usize))}))
                .collect();
            server.save_batch(&json!(logs)).success();
            number += count;
        }
        match random.below(8) {
            0 => server.kill9(),
            1 => assert!(server.stop().success()),
            2 if clears => {
                server.root_get("clear-logs").success();
                continue;
            }
            _ => continue,
        }
        server.respawn();
    }
    is_over.store(true, Ordering::Relaxed);
    server.save(last);
    assert!(number > 2000, "{number}");
    let all: Vec<String> = (0..number)
        .map(|n| format!("{n} {}", "x".repeat((n % 90) as usize)))
        .chain([last.to_owned()])
        .collect();
    let everything = server.root_get("get-logs").text();
    let stored: Vec<String> = everything.lines().map(|line| Line::parse(line).message).collect();
    assert!(all.ends_with(&stored), "the stored records are the end of the sent ones");
    for follower in followers {
        let seen = follower.join().expect("a follower");
        if clears {
            // Records that were cleared before the follower read them are missing. No record is
            // repeated or out of order.
            let mut rest = all.iter();
            for message in &seen {
                assert!(rest.any(|sent| sent == message), "twice, or out of order: {message}");
            }
            assert!(seen.ends_with(&stored), "{} of the {} that are left", seen.len(), stored.len());
        } else {
            assert!(
                seen == all,
                "{} of {} records, {:?}",
                seen.len(),
                all.len(),
                seen.iter().zip(&all).find(|(a, b)| a != b)
            );
        }
    }
}

#[test]
fn reconnecting_followers_get_every_record_once_over_restarts_and_kills() {
    std::thread::scope(|scope| {
        for seed in [1, 2] {
            scope.spawn(move || follow_disturbed_server(Setup::new(), false, seed));
        }
    });
}

#[test]
fn a_clear_loses_only_cleared_records() {
    std::thread::scope(|scope| {
        for seed in [3, 4] {
            scope.spawn(move || follow_disturbed_server(Setup::new(), true, seed));
        }
    });
}

#[test]
fn rotation_and_compression_lose_and_repeat_no_record() {
    std::thread::scope(|scope| {
        for (clears, compress, seed) in
            [(false, json!("zstd"), 5), (false, json!(null), 6), (true, json!("gzip"), 7)]
        {
            let rotate = json!({"max_size": "20KB", "compress": compress});
            scope.spawn(move || follow_disturbed_server(Setup::new().log("rotate", rotate), clears, seed));
        }
    });
}
