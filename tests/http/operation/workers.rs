//! Tests of `workers`. Several threads serve, and answers and records stay the same.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::sync::Barrier;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{KEY, Server, Setup, eventually, route};

/// Returns the voluntary context switches of each worker thread. A thread that serves waits between
/// requests.
fn waits_of_workers(server: &Server) -> HashMap<String, u64> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let mut waits = HashMap::new();
    for task in tasks.map(|task| task.unwrap().path()) {
        if fs::read_to_string(task.join("comm")).unwrap().trim() != "worker" {
            continue;
        }
        let status = fs::read_to_string(task.join("status")).unwrap();
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        waits.insert(task.display().to_string(), count.trim().parse().unwrap());
    }
    waits
}

/// Opens these connections, then sends `records` records in order on each.
fn send(server: &Server, connections: Range<usize>, records: usize) {
    let ready = Barrier::new(connections.len());
    std::thread::scope(|scope| {
        for connection in connections {
            let ready = &ready;
            scope.spawn(move || {
                let mut conn = server.connect();
                ready.wait();
                for record in 0..records {
                    let target = format!("{}?message=c{connection}-{record}", route("save-log"));
                    conn.request("POST", &target, &[("API-KEY", KEY)], b"").success();
                }
            });
        }
    });
}

/// Number of records of each connection. They are so many that even a busy thread waits often.
const RECORDS: usize = 160;

#[test]
fn each_thread_serves_and_every_record_is_stored_once_and_in_order() {
    for durability in ["disk", "os"] {
        let mut server = Setup::new().http("workers = 3").durability(durability).start();
        eventually("two more threads", Duration::from_secs(5), || waits_of_workers(&server).len() == 2);
        let before = waits_of_workers(&server);
        // On a busy machine the other threads may accept all connections of one round.
        let mut rounds = 0..10;
        let served = rounds.find(|round| {
            send(&server, round * 24..(round + 1) * 24, RECORDS);
            let after = waits_of_workers(&server);
            before.iter().all(|(thread, waits)| after[thread] > waits + 20)
        });
        let round = served.expect("a thread serves nothing");
        let lines = server.parsed();
        assert_eq!(lines.len(), (round + 1) * 24 * RECORDS);
        let mut next = HashMap::new();
        for (n, line) in lines.iter().enumerate() {
            assert_eq!(line.seq, n as u64 + 1);
            let (connection, record) = line.message.split_once('-').unwrap();
            let expected = next.entry(connection.to_owned()).or_insert(0);
            assert_eq!(record, expected.to_string(), "{connection} is out of order");
            *expected += 1;
        }
        assert!(server.stop().success());
    }
}

#[test]
fn a_reload_is_seen_by_all_threads_and_a_stop_answers_all() {
    let mut server = Setup::new().http("workers = 4").start();
    server.set("log.json", "/sample1/level", 3.into());
    eventually("the new level is in force", Duration::from_secs(5), || {
        (0..12).all(|_| {
            let answer = server.connect().request(
                "POST",
                &format!("{}?message=low&level=1", route("save-log")),
                &[("API-KEY", KEY), ("Accept", "application/json")],
                b"",
            );
            answer.json()["filtered"] == 1
        })
    });
    server.signal(Signal::SIGUSR1);
    server.wait_for_status(503);
    assert!((0..12).all(|_| server.connect().get("/status").status == 503));
    server.signal(Signal::SIGUSR2);
    server.wait_for_status(200);
    assert!(server.stop().success());
}

#[test]
fn a_changed_number_applies_at_a_restart() {
    let mut server = Setup::new().start();
    assert!(waits_of_workers(&server).is_empty(), "one thread is the default");
    server.replace("http.toml", "workers = 2\n");
    eventually("a word about it", Duration::from_secs(5), || server.stderr().contains("workers"));
    assert!(waits_of_workers(&server).is_empty());
    server.restart();
    // A thread sets its own name after it has started.
    eventually("one more thread", Duration::from_secs(5), || waits_of_workers(&server).len() == 1);
}
