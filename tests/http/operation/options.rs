//! Tests of options that no other file tests. `tests/options.rs` is the index of all options.

use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Server, Setup, eventually};

#[test]
fn a_log_that_is_switched_off_does_not_start() {
    let refused = Setup::new().log("status", json!(false)).start_refused();
    assert!(refused.contains("switched off"), "{refused}");
    Setup::new().log("status", json!(true)).start().assert_alive();
}

#[test]
fn it_listens_on_its_host_only() {
    let server = Setup::new().log("host", json!("127.0.0.1")).start();
    let port = server.address().port();
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    assert!(TcpStream::connect((Ipv4Addr::new(127, 0, 0, 2), port)).is_err());
    let other = Setup::new().log("host", json!("0.0.0.0")).start();
    assert!(TcpStream::connect((Ipv4Addr::new(127, 0, 0, 2), other.address().port())).is_ok());
}

/// Returns how many of twenty connections are established while the server does not accept.
fn established_connections(backlog: u32) -> usize {
    let server = Setup::new().server("backlog", json!(backlog)).start();
    server.signal(Signal::SIGSTOP);
    let patience = Duration::from_millis(100);
    let open: Vec<_> =
        (0..20).filter_map(|_| TcpStream::connect_timeout(&server.address(), patience).ok()).collect();
    server.signal(Signal::SIGCONT);
    open.len()
}

#[test]
fn backlog_limits_the_waiting_connections() {
    // Linux queues one connection more than the backlog.
    assert_eq!(established_connections(2), 3);
    assert_eq!(established_connections(9), 10);
}

/// Returns whether info and warning messages appear during a start, a clear and a reload.
fn shown_levels(server: &Server) -> [bool; 2] {
    let stderr = server.stderr();
    ["INFO ", "WARN "].map(|level| stderr.lines().any(|line| line.starts_with(level)))
}

#[test]
fn log_level_selects_the_messages_of_the_server() {
    for (level, expected) in
        [(10, [true, true]), (20, [true, true]), (30, [false, true]), (40, [false, false])]
    {
        let server = Setup::new().server("log_level", json!(level)).start();
        server.root_get("clear-logs").success();
        assert_eq!(shown_levels(&server), expected, "log_level {level}: {}", server.stderr());
    }
    let server = Setup::new().server("log_level", json!(50)).start();
    server.set("server.json", "/log_level", json!(20));
    eventually("the new level applies", Duration::from_secs(3), || {
        server.root_get("clear-logs").success();
        shown_levels(&server)[1]
    });
}

#[test]
fn stream_large_files_does_not_change_the_answer() {
    for set in [false, true] {
        let server = Setup::new().server("stream_large_files", json!(set)).start();
        let batch: Vec<_> = (0..1000).map(|_| json!({"message": "x".repeat(8000)})).collect();
        for _ in 0..4 {
            server.save_batch(&json!(batch)).success();
        }
        server.reset_memory_peak();
        let before = server.memory_now();
        assert_eq!(
            server.root_get("get-logs").body.len() as u64,
            server.log_path().metadata().unwrap().len()
        );
        let grown = server.memory_peak().saturating_sub(before);
        assert!(grown < 16_000_000, "{grown} bytes for an answer of 32 MB");
        assert_eq!(server.stderr().contains("stream_large_files"), set, "{}", server.stderr());
    }
}
