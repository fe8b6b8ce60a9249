//! Tests of clearing while other clients save, and of batches that are stored whole or not at all.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::load::{Outcome, count, under_load};
use crate::harness::{KEY, Line, ROOT, Setup, route};

fn clears_race_with_saves(durability: &str) {
    let mut server = Setup::new().durability(durability).start();
    let (sent, (asked, answered)) = under_load(&mut server, 8, "load", |server| {
        // Holds the times of the request and of the answer of each clear.
        let clears = Mutex::new(Vec::new());
        let server = &*server;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        std::thread::sleep(Duration::from_millis(40));
                        let asked = Instant::now();
                        server.root_get("clear-logs").success();
                        clears.lock().unwrap().push((asked, Instant::now()));
                    }
                });
            }
        });
        std::thread::sleep(Duration::from_millis(60));
        let clears = clears.into_inner().unwrap();
        (clears.iter().map(|c| c.0).max().unwrap(), clears.iter().map(|c| c.1).max().unwrap())
    });
    let counts = count(&server.log_lines());
    let (mut before, mut after) = (0, 0);
    for record in sent.iter().flatten() {
        assert_eq!(record.outcome, Outcome::Acknowledged, "{record:?}");
        let times = counts.get(&record.id).copied().unwrap_or_default();
        assert!(times <= 1, "{} is stored {times} times", record.id);
        if record.started > answered {
            after += 1;
            assert_eq!(times, 1, "{} was saved after the last clear and is gone", record.id);
        }
        if record.ended < asked {
            before += 1;
            assert_eq!(times, 0, "{} was acknowledged before the last clear and is still there", record.id);
        }
    }
    assert!(
        before > 20 && after > 5,
        "the clear did not run during the load: {before} before, {after} after"
    );
    assert_eq!(server.root_get("details").json()["count"], counts.len());
}

#[test]
fn clears_race_with_saves_in_mode_disk() {
    clears_race_with_saves("disk");
}

#[test]
fn clears_race_with_saves_in_mode_os() {
    clears_race_with_saves("os");
}

#[test]
fn requests_of_one_connection_stay_in_order() {
    let server = Setup::new().start();
    let mut bytes = String::new();
    let mut ask = |target: String| bytes.push_str(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    ask(format!("{}?api_key={KEY}&message=gone", route("save-log")));
    ask(format!("{}?api_key={KEY}&root_pass={ROOT}", route("clear-logs")));
    ask(format!("{}?api_key={KEY}&message=kept", route("save-log")));
    let mut conn = server.connect();
    conn.send_raw(bytes.as_bytes()).unwrap();
    for _ in 0..3 {
        conn.receive("GET").unwrap().success();
    }
    assert_eq!(server.messages(), ["kept"]);
}

#[test]
fn readers_see_whole_lines_only() {
    let mut server = Setup::new().start();
    let (_, ()) = under_load(&mut server, 6, "load", |server| {
        for round in 0..25 {
            let body = server.root_get("get-logs").text();
            assert!(body.is_empty() || body.ends_with('\n'), "a reader saw a part of a line");
            body.lines().for_each(|line| drop(Line::parse(line)));
            let latest = server.root_get("get-latest-logs").json();
            for line in latest.as_array().unwrap() {
                Line::parse(line.as_str().unwrap());
            }
            if round % 8 == 7 {
                server.root_get("clear-logs").success();
            }
        }
    });
}

#[test]
fn batch_is_stored_whole_and_in_one_piece() {
    let server = Setup::new().durability("disk").start();
    std::thread::scope(|scope| {
        for sender in 0..6 {
            let server = &server;
            scope.spawn(move || {
                for n in 0..8 {
                    let good: Vec<Value> =
                        (0..50).map(|i| json!({"msg": format!("good {sender}-{n}:{i}")})).collect();
                    server.save_batch(&json!(good)).success();
                    let mut bad: Vec<Value> = (0..50).map(|i| json!({"msg": format!("bad {i}")})).collect();
                    bad[49] = json!({"level": 3});
                    server.save_batch(&json!(bad)).problem(422);
                }
            });
        }
    });
    let messages = server.messages();
    assert_eq!(messages.len(), 6 * 8 * 50);
    for batch in messages.chunks(50) {
        let label = batch[0].strip_suffix(":0").expect("a batch begins with its first entry");
        for (i, message) in batch.iter().enumerate() {
            assert_eq!(*message, format!("{label}:{i}"), "other records are within a batch");
        }
    }
}
