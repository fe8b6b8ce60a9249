//! Tests of the framing of requests: the same bytes get the same answer by the fast path and the
//! slow path, alone and behind other requests, and at every cut.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use crate::harness::{Conn, KEY, Server, Setup, route};

/// A field that the fast path does not know, so that the request takes the slow path.
const DETOUR: &str = "X-Detour: a\r\n";

const MESSAGE: &str = r#"{"message":"m"}"#;

/// The records in chunks that are valid.
const CHUNKED: [&str; 3] = [
    "f\r\n{\"message\":\"m\"}\r\n0\r\n\r\n",
    "1\r\n{\r\nE;a=\"b\"\r\n\"message\":\"m\"}\r\n00\r\n\r\n",
    "5 \r\n{\"mes\r\na\r\nsage\":\"m\"}\r\n0\r\nX-Trailer: 1\r\nY: 2\r\n\r\n",
];

/// Returns a record with these fields behind the usual ones.
fn record(fields: &str, body: &str) -> String {
    let target = route("save-log");
    format!(
        "POST {target} HTTP/1.1\r\nAPI-KEY: {KEY}\r\nContent-Type: application/json\r\n{fields}\r\n{body}"
    )
}

fn with_host(fields: &str, body: &str) -> String {
    record(&format!("Host: a\r\n{fields}"), body)
}

fn with_length(fields: &str) -> String {
    record(&format!("{fields}Content-Length: {}\r\n", MESSAGE.len()), MESSAGE)
}

/// Returns the requests that are valid, each of which stores a record.
fn valid() -> Vec<String> {
    let target = route("save-log");
    let mut requests = vec![
        with_length("Host: a\r\n"),
        with_length("Host: a:80\r\n"),
        with_length("Host: \r\n"),
        with_length("Host: [2001:db8::1]:80\r\n"),
        with_length("Host: a\r\n").replace(&target, &format!("http://a{target}")),
        with_length("Host: other\r\n").replace(&target, &format!("http://a{target}")),
        with_length("Host: a\r\nContent-Length: 15\r\n"),
        with_length("Host: a\r\n").replace("\r\n", "\n"),
        format!("\r\n\r\n{}", with_length("Host: a\r\n")),
    ];
    requests.extend(CHUNKED.map(|body| with_host("Transfer-Encoding: chunked\r\n", body)));
    requests.push(with_host("transfer-encoding:\tChunked \r\n", CHUNKED[0]));
    requests
}

/// Returns the requests that are refused with this status, and after which the connection closes.
fn refused() -> Vec<(u16, String)> {
    let both = "Content-Length: 15\r\nTransfer-Encoding: chunked\r\n";
    let reversed = "Transfer-Encoding: chunked\r\nContent-Length: 15\r\n";
    let mut requests = vec![
        (400, with_length("")),
        (400, with_host(both, CHUNKED[0])),
        (400, with_host(reversed, CHUNKED[0])),
        (400, with_host("Transfer-Encoding: chunked\r\nCONTENT-LENGTH : 15\r\n", CHUNKED[0])),
        (400, with_host("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", CHUNKED[0])),
        (400, with_length("Host: a\r\nContent-Length: 16\r\n")),
        (400, with_host("Content-Length: +15\r\n", MESSAGE)),
        (400, with_host("Content-Length: 15, 15\r\n", MESSAGE)),
        (400, with_host("Content-Length: 1 5\r\n", MESSAGE)),
        (400, with_host("Transfer-Encoding: gzip\r\n", CHUNKED[0])),
        (501, with_host("Transfer-Encoding: gzip, chunked\r\n", CHUNKED[0])),
        (501, with_host("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKED[0])),
        (400, with_host("Transfer-Encoding : chunked\r\n", CHUNKED[0])),
        (400, with_host("X: a\r\n b\r\nContent-Length: 15\r\n", MESSAGE)),
        (400, with_host("Content-Length: 15\r\nX: a\r\n\tb\r\n", MESSAGE)),
    ];
    for host in ["a b", "a/b", "a@b", "a?b", "a#b", "a\\b", "\u{e9}/"] {
        requests.push((400, with_length(&format!("Host: {host}\r\n"))));
    }
    for other in ["a", "b", "b c", "a/b", "a@b", "\u{e9}/", ""] {
        requests.push((400, with_length(&format!("Host: a\r\nHost: {other}\r\n"))));
        requests.push((400, with_length(&format!("Host: {other}\r\nHost: a\r\n"))));
    }
    requests
}

/// Returns the request with a field that makes it take the slow path.
fn by_slow_path(request: &str) -> String {
    let detour = if request.contains("\r\n") { DETOUR.to_owned() } else { DETOUR.replace('\r', "") };
    let field = request.find("API-KEY").unwrap();
    format!("{}{detour}{}", &request[..field], &request[field..])
}

fn server() -> Server {
    Setup::new().start()
}

/// Receives an answer, and the `detail` of a problem.
fn receive(conn: &mut Conn) -> (u16, String) {
    let answer = conn.receive("POST").expect("an answer");
    let detail = if answer.status < 400 { String::new() } else { answer.problem(answer.status) };
    (answer.status, detail)
}

/// Checks the answer to a request. `None` stands for a stored record.
fn check(conn: &mut Conn, refused: Option<u16>, shown: &str) {
    let (status, detail) = receive(conn);
    assert_eq!(status, refused.unwrap_or(200), "{detail}: {shown:?}");
    if refused.is_some() {
        let has_length = shown.to_lowercase().contains("content-length");
        assert!(has_length || !detail.contains("Content-Length"), "{detail}: {shown:?}");
        assert_eq!(conn.read_to_end(), b"", "an answer behind the refusal of {shown:?}");
    }
}

fn all() -> Vec<(Option<u16>, String)> {
    let refused = refused().into_iter().map(|(status, request)| (Some(status), request));
    valid().into_iter().map(|request| (None, request)).chain(refused).collect()
}

#[test]
fn framings_get_the_same_answer_by_both_paths_and_behind_other_requests() {
    let server = server();
    let before = [
        String::new(),
        with_length("Host: a\r\n"),
        by_slow_path(&with_length("Host: a\r\n")),
        "GET /status HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        with_host("Transfer-Encoding: chunked\r\n", CHUNKED[2]),
    ];
    let mut stored = 0;
    for (refused, request) in all() {
        for request in [request.clone(), by_slow_path(&request)] {
            for before in &before {
                let mut conn = server.connect();
                conn.send_raw(format!("{before}{request}").as_bytes()).unwrap();
                if !before.is_empty() {
                    assert_eq!(receive(&mut conn).0, 200, "{before:?}");
                    stored += usize::from(before.starts_with("POST"));
                }
                check(&mut conn, refused, &format!("{before}{request}"));
                stored += usize::from(refused.is_none());
                assert_eq!(server.log_lines().len(), stored, "{request:?} behind {before:?}");
            }
        }
    }
}

#[test]
fn a_request_gets_the_same_answer_at_every_cut() {
    let server = server();
    let both = with_host("Content-Length: 15\r\nTransfer-Encoding: chunked\r\n", CHUNKED[0]);
    let cases = [
        (None, with_length("Host: a\r\n")),
        (None, with_host("Transfer-Encoding: chunked\r\n", CHUNKED[1])),
        (Some(400), both),
        (Some(400), with_length("Host: a\r\nHost: b c\r\n")),
    ];
    let before =
        ["".to_owned(), "GET /status HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), with_length("Host: a\r\n")];
    std::thread::scope(|scope| {
        for (refused, request) in &cases {
            for before in &before {
                let server = &server;
                scope.spawn(move || {
                    let whole = format!("{before}{request}");
                    // The first part ends behind the request before, so that the server reads half
                    // of the next one together with it.
                    for cut in before.len().max(1)..whole.len() {
                        let mut conn = server.connect();
                        let (first, second) = whole.as_bytes().split_at(cut);
                        conn.send_raw(first).unwrap();
                        if before.is_empty() {
                            std::thread::sleep(Duration::from_millis(2));
                        } else {
                            assert_eq!(receive(&mut conn).0, 200, "{before:?}");
                        }
                        // The server may have refused the first part already.
                        conn.send_raw(second).ok();
                        check(&mut conn, *refused, &whole);
                    }
                });
            }
        }
    });
    assert!(server.messages().iter().all(|message| message == "m"));
}

#[test]
fn half_a_pipelined_head_times_out() {
    let server = Setup::new().http("request_timeout = 1\nkeep_alive_timeout = 30").start();
    for before in [
        "GET /status HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        with_length("Host: a\r\n"),
        by_slow_path(&with_length("Host: a\r\n")),
        with_host("Transfer-Encoding: chunked\r\n", CHUNKED[0]),
    ] {
        let mut conn = server.connect();
        conn.send_raw(format!("{before}GET /status HTTP/1.1\r\nHo").as_bytes()).unwrap();
        assert_eq!(receive(&mut conn).0, 200);
        conn.set_read_timeout(Duration::from_secs(10));
        assert_eq!(receive(&mut conn).0, 408, "behind {before:?}");
        assert_eq!(conn.read_to_end(), b"");
    }
}

#[test]
fn any_pipeline_in_any_pieces_is_answered_in_order() {
    let server = server();
    let (valid, refused) = (valid(), refused());
    let valid_request = (0..valid.len(), any::<bool>());
    let pipeline =
        prop::collection::vec(prop_oneof![3 => valid_request.prop_map(Some), 1 => Just(None)], 0..6);
    let last = prop::option::of((0..refused.len(), any::<bool>()));
    let cuts = prop::collection::vec((any::<prop::sample::Index>(), 0_u64..3), 0..4);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(120));
    let outcome = runner.run(&(pipeline, last, cuts), |(pipeline, last, cuts)| {
        let before = server.log_lines().len();
        let slow = |request: &str, slow: bool| if slow { by_slow_path(request) } else { request.to_owned() };
        let status = "GET /status HTTP/1.1\r\nHost: a\r\n\r\n".to_owned();
        let mut requests: Vec<String> = pipeline
            .iter()
            .map(|request| request.map_or(status.clone(), |(index, detour)| slow(&valid[index], detour)))
            .collect();
        let stored = pipeline.iter().flatten().count();
        let refused = last.map(|(index, detour)| (refused[index].0, slow(&refused[index].1, detour)));
        requests.extend(refused.clone().map(|(_, request)| request));
        let bytes = requests.concat().into_bytes();
        let mut cuts: Vec<(usize, u64)> =
            cuts.iter().map(|(cut, pause)| (cut.index(bytes.len() + 1), *pause)).collect();
        cuts.sort_unstable();
        let mut conn = server.connect();
        let mut from = 0;
        for (cut, pause) in cuts {
            // The server may have refused the last request before its last byte.
            if conn.send_raw(&bytes[from..cut]).is_err() {
                break;
            }
            from = cut;
            std::thread::sleep(Duration::from_millis(pause));
        }
        conn.send_raw(&bytes[from..]).ok();
        for request in &requests[..pipeline.len()] {
            prop_assert_eq!(receive(&mut conn).0, 200, "{}", request);
        }
        if let Some((status, request)) = refused {
            check(&mut conn, Some(status), &request);
        }
        prop_assert_eq!(server.log_lines().len(), before + stored);
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn chunked_batches_are_accepted_behind_other_requests() {
    let server = server();
    let logs: Vec<_> = (0..40).map(|n| json!({"msg": format!("{n} {}", "x".repeat(2000))})).collect();
    let body = json!({"logs": logs}).to_string();
    let mut bytes = with_length("Host: a\r\n").into_bytes();
    for _ in 0..3 {
        let target = route("save-logs");
        bytes.extend(format!("POST {target} HTTP/1.1\r\nHost: a\r\nAPI-KEY: {KEY}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes());
        for piece in body.as_bytes().chunks(7000) {
            bytes.extend(format!("{:x}\r\n", piece.len()).into_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
    }
    bytes.extend(with_length("Host: a\r\n").into_bytes());
    let mut conn = server.connect();
    conn.send_raw(&bytes).unwrap();
    for _ in 0..5 {
        assert_eq!(receive(&mut conn), (200, String::new()));
    }
    assert_eq!(server.messages().len(), 122);
}
