//! Tests of connections that stay open between requests: what their answers announce, by every way of
//! answering, and that no request is lost to the end of a connection.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Conn, KEY, Response, Server, Setup, cannot_run, each, eventually, route};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A header field that the fast path does not know, so that hyper serves the request.
const DETOUR: (&str, &str) = ("X-Detour", "please");

const SOON: Duration = Duration::from_secs(5);

/// Sends a record by the fast path or by hyper, with these additional fields.
fn save(conn: &mut Conn, by_hyper: bool, fields: &[(&str, &str)]) -> Response {
    let detour: &[(&str, &str)] = if by_hyper { &[DETOUR] } else { &[] };
    let headers = [&[JSON], detour, fields].concat();
    conn.request("POST", &route("save-log"), &headers, br#"{"message":"m"}"#)
}

/// Returns all values of `Keep-Alive`.
fn hints(answer: &Response) -> Vec<&str> {
    let fields = answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("keep-alive"));
    fields.map(|(_, value)| value.as_str()).collect()
}

/// Checks that a record gets these hints by both paths, also when it is refused.
fn assert_hints(server: &Server, expected: &[&str]) {
    for by_hyper in [false, true] {
        let mut conn = server.connect();
        for key in [KEY, "unknown"] {
            let answer = save(&mut conn, by_hyper, &[("API-KEY", key)]);
            assert_eq!(hints(&answer), expected, "{by_hyper} {answer:?}");
        }
    }
}

#[test]
fn every_answer_on_a_kept_connection_announces_two_seconds_less() {
    each(|setup| {
        let server = setup.start();
        assert_hints(&server, &["timeout=73"]);
        let mut conn = server.connect();
        let reading = format!("?api_key={KEY}&root_pass={}", crate::harness::ROOT);
        for (method, target) in [
            ("GET", "/status".to_owned()),
            ("HEAD", "/status".to_owned()),
            ("GET", "/nothing".to_owned()),
            ("DELETE", "/status".to_owned()),
            ("OPTIONS", route("save-log")),
            ("GET", route("get-logs") + &reading),
            ("GET", route("download-logs") + &reading),
            ("GET", route("save-log")),
            ("POST", route("save-logs")),
        ] {
            let answer = conn.request(method, &target, &[], b"");
            assert_eq!(hints(&answer), ["timeout=73"], "{method} {target} {answer:?}");
            assert_eq!(answer.header("connection"), None, "{method} {target}");
        }
    });
}

#[test]
fn an_answer_that_closes_announces_nothing() {
    each(|setup| {
        let server = setup.start();
        for fields in ["close", "Close", "foo, close"] {
            for by_hyper in [false, true] {
                let answer =
                    save(&mut server.connect(), by_hyper, &[("API-KEY", KEY), ("Connection", fields)]);
                assert_eq!(hints(&answer), [""; 0], "{answer:?}");
                assert_eq!(answer.expect_header("connection"), "close");
            }
        }
        let mut malformed = server.connect();
        malformed.send_raw(b"GET /status HTTP/1.1\r\n\r\n").unwrap();
        let answer = malformed.receive("GET").unwrap();
        assert_eq!((answer.status, hints(&answer).len()), (400, 0));
        let mut bytes = server.connect();
        bytes.send_raw(b"GET\r\n\r\n").unwrap();
        let answer = bytes.receive("GET").unwrap();
        assert_eq!((answer.status, hints(&answer).len()), (400, 0));
        let server = Setup::new().http("keep_alive = false").start();
        let answer = server.connect().get("/status");
        assert_eq!((hints(&answer).len(), answer.expect_header("connection")), (0, "close"));
    });
}

#[test]
fn http_1_0_announces_when_the_client_keeps_the_connection() {
    let server = Setup::new().start();
    let mut conn = server.connect();
    for _ in 0..2 {
        conn.send_raw(b"GET /status HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
        let answer = conn.receive("GET").unwrap();
        assert_eq!(hints(&answer), ["timeout=73"]);
        assert_eq!(answer.expect_header("connection"), "keep-alive");
    }
    conn.send_raw(b"GET /status HTTP/1.0\r\n\r\n").unwrap();
    let answer = conn.receive("GET").unwrap();
    assert_eq!(hints(&answer), [""; 0]);
    assert!(conn.is_closed_within(SOON));
    // A body without a length ends with the connection.
    let mut conn = server.connect();
    let target = format!("{}?api_key={KEY}&root_pass={}", route("get-logs"), crate::harness::ROOT);
    conn.send_raw(format!("GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").as_bytes()).unwrap();
    let head = conn.read_head().unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(hints(&head).is_empty(), head.header("content-length").is_none(), "{head:?}");
}

#[test]
fn the_hint_follows_the_timeout() {
    for (timeout, expected) in
        [("0.5", None), ("2.9", None), ("3", Some("timeout=1")), ("600", Some("timeout=598"))]
    {
        let server = Setup::new().http(&format!("keep_alive_timeout = {timeout}")).start();
        assert_hints(&server, expected.as_slice());
    }
}

#[test]
fn a_configured_header_replaces_the_hint() {
    let server = Setup::new().server("headers", json!({"keep-Alive": "timeout=4, max=9"})).start();
    assert_hints(&server, &["timeout=4, max=9"]);
    assert_eq!(hints(&server.connect().get("/nothing")), ["timeout=4, max=9"]);
}

#[test]
fn the_hint_is_that_of_the_connection_after_a_reload() {
    let server = Setup::new().http("keep_alive_timeout = 20").start();
    let mut early = server.connect();
    assert_eq!(hints(&early.get("/status")), ["timeout=18"]);
    server.edit("http.toml", "keep_alive_timeout = 40\n");
    eventually("new connections stay open longer", SOON, || {
        hints(&server.connect().get("/status")) == ["timeout=38"]
    });
    for by_hyper in [false, true] {
        assert_eq!(hints(&save(&mut early, by_hyper, &[("API-KEY", KEY)])), ["timeout=18"]);
    }
}

/// Sends a record, and returns the bytes of the answer without the digits of date and cursor.
fn bytes_of_answer(conn: &mut Conn, by_hyper: bool, fields: &[(&str, &str)]) -> String {
    let detour: &[(&str, &str)] = if by_hyper { &[DETOUR] } else { &[] };
    let headers = [&[JSON], detour, fields].concat();
    conn.send("POST", &route("save-log"), &headers, br#"{"message":"m"}"#).unwrap();
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let line = conn.read_line().unwrap();
        if let Some(digits) = line.strip_prefix("content-length: ") {
            length = digits.parse().unwrap();
        }
        let line = if line.starts_with("date: ") { "date" } else { &line };
        head += &(without_remaining(line) + "\r\n");
        if line.is_empty() {
            break;
        }
    }
    let body = String::from_utf8(conn.receive_exactly(length).unwrap()).unwrap();
    let body = if body.contains("\"cursor\"") { "json" } else { &body };
    head + body
}

/// Replaces the remaining number of requests and seconds of `RateLimit`.
fn without_remaining(line: &str) -> String {
    match line.strip_prefix("ratelimit: ").and_then(|value| value.split_once(';')) {
        Some((name, _)) => format!("ratelimit: {name}"),
        None => line.to_owned(),
    }
}

#[test]
fn both_paths_write_the_same_bytes() {
    for durability in ["os", "disk"] {
        let limited = json!({"status": true, "rate": "1000 per hour"});
        let server = Setup::new().durability(durability).key("limited", &limited).start();
        for fields in [
            &[("API-KEY", KEY)][..],
            &[("API-KEY", KEY), ("Accept", "application/json")],
            &[("API-KEY", "limited")],
            &[("API-KEY", "unknown")],
        ] {
            let mut conn = server.connect();
            let fast = bytes_of_answer(&mut conn, false, fields);
            assert!(fast.contains("\r\nkeep-alive: timeout=73\r\ncontent-length: "), "{fast}");
            assert_eq!(fast, bytes_of_answer(&mut conn, true, fields));
        }
    }
}

#[test]
fn http2_announces_nothing() {
    let server = Setup::new().start();
    let url = format!("http://{}/status", server.address());
    let curl = Command::new("curl").args(["-sS", "-D", "-", "--http2-prior-knowledge", &url]).output();
    let Ok(curl) = curl else { return cannot_run("curl is not installed") };
    let answer = String::from_utf8(curl.stdout).unwrap().to_lowercase();
    assert!(answer.starts_with("http/2 200"), "{answer}");
    assert!(!answer.contains("keep-alive"), "{answer}");
}

#[test]
fn a_request_that_has_begun_is_answered_after_the_timeout() {
    each(|setup| {
        let server = setup.http("keep_alive_timeout = 1").start();
        let mut conns: Vec<Conn> = Vec::new();
        for by_hyper in [false, true] {
            let mut conn = server.connect();
            assert_eq!(save(&mut conn, by_hyper, &[("API-KEY", KEY)]).status, 200);
            conns.push(conn);
        }
        // The first byte arrives in time, but the server looks only after the timeout.
        server.signal(Signal::SIGSTOP);
        for conn in &mut conns {
            conn.send_raw(b"G").unwrap();
        }
        std::thread::sleep(Duration::from_millis(1500));
        server.signal(Signal::SIGCONT);
        std::thread::sleep(Duration::from_millis(200));
        for conn in &mut conns {
            conn.send_raw(b"ET /status HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            assert_eq!(conn.receive("GET").expect("the request is answered").status, 200);
            assert!(conn.is_closed_within(SOON), "an idle connection stays open");
        }
    });
}

/// Agents of Node that send requests about as far apart as their own timeout.
const NODE: &str = r#"
const http = require("http");
const [port, path, key] = process.argv.slice(1);
let answered = 0, failed = [];
function agent(pause) {
  return new Promise(resolve => {
    const agent = new http.Agent({ keepAlive: true, timeout: 5000, maxSockets: 1 });
    let left = 3;
    const send = () => {
      const request = http.request({ port, path, agent, method: "POST",
        headers: { "content-type": "application/json", "api-key": key } }, response => {
        response.resume();
        response.on("end", () => {
          if (response.statusCode === 200) answered += 1; else failed.push(response.statusCode);
          next();
        });
      });
      request.on("error", error => { failed.push(error.code); next(); });
      request.end('{"message":"node"}');
    };
    const next = () => { left -= 1; if (left > 0) setTimeout(send, pause); else { agent.destroy(); resolve(); } };
    send();
  });
}
const pauses = Array.from({ length: 60 }, (_, n) => 4985 + n);
Promise.all(pauses.map(agent)).then(() => console.log(answered + " " + failed.join(",")));
"#;

#[test]
fn node_loses_no_request() {
    // The default, and the timeout at which Node's own agents close their connections.
    let servers = [Setup::new().start(), Setup::new().http("keep_alive_timeout = 5").start()];
    std::thread::scope(|scope| {
        for server in &servers {
            scope.spawn(move || {
                let port = server.address().port().to_string();
                let node = Command::new("node").args(["-e", NODE, &port, &route("save-log"), KEY]).output();
                let Ok(node) = node else { return cannot_run("node is not installed") };
                let said = String::from_utf8(node.stdout).unwrap();
                assert_eq!(said.trim(), "180", "{}", String::from_utf8_lossy(&node.stderr));
                assert_eq!(server.messages().len(), 180);
            });
        }
    });
}
