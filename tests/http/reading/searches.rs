//! Searches as load: how many there may be, how long one may take, and when it ends.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::frames::{self, Frames};
use crate::harness::{Conn, KEY, ROOT, Server, Setup, encode, eventually, route, slowness};

const ACCESS: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

/// An expression that no message matches and that takes its time at each.
const SLOW: &str = "([a-z]+ )*[a-z]+#$";

/// The same, and the first and the last message.
const SLOW_BETWEEN: &str = "edge|([a-z]+ )*[a-z]+#$";

/// A server with a log that takes seconds to search for [`SLOW`].
fn with_much(setup: Setup, megabytes: usize) -> Server {
    let path = setup.log_path();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let text = "many words that lead nowhere ".repeat(30);
    let mut written = 0;
    for seq in 1_u64.. {
        let is_last = written > megabytes * 1_000_000;
        let text = if seq == 1 || is_last { "edge" } else { &text };
        let line =
            format!("[INFO](2026-01-01 00:00:00.{seq:06}+00:00)<192.0.2.7|web|save-log|7|{seq}>{text}\n");
        written += line.len();
        file.write_all(line.as_bytes()).unwrap();
        if is_last {
            break;
        }
    }
    file.flush().unwrap();
    drop(file);
    let server = setup.start();
    eventually("its lines are counted", Duration::from_secs(30), || {
        server.root_get("details").json()["counting"] == false
    });
    server
}

fn search(server: &Server, parameters: &str) -> Conn {
    let mut conn = server.connect();
    let target = format!("{}?regex={}{parameters}", route("get-logs"), encode(SLOW));
    conn.send("GET", &target, &ACCESS, b"").unwrap();
    conn
}

/// Bytes that the process has read.
fn bytes_read(server: &Server) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", server.pid())).unwrap();
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    read.parse().unwrap()
}

/// Whether the process reads the log. What asking and answering reads is less than a block.
fn is_at_work(server: &Server) -> bool {
    let before = bytes_read(server);
    let until = Instant::now() + Duration::from_secs(1) * slowness();
    while Instant::now() < until {
        if bytes_read(server) > before + 100_000 {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn there_are_only_so_many_searches_at_once() {
    let server = with_much(Setup::new().http("max_searches = 2"), 200);
    let searches = [search(&server, ""), search(&server, "&order=desc")];
    eventually("both are under way", Duration::from_secs(10), || {
        search(&server, "").receive("GET").is_ok_and(|response| response.status == 503)
    });
    let mut third = search(&server, "");
    let refused = third.receive("GET").unwrap();
    refused.refused(503, "Too many searches at once.");
    assert!(refused.retry_after() >= 1);
    // what looks for nothing is no search
    for target in ["get-latest-logs?limit=3", "get-logs?limit=3&order=desc", "get-logs?limit=2&output=json"] {
        assert_eq!(server.get_with(&route(target), &ACCESS).status, 200, "{target}");
    }
    server.save("writers go on");
    drop(searches);
    eventually("there is room again", Duration::from_secs(10), || {
        server.get_with(&route("get-latest-logs?contains=writers&limit=1"), &ACCESS).status == 200
    });
}

#[test]
fn a_search_ends_when_its_client_leaves() {
    for setup in [Setup::new(), Setup::new().tls()] {
        let server = with_much(setup, 300);
        // before the first byte of the answer, and when it has begun
        for (pattern, begins) in [(SLOW, false), (SLOW_BETWEEN, true)] {
            let begun = bytes_read(&server);
            let mut conn = server.connect();
            let target = format!("{}?regex={}", route("get-logs"), encode(pattern));
            conn.send("GET", &target, &ACCESS, b"").unwrap();
            if begins {
                assert_eq!(conn.receive_exactly(12).unwrap(), b"HTTP/1.1 200");
            }
            eventually("it searches", Duration::from_secs(10), || is_at_work(&server));
            // one who says nothing more may still wait for the answer of a short search
            std::thread::sleep(Duration::from_millis(1100));
            assert!(is_at_work(&server), "the search is over too soon to show anything");
            drop(conn);
            eventually("it stops", Duration::from_secs(5), || !is_at_work(&server));
            assert!(bytes_read(&server) < begun + 290_000_000, "it was searched to the end");
        }
        server.save("still served");
    }
}

#[test]
fn a_search_ends_with_its_stream_or_its_connection_in_http_2() {
    let server = with_much(Setup::new().tls(), 300);
    let resets = |frames: &mut Frames, stream| {
        frames.send(frames::RST_STREAM, 0, stream, &8_u32.to_be_bytes()).unwrap();
    };
    for pattern in [SLOW, SLOW_BETWEEN] {
        for leaves in [false, true] {
            let begun = bytes_read(&server);
            let mut frames = Frames::open(server.address(), &[]);
            let target = format!("{}?regex={}", route("get-logs"), encode(pattern));
            frames.request(1, "GET", &target, &[("api-key", KEY), ("root-pass", ROOT)], true).unwrap();
            if pattern == SLOW_BETWEEN {
                assert_eq!(frames.status().unwrap(), (1, 200));
            }
            assert!(is_at_work(&server));
            if leaves {
                drop(frames);
            } else {
                resets(&mut frames, 1);
            }
            eventually("it stops", Duration::from_secs(5), || !is_at_work(&server));
            assert!(bytes_read(&server) < begun + 290_000_000, "it was searched to the end");
        }
    }
}

#[test]
fn a_search_ends_when_its_client_leaves_while_it_streams() {
    let server = with_much(Setup::new(), 300);
    let mut conn = server.connect();
    // all records but the last ones, and the answer is not read
    conn.send("GET", &route("get-logs?contains=nowhere&output=json"), &ACCESS, b"").unwrap();
    let begun = bytes_read(&server);
    eventually("it streams", Duration::from_secs(10), || bytes_read(&server) > begun + 1_000_000);
    drop(conn);
    eventually("it stops", Duration::from_secs(5), || !is_at_work(&server));
    assert!(bytes_read(&server) < begun + 200_000_000, "it was read to the end");
}

#[test]
fn a_search_that_goes_on_is_not_overdue() {
    let server = with_much(Setup::new().http("response_timeout = 1"), 150);
    let begun = Instant::now();
    let response = search(&server, "&output=json").receive("GET").unwrap();
    assert_eq!((response.status, response.json()), (200, json!([])));
    assert!(
        begun.elapsed() > Duration::from_millis(1500),
        "it was over before it could be late: {:?}",
        begun.elapsed()
    );
}

#[test]
fn who_only_stopped_speaking_gets_the_answer_of_a_short_search() {
    let server = Setup::new().start();
    server.save("a needle");
    let mut conn = server.connect();
    conn.send("GET", &route("get-logs?contains=needle"), &ACCESS, b"").unwrap();
    conn.half_close();
    assert!(conn.receive("GET").unwrap().text().ends_with(">a needle\n"));
}

#[test]
fn a_search_breaks_off_when_the_log_is_cleared() {
    let server = with_much(Setup::new(), 200);
    let mut waiting = search(&server, "");
    let mut streaming = server.connect();
    streaming.send("GET", &route("get-logs?contains=nowhere"), &ACCESS, b"").unwrap();
    let begun = bytes_read(&server);
    eventually("both are under way", Duration::from_secs(10), || bytes_read(&server) > begun + 3_000_000);
    server.root_get("clear-logs").success();
    server.save("new");
    assert_eq!(waiting.receive("GET").unwrap().status, 503);
    // bytes of the log as it was, and then no whole answer
    assert!(streaming.receive("GET").is_err());
}

#[test]
fn a_long_search_holds_nobody_up_and_takes_no_memory() {
    let server = with_much(Setup::new(), 200);
    let before = server.memory_now();
    let searches: Vec<Conn> = (0..16).map(|_| search(&server, "")).collect();
    eventually("they search", Duration::from_secs(10), || is_at_work(&server));
    let mut slowest = Duration::ZERO;
    for n in 0..50 {
        let begun = Instant::now();
        server.save(&format!("beside searches {n}"));
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_millis(500) * slowness(), "a record waited {slowest:?}");
    let grown = server.memory_now().saturating_sub(before);
    assert!(grown < 60_000_000, "16 searches took {grown} bytes");
    drop(searches);
}
