//! Following a log: Server-Sent Events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Conn, End, Follow, KEY, Line, ROOT, Response, Server, Setup, each, eventually, route};

const CREDENTIALS: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

/// `tail` with this query, which must be answered 200.
fn follow(server: &Server, query: &str) -> Follow {
    follow_with(server, query, &[]).unwrap_or_else(|answer| panic!("{query}: {answer:?}"))
}

fn follow_with(server: &Server, query: &str, headers: &[(&str, &str)]) -> Result<Follow, Response> {
    let headers = [&CREDENTIALS[..], headers].concat();
    Follow::on(server.connect(), &format!("{}?{query}", route("tail")), &headers)
}

fn refused(server: &Server, query: &str, headers: &[(&str, &str)]) -> Response {
    follow_with(server, query, headers).err().unwrap_or_else(|| panic!("{query}: let in"))
}

fn messages(events: &mut Follow, count: usize) -> Vec<String> {
    events.data(count).iter().map(|line| Line::parse(line).message).collect()
}

#[test]
fn records_come_as_they_are_saved() {
    each(|setup| {
        let server = setup.start();
        server.save("before");
        let mut events = follow(&server, "");
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(events.head.header(name), Some(value), "{name}");
        }
        let start = events.head.expect_header("moca-cursor").to_owned();
        for message in ["one", "two\r\nlines\u{2028}or three", "\u{feff}data: id: \\ \t é"] {
            server.save(message);
            let event = events.next();
            let line = server.log_lines().pop().unwrap();
            assert_eq!(event.data, line);
            assert_eq!(Line::parse(&event.data).message, message);
            assert_ne!(event.id, start);
        }
        assert_eq!(events.retry.as_deref(), Some("1000"));
        assert_eq!(events.within(Duration::from_millis(100)), None);
        assert!(!events.has_ended());
    });
}
