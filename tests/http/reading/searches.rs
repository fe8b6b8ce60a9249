//! Tests of the number of searches, their time limit, and their end.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::frames::{self, Frames};
use crate::harness::{Conn, KEY, ROOT, Server, Setup, encode, eventually, route, slowness};

const ACCESS: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

/// An expression that matches no message and is slow for each.
const SLOW: &str = "([a-z]+ )*[a-z]+#$";

/// Like [`SLOW`], but matches the first and the last message.
const SLOW_BETWEEN: &str = "edge|([a-z]+ )*[a-z]+#$";

/// Starts a server with a log that takes seconds to search for [`SLOW`].
fn start_with_large_log(setup: Setup, megabytes: usize) -> Server {
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

/// Returns the number of bytes that the process has read.
fn bytes_read(server: &Server) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", server.pid())).unwrap();
    let read = io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    read.parse().unwrap()
}

/// Returns whether the process reads the log. A request and its answer read less than a block.
fn is_reading_log(server: &Server) -> bool {
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
fn max_searches_limits_concurrent_searches() {
    let server = start_with_large_log(Setup::new().http("max_searches = 2"), 200);
    let searches = [search(&server, ""), search(&server, "&order=desc")];
    eventually("both are under way", Duration::from_secs(10), || {
        search(&server, "").receive("GET").is_ok_and(|response| response.status == 503)
    });
    let mut third = search(&server, "");
    let refused = third.receive("GET").unwrap();
    refused.refused(503, "Too many searches at once.");
    assert!(refused.retry_after() >= 1);
    // A request without a selection does not count as a search.
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
fn an_expression_is_compiled_under_the_bound_of_searches() {
    let server = start_with_large_log(Setup::new().http("max_searches = 1"), 200);
    let running = search(&server, "");
    for name in ["get-logs", "get-latest-logs", "download-logs", "tail"] {
        let target = format!("{}?regex=(", route(name));
        eventually("it is refused without being compiled", Duration::from_secs(10), || {
            server.get_with(&target, &ACCESS).status == 503
        });
    }
    drop(running);
    for name in ["get-logs", "get-latest-logs", "download-logs", "tail"] {
        let target = format!("{}?regex=(", route(name));
        eventually("it is compiled", Duration::from_secs(10), || {
            server.get_with(&target, &ACCESS).status == 400
        });
    }
}

#[test]
fn the_compilation_of_expressions_delays_no_other_request() {
    let server = Setup::new().start();
    let is_over = AtomicBool::new(false);
    let took = std::thread::scope(|scope| {
        for name in ["get-logs", "get-latest-logs", "download-logs", "tail"].repeat(3) {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || {
                let target = format!("{}?regex={}", route(name), encode(r"(\W?\w?){400}Q"));
                let mut conn = server.connect();
                while !is_over.load(Ordering::Relaxed) {
                    conn.send("GET", &target, &ACCESS, b"").unwrap();
                    assert!(matches!(conn.receive("GET").unwrap().status, 400 | 503));
                }
            });
        }
        let mut conn = server.connect();
        let mut took: Vec<Duration> = (0..60)
            .map(|_| {
                let began = Instant::now();
                assert_eq!(conn.get("/status").status, 200);
                began.elapsed()
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        took.sort();
        took[took.len() / 2]
    });
    // On the event loop, the median was that of twelve compilations: more than 100 ms.
    assert!(took < Duration::from_millis(30) * slowness(), "{took:?}");
}

#[test]
fn a_search_ends_when_its_client_leaves() {
    for setup in [Setup::new(), Setup::new().tls()] {
        let server = start_with_large_log(setup, 300);
        // The client leaves before the first byte of the answer, or after it.
        for (pattern, begins) in [(SLOW, false), (SLOW_BETWEEN, true)] {
            let begun = bytes_read(&server);
            let mut conn = server.connect();
            let target = format!("{}?regex={}", route("get-logs"), encode(pattern));
            conn.send("GET", &target, &ACCESS, b"").unwrap();
            if begins {
                assert_eq!(conn.receive_exactly(12).unwrap(), b"HTTP/1.1 200");
            }
            eventually("it searches", Duration::from_secs(10), || is_reading_log(&server));
            // A half-closed client may still wait for the answer of a short search.
            std::thread::sleep(Duration::from_millis(1100));
            assert!(is_reading_log(&server), "the search is over too soon to show anything");
            drop(conn);
            eventually("it stops", Duration::from_secs(5), || !is_reading_log(&server));
            assert!(bytes_read(&server) < begun + 290_000_000, "it was searched to the end");
        }
        server.save("still served");
    }
}

#[test]
fn a_search_ends_with_its_stream_or_its_connection_in_http_2() {
    let server = start_with_large_log(Setup::new().tls(), 300);
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
            assert!(is_reading_log(&server));
            if leaves {
                drop(frames);
            } else {
                resets(&mut frames, 1);
            }
            eventually("it stops", Duration::from_secs(5), || !is_reading_log(&server));
            assert!(bytes_read(&server) < begun + 290_000_000, "it was searched to the end");
        }
    }
}

#[test]
fn a_search_ends_when_its_client_leaves_while_it_streams() {
    let server = start_with_large_log(Setup::new(), 300);
    let mut conn = server.connect();
    // All records but the last ones match, and the client does not read the answer.
    conn.send("GET", &route("get-logs?contains=nowhere&output=json"), &ACCESS, b"").unwrap();
    let begun = bytes_read(&server);
    eventually("it streams", Duration::from_secs(10), || bytes_read(&server) > begun + 1_000_000);
    drop(conn);
    eventually("it stops", Duration::from_secs(5), || !is_reading_log(&server));
    assert!(bytes_read(&server) < begun + 200_000_000, "it was read to the end");
}

#[test]
fn a_search_that_makes_progress_does_not_time_out() {
    let server = start_with_large_log(Setup::new().http("response_timeout = 1"), 150);
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
fn a_half_closed_client_gets_the_answer_of_a_short_search() {
    let server = Setup::new().start();
    server.save("a needle");
    let mut conn = server.connect();
    conn.send("GET", &route("get-logs?contains=needle"), &ACCESS, b"").unwrap();
    conn.half_close();
    assert!(conn.receive("GET").unwrap().text().ends_with(">a needle\n"));
}

#[test]
fn a_clear_aborts_a_search() {
    let server = start_with_large_log(Setup::new(), 200);
    let mut waiting = search(&server, "");
    let mut streaming = server.connect();
    streaming.send("GET", &route("get-logs?contains=nowhere"), &ACCESS, b"").unwrap();
    let begun = bytes_read(&server);
    eventually("both are under way", Duration::from_secs(10), || bytes_read(&server) > begun + 3_000_000);
    server.root_get("clear-logs").success();
    server.save("new");
    assert_eq!(waiting.receive("GET").unwrap().status, 503);
    // The answer has bytes of the old log, and is not complete.
    assert!(streaming.receive("GET").is_err());
}

#[test]
fn a_long_search_delays_no_request_and_takes_little_memory() {
    let server = start_with_large_log(Setup::new(), 200);
    let before = server.memory_now();
    let searches: Vec<Conn> = (0..16).map(|_| search(&server, "")).collect();
    eventually("they search", Duration::from_secs(10), || is_reading_log(&server));
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
