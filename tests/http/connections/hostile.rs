//! Tests with hostile input. The server gives a clear answer, uses bounded memory, answers no 5xx,
//! and serves the next request.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::harness::{KEY, Server, Setup, route};

/// Sends these bytes and returns the answer until the server closes.
fn answer_to(server: &Server, bytes: &[u8]) -> String {
    let mut conn = server.connect();
    conn.send_raw(bytes).ok();
    conn.half_close();
    String::from_utf8_lossy(&conn.read_to_end()).into_owned()
}

fn status_of(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

const MALFORMED: [&[u8]; 9] = [
    b"GARBAGE\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello, this is TLS\r\n\r\n",
    b"GET /status\r\n\r\n",
    b"GET /status HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET /status HTTP/1.1\r\nName : value\r\n\r\n",
    b"GET /status HTTP/1.1\r\nX-Nul: a\0b\r\n\r\n",
    b"POST /status HTTP/1.1\r\nHost: a\r\nContent-Length: abc\r\n\r\n",
    b"POST /status HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /status HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
];

#[test]
fn malformed_http_is_400() {
    let server = Setup::new().start();
    for bytes in MALFORMED {
        let answer = answer_to(&server, bytes);
        assert_eq!(status_of(&answer), 400, "{:?}: {answer:?}", String::from_utf8_lossy(bytes));
        assert_eq!(server.get("/status").status, 200);
    }
    server.assert_alive();
}

#[test]
fn malformed_http_gets_a_problem_answer() {
    let server = Setup::new().server("headers", json!({"X-Box": "one"})).start();
    for bytes in MALFORMED {
        let answer = answer_to(&server, bytes);
        let lower = answer.to_lowercase();
        assert!(lower.contains("content-type: application/problem+json"), "{answer:?}");
        assert!(lower.contains("server: mocafilelog("), "{answer:?}");
        assert!(lower.contains("x-box: one"), "{answer:?}");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap();
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 400, "{answer:?}");
    }
}

#[test]
fn two_content_lengths_are_refused() {
    let server = Setup::new().start();
    let smuggled = format!(
        "POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
         GET {}?api_key={KEY}&message=smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        route("save-log"),
        route("save-log"),
    );
    let answer = answer_to(&server, smuggled.as_bytes());
    assert_eq!(status_of(&answer), 400, "{answer:?}");
    assert!(server.messages().is_empty(), "a request was smuggled");
    server.assert_alive();
}

#[test]
fn broken_chunks_are_refused() {
    let server = Setup::new().start();
    for chunks in
        ["zz\r\nabc\r\n0\r\n\r\n", "ffffffffffffffffff\r\nabc", "5\r\nabcdefgh\r\n0\r\n\r\n", "-1\r\n\r\n"]
    {
        let bytes = format!(
            "POST {} HTTP/1.1\r\nHost: a\r\nAPI-KEY: {KEY}\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n{chunks}",
            route("save-log")
        );
        let status = status_of(&answer_to(&server, bytes.as_bytes()));
        assert!(status == 0 || status == 400, "{chunks:?}: {status}");
    }
    assert!(server.messages().is_empty());
    server.assert_alive();
}

#[test]
fn headers_that_are_too_large_or_too_many_are_431() {
    let server = Setup::new().start();
    let large = "x".repeat(20_000);
    let mut conn = server.connect();
    conn.send("GET", "/status", &[("X-Large", &large)], b"").ok();
    conn.receive("GET").unwrap().problem(431);
    let names: Vec<String> = (0..110).map(|n| format!("X-{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let mut conn = server.connect();
    conn.send("GET", "/status", &many, b"").ok();
    conn.receive("GET").unwrap().problem(431);
    assert_eq!(server.get_with("/status", &many[..90]).status, 200);
    assert_eq!(server.get_with("/status", &[("X-Large", &large[..12_000])]).status, 200);
    server.assert_alive();
}

/// The head is larger than the server reads at once. The unread rest must not reset the connection,
/// because the client would lose the refusal.
#[test]
fn an_endless_head_is_refused_and_the_client_can_read_the_refusal() {
    let server = Setup::new().start();
    for (status, begin) in [(431, "GET /status HTTP/1.1\r\nHost: a\r\nX-Large: "), (414, "GET /status?")] {
        for size in [20_000, 60_000, 200_000] {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(format!("{begin}{}", "x".repeat(size)).as_bytes()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // The client reads so late that a reset would overtake the answer.
            std::thread::sleep(Duration::from_millis(100));
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{status} {size}: {error}"));
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{size}: {answer}");
        }
    }
    server.assert_alive();
}

#[test]
fn the_header_limits_are_configurable() {
    let server = Setup::new().http("max_header_size = 8192").http("max_headers = 10").start();
    let large = "x".repeat(9000);
    assert_eq!(server.request("GET", "/status", &[("X-Large", &large)], b"").status, 431);
    let names: Vec<String> = (0..12).map(|n| format!("X-{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    assert_eq!(server.request("GET", "/status", &many, b"").status, 431);
    assert_eq!(server.get_with("/status", &many[..5]).status, 200);
}

#[test]
fn a_target_that_is_too_long_is_refused() {
    let server = Setup::new().start();
    let mut conn = server.connect();
    let target = format!("{}?api_key={KEY}&message={}", route("save-log"), "x".repeat(70_000));
    conn.send("GET", &target, &[], b"").ok();
    let response = conn.receive("GET").unwrap();
    assert!([414, 431].contains(&response.status), "{response:?}");
    server.assert_alive();
}

#[test]
fn bad_percent_encoding_and_utf8_never_answer_5xx() {
    let server = Setup::new().start();
    let save = route("save-log");
    for target in [
        "/moca-file-log/%zz/save-log".to_owned(),
        "/moca-file-log/%ff%fe/save-log".to_owned(),
        "/moca-file-log/%/save-log".to_owned(),
        "/%00".to_owned(),
        "/moca-file-log/sample1%00/save-log".to_owned(),
        "/moca-file-log/..%2f..%2fetc%2fpasswd".to_owned(),
        format!("{save}?api_key={KEY}&message=%ff%fe"),
        format!("{save}?api_key={KEY}&message=%zz%"),
        format!("{save}?api_key=%ff&message=m"),
        format!("{save}?&&&=&==&api_key"),
    ] {
        let response = server.get(&target);
        assert!(response.status < 500, "{target}: {response:?}");
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded"), ("API-KEY", KEY)];
    for body in [&b"message=\xff\xfe"[..], b"message=%ff", b"%=%&&&=", b"\0\0\0"] {
        let response = server.request("POST", &save, &form, body);
        assert!(response.status < 500, "{response:?}");
    }
    let mut conn = server.connect();
    conn.send_raw(b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let answer = conn.read_line().unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer:?}");
    for line in server.log_lines() {
        crate::harness::Line::parse(&line);
    }
    server.assert_alive();
}

#[test]
fn broken_multipart_never_answers_5xx() {
    let server = Setup::new().start();
    for (content_type, body) in [
        ("multipart/form-data", "--x\r\n"),
        ("multipart/form-data; boundary=x", ""),
        (
            "multipart/form-data; boundary=x",
            "--x\r\nContent-Disposition: form-data; name=\"message\"\r\n\r\nm",
        ),
        ("multipart/form-data; boundary=x", "--y\r\n\r\n--y--"),
        ("multipart/form-data; boundary=", "----"),
        ("application/json; charset=\"", "{}"),
        ("/", "{}"),
    ] {
        let headers = [("Content-Type", content_type), ("API-KEY", KEY)];
        let response = server.request("POST", &route("save-log"), &headers, body.as_bytes());
        assert!((400..500).contains(&response.status), "{content_type} {body:?}: {response:?}");
    }
    assert!(server.messages().is_empty());
    server.assert_alive();
}

#[test]
fn a_body_over_the_maximum_is_413() {
    let server = Setup::new().http("request_max_size = 10000").start();
    let headers = [("API-KEY", KEY), ("Content-Type", "application/json")];
    let mut with_length = headers.to_vec();
    with_length.push(("Content-Length", "10001"));
    let mut conn = server.connect();
    conn.send("POST", &route("save-log"), &with_length, b"").unwrap();
    conn.receive("POST").unwrap().problem(413);
    let mut chunked = headers.to_vec();
    chunked.push(("Transfer-Encoding", "chunked"));
    let mut conn = server.connect();
    conn.send("POST", &route("save-log"), &chunked, b"").unwrap();
    for _ in 0..11 {
        conn.send_raw(format!("3e8\r\n{}\r\n", "x".repeat(1000)).as_bytes()).ok();
    }
    conn.receive("POST").unwrap().problem(413);
    let fitting = json!({"message": "x".repeat(8000)}).to_string();
    server.request("POST", &route("save-log"), &headers, fitting.as_bytes()).success();
    server.assert_alive();
}

#[test]
fn bytes_after_a_refused_body_are_no_request() {
    let server = Setup::new().http("request_max_size = 200000").start();
    let request =
        format!("GET {}?message=m HTTP/1.1\r\nHost: x\r\nAPI-KEY: {KEY}\r\n\r\n", route("save-log"));
    for filling in ["a", "hello\n", "\r\n", &request] {
        let body = filling.repeat(700_000 / filling.len());
        let mut conn = server.connect();
        let head = [("API-KEY", KEY), ("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")];
        conn.send("POST", &route("save-log"), &head, b"").unwrap();
        conn.send_raw(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes()).ok();
        conn.receive("POST").unwrap().problem(413);
        assert!(conn.receive("GET").is_err(), "a second answer to a body of {filling:?}");
    }
    assert!(server.messages().is_empty());
}

#[test]
fn a_hundred_megabytes_without_a_key_use_little_memory() {
    let server = Setup::new()
        .http("max_body_memory = 8000000")
        .http("request_timeout = 5")
        .http("body_timeout = 5")
        .http("response_timeout = 5")
        .start();
    assert_eq!(server.get("/status").status, 200);
    let before = server.memory_now();
    let piece = vec![b'x'; 1_000_000];
    for headers in [
        &[("Content-Length", "99000000"), ("Content-Type", "application/json")][..],
        &[("Content-Length", "99000000"), ("Content-Type", "application/x-www-form-urlencoded")],
        &[("Content-Length", "99000000"), ("API-KEY", "unknown")],
        &[("Content-Length", "99000000"), ("Content-Type", "text/plain")],
    ] {
        let mut conn = server.connect();
        conn.send("POST", &route("save-log"), headers, b"").unwrap();
        // The server may refuse in the middle of the body, or read all of it.
        for _ in 0..99 {
            if conn.send_raw(&piece).is_err() {
                break;
            }
        }
        if let Ok(response) = conn.receive("POST") {
            assert!([400, 401, 408, 413, 503].contains(&response.status), "{response:?}");
        }
        server.assert_alive();
    }
    let growth = server.memory_peak() - before;
    assert!(growth < 40_000_000, "{growth} bytes");
}

#[test]
fn all_bodies_together_are_bounded() {
    let server = Setup::new().http("max_body_memory = 4000000").http("body_timeout = 2").start();
    assert_eq!(server.get("/status").status, 200);
    let before = server.memory_now();
    let piece = vec![b'x'; 1_400_000];
    let headers = [("Content-Length", "1500000"), ("Content-Type", "application/json")];
    let mut stalled: Vec<_> = (0..24).map(|_| server.connect()).collect();
    std::thread::scope(|scope| {
        for conn in &mut stalled {
            let piece = &piece;
            scope.spawn(move || {
                conn.send("POST", &route("save-log"), &headers, b"").ok();
                conn.send_raw(piece).ok();
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        // A request without a body is not delayed.
        server.get(&format!("{}?api_key={KEY}&message=quick", route("save-log"))).success();
    });
    drop(stalled);
    let growth = server.memory_peak() - before;
    assert!(growth < 18_000_000, "{growth} bytes, and the bodies have 33,600,000");
    crate::harness::eventually("bodies are accepted again", Duration::from_secs(5), || {
        server.save_with(&json!({"message": "m"})).status == 200
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Setup::new().start();
    let mut bytes = String::new();
    for n in 0..20 {
        let target = format!("{}?api_key={KEY}&message={n}", route("save-log"));
        bytes.push_str(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        bytes.push_str("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let mut conn = server.connect();
    conn.send_raw(bytes.as_bytes()).unwrap();
    for _ in 0..20 {
        conn.receive("GET").unwrap().success();
        conn.receive("GET").unwrap().problem(404);
    }
    let expected: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(server.messages(), expected);
}

#[test]
fn a_half_closed_client_is_still_answered() {
    let server = Setup::new().key("slow", &json!({"delay": 0.3})).start();
    for key in [KEY, "slow"] {
        let mut conn = server.connect();
        conn.send("GET", &format!("{}?api_key={key}&message=m", route("save-log")), &[], b"").unwrap();
        conn.half_close();
        conn.receive("GET").unwrap().success();
    }
    assert_eq!(server.messages().len(), 2);
}

#[test]
fn a_client_that_disconnects_does_not_affect_others() {
    let server = Setup::new().key("slow", &json!({"delay": 0.2})).start();
    for part in [&b"GET /sta"[..], b"POST /moca-file-log/save-log HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"] {
        for _ in 0..50 {
            server.connect().send_raw(part).unwrap();
        }
    }
    for _ in 0..50 {
        let target = format!("{}?api_key=slow&message=m", route("save-log"));
        server.connect().send("GET", &target, &[], b"").unwrap();
    }
    std::thread::sleep(Duration::from_millis(400));
    server.save("still alive");
    // On a busy machine a delayed record of a client that has left may come after it.
    assert!(server.messages().iter().any(|message| message == "still alive"));
}

#[test]
fn a_chunked_body_is_accepted() {
    let server = Setup::new().start();
    let headers = [("API-KEY", KEY), ("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")];
    let body = b"6\r\n{\"mess\r\nf;ext=1\r\nage\":\"in pieces\r\n2\r\n\"}\r\n0\r\nX-Trailer: 1\r\n\r\n";
    server.request("POST", &route("save-log"), &headers, body).success();
    assert_eq!(server.messages(), ["in pieces"]);
}
