//! Tests of lines that another program appends to the file, while the log has followers and no sender.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::protocol::WebSocket;

use super::websocket::{closed, next, open};
use crate::harness::frames::{self, Frames};
use crate::harness::{Follow, KEY, ROOT, Server, Setup, route, slowness};

const ACCESS: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

/// Appends a text to the file, and sends nothing to the server.
fn append(server: &Server, text: &str) {
    let mut file = std::fs::OpenOptions::new().append(true).open(server.log_path()).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn follow(server: &Server, query: &str) -> Follow {
    Follow::on(server.connect(), &format!("{}?{query}", route("tail")), &ACCESS).unwrap()
}

fn line(message: &str) -> String {
    format!("[ERROR](2026-11-23 05:02:29.805789+00:00)<192.0.2.7|web|save-log|7|1>{message}\n")
}

/// Returns whether the value at the middle is at most a second.
fn within_a_second(mut latencies: Vec<Duration>) -> bool {
    latencies.sort();
    latencies[latencies.len() / 2] <= Duration::from_secs(1) * slowness()
}

#[test]
fn appended_line_reaches_followers_within_a_second() {
    let server = Setup::new().start();
    server.save("first");
    let (mut events, mut objects) = (follow(&server, ""), follow(&server, "output=json&level=error"));
    let mut socket = open(&server, "");
    let mut latencies = Vec::new();
    for round in 0..5 {
        let started = Instant::now();
        append(&server, &line(&format!("{round} \\| user=bob")));
        assert_eq!(format!("{}\n", events.next().data), line(&format!("{round} \\| user=bob")));
        let object: Value = serde_json::from_str(&objects.next().data).unwrap();
        let message = next(&mut socket);
        latencies.push(started.elapsed());
        for found in [object, message] {
            assert_eq!(
                (&found["message"], &found["fields"]),
                (&json!(round.to_string()), &json!({"user": "bob"}))
            );
        }
    }
    assert!(within_a_second(latencies.clone()), "{latencies:?}");
    // The place in the file is that of the line: a client that resumes gets the lines behind it.
    let id = objects.next_after(|| append(&server, &line("last")));
    append(&server, "  continued\n");
    let mut resumed =
        Follow::on(server.connect(), &route("tail"), &[&ACCESS[..], &[("Last-Event-ID", &id)]].concat())
            .unwrap();
    assert_eq!(resumed.next().data, "  continued");
    server.save("of a sender");
    assert!(resumed.next().data.ends_with(">of a sender"));
}

trait NextAfter {
    /// Returns the id of the next event, which `cause` leads to.
    fn next_after(&mut self, cause: impl FnOnce()) -> String;
}

impl NextAfter for Follow {
    fn next_after(&mut self, cause: impl FnOnce()) -> String {
        cause();
        self.next().id
    }
}

#[test]
fn half_an_appended_line_is_sent_when_it_has_its_end() {
    let server = Setup::new().start();
    let mut events = follow(&server, "");
    append(&server, "half a ");
    assert_eq!(events.within(Duration::from_millis(1500)), None);
    append(&server, "line\n");
    assert_eq!(events.next().data, "half a line");
    assert_eq!(std::fs::read_to_string(server.log_path()).unwrap(), "half a line\n");
    let folder = server.log_path().parent().unwrap().to_owned();
    let torn = std::fs::read_dir(folder)
        .unwrap()
        .find(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("torn"));
    assert!(torn.is_none(), "{torn:?}");
}

#[test]
fn file_that_another_program_puts_in_place_is_followed() {
    let server = Setup::new().start();
    server.save("old");
    let mut events = follow(&server, "lines=1");
    let mut socket = open(&server, "output=json");
    assert!(events.next().data.ends_with(">old"));
    let path = server.log_path();
    let other = path.with_file_name("other");
    std::fs::write(&other, line("new")).unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert!(events.next().data.ends_with(">new"));
    assert_eq!(next(&mut socket)["message"], "new");
    std::fs::remove_file(&path).unwrap();
    server.save("after");
    assert!(events.next().data.ends_with(">after"));
    assert_eq!(next(&mut socket)["message"], "after");
}

fn messages(socket: &mut WebSocket<TcpStream>, count: usize) -> Vec<(String, Value)> {
    let found = (0..count).map(|_| next(socket));
    found.map(|object| (object["message"].as_str().unwrap().to_owned(), object["level"].clone())).collect()
}

fn pairs(expected: &[(&str, Option<&str>)]) -> Vec<(String, Value)> {
    expected.iter().map(|(message, level)| ((*message).to_owned(), json!(level))).collect()
}

#[test]
fn socket_gets_a_record_with_the_lines_that_continue_it() {
    let server = Setup::new().start();
    let mut errors = open(&server, "level=error");
    let mut refused = open(&server, "contains=refused");
    let mut limited = open(&server, "level=error&limit=2");
    server.save_with(&json!({"message": "quiet", "level": 1})).success();
    append(&server, "  of a quiet record\n");
    server.save_with(&json!({"message": "Traceback:", "level": 3})).success();
    let first = next(&mut errors);
    assert_eq!(first["message"], "Traceback:");
    append(&server, "  File \"a.py\"\n");
    assert_eq!(messages(&mut errors, 1), pairs(&[("  File \"a.py\"", None)]));
    append(&server, "payment refused\r\n\u{1b}[31m\n");
    let rest = [("payment refused\r", None), ("\u{1b}[31m", None)];
    assert_eq!(messages(&mut errors, 2), pairs(&rest));
    // The text stands in a later line only, so the record is sent with it.
    let whole = [&[("Traceback:", Some("ERROR")), ("  File \"a.py\"", None)][..], &rest].concat();
    assert_eq!(messages(&mut refused, 4), pairs(&whole));
    server.save_with(&json!({"message": "the second", "level": 3})).success();
    // Lines that continue a record do not count.
    let both = [&whole[..], &[("the second", Some("ERROR"))]].concat();
    assert_eq!(messages(&mut limited, 5), pairs(&both));
    assert_eq!(closed(&mut limited), 1000);
    // A client that resumes within a record gets the rest of it.
    let cursor = first["cursor"].as_str().unwrap();
    let mut resumed = open(&server, &format!("level=error&cursor={cursor}"));
    assert_eq!(messages(&mut resumed, 4), pairs(&both[1..]));
    let mut latest = open(&server, "level=error&lines=2");
    assert_eq!(messages(&mut latest, 5), pairs(&both));
}

#[test]
fn streams_without_chunks_get_the_lines_that_continue_a_record() {
    let server = Setup::new().start();
    let target = format!("{}?level=error", route("tail"));
    let mut frames = Frames::open_plain(server.address(), &[]);
    let access = [("api-key", KEY), ("root-pass", ROOT)];
    frames.request(1, "GET", &target, &access, true).unwrap();
    assert_eq!(frames.status().unwrap(), (1, 200));
    let mut old = server.connect();
    let [key, root] = ACCESS.map(|(name, value)| format!("{name}: {value}\r\n"));
    old.send_raw(format!("GET {target} HTTP/1.0\r\nHost: a\r\n{key}{root}\r\n").as_bytes()).unwrap();
    assert_eq!(old.read_head().unwrap().status, 200);
    let mut expect = |text: &str| {
        let wanted = format!("{text}\n\n");
        let mut of_frames = String::new();
        while !of_frames.ends_with(&wanted) {
            of_frames += &String::from_utf8(frames.receive_one_of(&[frames::DATA]).unwrap().payload).unwrap();
        }
        let mut of_old = Vec::new();
        while !of_old.ends_with(wanted.as_bytes()) {
            of_old.extend(old.receive_exactly(1).unwrap());
        }
    };
    server.save_with(&json!({"message": "Traceback:", "level": 3})).success();
    expect(">Traceback:");
    append(&server, "  File \"a.py\"\n");
    expect("data:   File \"a.py\"");
    server.save_with(&json!({"message": "the second", "level": 3})).success();
    expect(">the second");
}
