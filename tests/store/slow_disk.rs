//! Tests with a slow disk. Only the sender of a record waits for it, and gets exactly one answer.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::load::{acknowledged, under_load};
use super::segments::{messages_of, read_after};
use super::strace::Trace;
use crate::harness::{Conn, KEY, ROOT, Server, Setup, eventually, route};

const LIMIT: Duration = Duration::from_secs(10);

/// Starts a server whose syncs take `delay` milliseconds longer, and stores one record.
fn slow(setup: Setup, delay: u32) -> Option<(Server, Trace)> {
    let server = setup.durability("disk").start();
    server.save("before");
    let trace = Trace::with(&server, &[&format!("fdatasync:delay_enter={}", delay * 1000)])?;
    Some((server, trace))
}

fn send(conn: &mut Conn, accept: &str, message: &str) {
    let headers = [("API-KEY", KEY), ("Content-Type", "application/json"), ("Accept", accept)];
    conn.send("POST", &route("save-log"), &headers, json!({"message": message}).to_string().as_bytes())
        .unwrap();
}

#[test]
fn only_the_sender_waits_for_a_slow_sync() {
    let Some((server, _trace)) = slow(Setup::new(), 1500) else { return };
    for (accept, messages) in [("text/plain", ["one", "two"]), ("application/json", ["three", "four"])] {
        let mut conn = server.connect();
        for message in messages {
            let begun = Instant::now();
            send(&mut conn, accept, message);
            assert_eq!(server.get("/status").status, 200);
            assert!(begun.elapsed() < Duration::from_millis(1400), "others waited for {:?}", begun.elapsed());
            let answer = conn.receive("POST").unwrap();
            assert!(begun.elapsed() >= Duration::from_millis(1500), "answered after {:?}", begun.elapsed());
            assert_eq!(answer.status, 200);
            assert!(answer.header("connection").is_none(), "{answer:?}");
            if accept == "text/plain" {
                answer.success();
            } else {
                let cursor = answer.json()["cursor"].as_str().unwrap().to_owned();
                assert_eq!(messages_of(&read_after(&server, &cursor).text()), Vec::<String>::new());
            }
        }
    }
    assert_eq!(server.messages(), ["before", "one", "two", "three", "four"]);
}

#[test]
fn details_count_a_record_before_its_answer() {
    let Some((server, _trace)) = slow(Setup::new(), 20) else { return };
    let mut conn = server.connect();
    for n in 2..30 {
        send(&mut conn, "text/plain", "x");
        conn.receive("POST").unwrap().success();
        let page = server.get_with("/metrics", &[("API-KEY", KEY), ("ROOT-PASS", ROOT)]).text();
        let counted = page.lines().filter(|line| line.starts_with("moca_records_total{"));
        let sum: u64 = counted.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
        assert_eq!(sum, n);
        assert_eq!(server.root_get("details").json()["count"], n);
    }
}

#[test]
fn overdue_sync_gets_one_answer() {
    let Some((server, _trace)) = slow(Setup::new().http("response_timeout = 1"), 2500) else { return };
    for message in ["late", "later"] {
        let mut conn = server.connect();
        send(&mut conn, "text/plain", message);
        conn.receive("POST").unwrap().problem(503);
        // The record is stored nevertheless, and no second answer follows.
        assert!(conn.is_silent_for(Duration::from_millis(2500)) || conn.is_closed_within(LIMIT));
        assert_eq!(server.messages().last().unwrap(), message);
    }
}

#[test]
fn many_senders_are_answered_once_each() {
    let Some((server, _trace)) = slow(Setup::new(), 30) else { return };
    let mut conns: Vec<Conn> = (0..6).map(|_| server.connect()).collect();
    let mut expected = vec!["before".to_owned()];
    for round in 0..12 {
        // Some rounds send one record, others several at once.
        let few = 1 + round % conns.len();
        for (n, conn) in conns.iter_mut().take(few).enumerate() {
            let message = format!("{round}-{n}");
            send(conn, "text/plain", &message);
            expected.push(message);
        }
        for conn in conns.iter_mut().take(few) {
            conn.receive("POST").unwrap().success();
        }
    }
    for conn in &mut conns {
        assert!(conn.is_silent_for(Duration::from_millis(50)), "a second answer");
    }
    let mut stored = server.messages();
    stored.sort();
    expected.sort();
    assert_eq!(stored, expected);
}

#[test]
fn operator_requests_are_answered_under_constant_load() {
    let Some((mut server, _trace)) = slow(Setup::new(), 20) else { return };
    let slowest = |server: &Server, route: &str| {
        let times = (0..8).map(|_| {
            let begun = Instant::now();
            assert_eq!(server.root_get(route).status, 200);
            std::thread::sleep(Duration::from_millis(15));
            begun.elapsed()
        });
        times.max().unwrap()
    };
    let (sent, times) = under_load(&mut server, 12, "load", |server| {
        [slowest(server, "get-latest-logs"), slowest(server, "details"), slowest(server, "clear-logs")]
    });
    assert!(times.iter().all(|time| *time < Duration::from_secs(1)), "{times:?}");
    assert!(acknowledged(&sent) > 100, "{} records", acknowledged(&sent));
    let counted = server.root_get("details").json()["count"].as_u64().unwrap();
    assert_eq!(counted, server.log_lines().len() as u64);
}

#[test]
fn stop_waits_for_the_sync_and_closes_the_connection() {
    let Some((mut server, trace)) = slow(Setup::new(), 700) else { return };
    let mut conn = server.connect();
    send(&mut conn, "text/plain", "last");
    std::thread::sleep(Duration::from_millis(200));
    server.signal(Signal::SIGTERM);
    let answer = conn.receive("POST").unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(conn.is_closed_within(LIMIT));
    assert!(server.wait_for_exit(LIMIT).success());
    drop(trace.finish());
    assert_eq!(server.messages(), ["before", "last"]);
}

#[test]
fn socket_that_refuses_a_send_gets_the_whole_answer() {
    // The second send of each thread fails. The disk thread sends the answers one by one. The other
    // thread sends only an answer that the disk thread could not send.
    for error in ["EAGAIN", "ENOBUFS"] {
        let server = Setup::new().durability("disk").start();
        server.save("before");
        let Some(trace) = Trace::with(&server, &[&format!("sendto:error={error}:when=2")]) else { return };
        let mut conn = server.connect();
        for message in ["one", "two", "three"] {
            send(&mut conn, "text/plain", message);
            conn.receive("POST").unwrap().success();
        }
        assert!(conn.is_silent_for(Duration::from_millis(50)));
        let calls = trace.finish();
        assert!(calls.iter().any(|call| call.contains(error)), "{error} was never injected");
        assert_eq!(server.messages(), ["before", "one", "two", "three"]);
    }
}

#[test]
fn client_that_left_before_the_answer_disturbs_no_other() {
    let Some((server, _trace)) = slow(Setup::new(), 200) else { return };
    for n in 0..3 {
        let mut conn = server.connect();
        send(&mut conn, "text/plain", &format!("gone {n}"));
        std::thread::sleep(Duration::from_millis(50));
        drop(conn);
        std::thread::sleep(Duration::from_millis(250));
    }
    eventually("all are stored", LIMIT, || server.messages().len() == 4);
    server.save("after");
    assert_eq!(server.messages().last().unwrap(), "after");
}
