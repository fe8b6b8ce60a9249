//! Tests of what RFC 9110, 9111, 9112, 9457, 6750, 9651 and the rate limit draft require of every
//! answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::harness::{Conn, KEY, ROOT, Response, Server, Setup, encode, route};

const READS: [&str; 4] = ["details", "get-logs", "get-latest-logs", "download-logs"];
const AUTH: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

/// Holds an answer, with a description of its request.
type Answered = (String, Response);

fn with_auth<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    AUTH.into_iter().chain(more.iter().copied()).collect()
}

fn start_server() -> Server {
    let server = Setup::new()
        .key(
            "limited",
            &json!({"name": "lim\"ited", "rate": "2/hour, 100/day", "allowed_path": ["/:7/hour"]}),
        )
        .http("request_max_size = 1000")
        .start();
    server.save("one");
    server
}

/// Returns one answer of every kind that does not depend on the state of the machine.
fn answers_of_every_kind(server: &Server) -> Vec<Answered> {
    let mut kinds = Vec::new();
    let mut ask = |method: &str, target: &str, headers: &[(&str, &str)], body: &[u8], status: u16| {
        let response = server.request(method, target, headers, body);
        assert_eq!(response.status, status, "{method} {target} {headers:?}: {response:?}");
        kinds.push((format!("{method} {target} {headers:?}"), response));
    };
    let save = format!("{}?message=m", route("save-log"));
    let batch = format!("{}?logs={}", route("save-logs"), encode(r#"[{"msg":"m"}]"#));
    for method in ["GET", "POST", "HEAD"] {
        for target in [&save, &batch] {
            ask(method, target, &AUTH, b"", 200);
            ask(method, target, &with_auth(&[("Accept", "application/json")]), b"", 200);
        }
        for name in READS {
            ask(method, &route(name), &AUTH, b"", 200);
        }
        ask(method, "/status", &[], b"", 200);
        ask(method, &route("openapi.json"), &[], b"", 200);
        ask(method, &route("openapi.json"), &[("If-None-Match", "*")], b"", 304);
        ask(method, &route(""), &[], b"", 200);
        ask(method, &route(""), &[("If-None-Match", "*")], b"", 304);
        ask(method, &route("download-logs"), &with_auth(&[("Range", "bytes=0-3")]), b"", 206);
        ask(method, &route("download-logs"), &with_auth(&[("Range", "bytes=9999999-")]), b"", 416);
        ask(method, &route("download-logs"), &with_auth(&[("If-None-Match", "*")]), b"", 304);
        ask(method, &route("save-log"), &AUTH, b"", 422);
        ask(method, &route("save-log"), &[], b"", 401);
        ask(method, &route("save-log"), &[("API-KEY", "unknown")], b"", 401);
        ask(method, &route("details"), &[("API-KEY", KEY)], b"", 403);
        ask(method, "/nothing", &[], b"", 404);
        ask(method, &save, &[("API-KEY", "limited")], b"", if method == "HEAD" { 429 } else { 200 });
        ask(method, &save, &with_auth(&[("Content-Encoding", "compress")]), b"m", 415);
        ask(method, &format!("/{}", "x".repeat(20_000)), &[], b"", 414);
        ask(method, "/status", &[("Filler", &"x".repeat(20_000))], b"", 431);
        ask(method, &route("clear-logs"), &AUTH, b"", 200);
        server.save("one");
    }
    ask("POST", &save, &AUTH, &[b'x'; 1001], 413);
    ask("POST", &save, &with_auth(&[("Transfer-Encoding", "gzip, chunked")]), b"0\r\n\r\n", 501);
    for target in [&save, "/status", &route("openapi.json")] {
        ask("OPTIONS", target, &[], b"", 200);
        ask("PATCH", target, &[], b"", 405);
    }
    let maintained = Setup::new().system("maintenance_mode", json!(true)).start();
    for method in ["GET", "OPTIONS"] {
        for target in ["/status", &save, &route("openapi.json")] {
            let response = maintained.request(method, target, &[], b"");
            assert_eq!(response.status, 503);
            kinds.push((format!("{method} {target} in maintenance"), response));
        }
    }
    let mut conn = server.connect();
    conn.send_raw(b"NONSENSE\r\n\r\n").unwrap();
    kinds.push(("a malformed head".to_owned(), conn.receive("GET").unwrap()));
    kinds
}

/// Returns all values of a header as one list.
fn list(response: &Response, name: &str) -> Vec<String> {
    let values = response.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
    values.flat_map(|(_, value)| value.split(',')).map(|item| item.trim().to_ascii_lowercase()).collect()
}

fn one(what: &str, response: &Response, name: &str) -> String {
    let all: Vec<_> = response.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).collect();
    assert_eq!(all.len(), 1, "{name} once: {what}: {response:?}");
    all[0].1.clone()
}

#[test]
fn every_answer_has_the_headers_that_http_requires() {
    for (what, response) in answers_of_every_kind(&start_server()) {
        let date = one(&what, &response, "date");
        assert!(is_http_date(&date), "{what}: {date:?}");
        assert!(one(&what, &response, "server").starts_with("MocaFileLog("), "{what}");
        assert!(list(&response, "vary").contains(&"origin".to_owned()), "{what}: {response:?}");
        // An answer never has both (RFC 9110, section 8.6). A 304 of this server has neither.
        let framed = ["content-length", "transfer-encoding"].map(|name| response.header(name).is_some());
        assert_ne!(framed, [true, true], "{what}: {response:?}");
        if response.status != 304 {
            one(&what, &response, "content-type");
        }
    }
}

/// Returns whether the text has the form `Sun, 06 Nov 1994 08:49:37 GMT`.
fn is_http_date(text: &str) -> bool {
    httpdate::parse_http_date(text).is_ok_and(|time| httpdate::fmt_http_date(time) == text)
}

#[test]
fn every_error_is_a_problem_and_not_cacheable() {
    let mut seen = Vec::new();
    for (what, response) in
        answers_of_every_kind(&start_server()).into_iter().filter(|(_, r)| r.status >= 400)
    {
        assert_eq!(one(&what, &response, "content-type"), "application/problem+json", "{what}");
        assert_eq!(one(&what, &response, "cache-control"), "no-store", "{what}");
        if !what.starts_with("HEAD") {
            response.problem(response.status);
        }
        match response.status {
            401 => assert_eq!(one(&what, &response, "www-authenticate"), "Bearer realm=\"MocaFileLog\""),
            405 => {
                // The routes that store take PUT as well.
                let mut allowed = list(&response, "allow");
                allowed.retain(|method| method != "put" || !what.contains("/save-log"));
                assert_eq!(allowed, ["get", "post", "head", "options"], "{what}");
            }
            416 => assert!(one(&what, &response, "content-range").starts_with("bytes */"), "{what}"),
            429 | 503 => assert!((1..=86_400).contains(&response.retry_after()), "{what}: {response:?}"),
            _ => {}
        }
        seen.push(response.status);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, [400, 401, 403, 404, 405, 413, 414, 415, 416, 422, 429, 431, 501, 503]);
}

#[test]
fn log_data_is_neither_cacheable_nor_sniffed() {
    let server = start_server();
    server.save("<script>alert(1)</script>");
    let conditions: [&[(&str, &str)]; 3] = [&[], &[("Range", "bytes=0-3")], &[("If-None-Match", "*")]];
    for name in READS {
        for method in ["GET", "POST", "HEAD"] {
            for condition in conditions {
                let what = format!("{method} {name} {condition:?}");
                let response = server.request(method, &route(name), &with_auth(condition), b"");
                assert!(response.status < 400, "{what}: {response:?}");
                assert_eq!(one(&what, &response, "cache-control"), "no-store", "{what}");
                assert_eq!(one(&what, &response, "x-content-type-options"), "nosniff", "{what}");
            }
        }
    }
}

#[test]
fn the_answer_to_a_get_that_stores_is_not_cacheable() {
    let server = start_server();
    let save = format!("{}?message=m", route("save-log"));
    for target in [&save, &route("clear-logs"), "/status"] {
        for method in ["GET", "HEAD"] {
            let response = server.request(method, target, &AUTH, b"");
            assert_eq!(one(target, &response, "cache-control"), "no-store", "{method} {target}");
        }
    }
}

#[test]
fn the_answer_to_a_save_varies_by_accept() {
    let server = start_server();
    for name in ["save-log", "save-logs"] {
        let target = format!("{}?message=m&logs={}", route(name), encode(r#"[{"msg":"m"}]"#));
        for accept in ["*/*", "application/json"] {
            let response = server.request("POST", &target, &with_auth(&[("Accept", accept)]), b"");
            assert_eq!(response.status, 200);
            let mut vary = list(&response, "vary");
            vary.sort_unstable();
            assert_eq!(vary, ["accept", "origin"], "{name} {accept}");
        }
    }
}

#[test]
fn head_has_the_headers_of_get() {
    let server = start_server();
    let save = format!("{}?message=m", route("save-log"));
    let ranged = with_auth(&[("Range", "bytes=0-3")]);
    let unsatisfied = with_auth(&[("Range", "bytes=999999-")]);
    let download = route("download-logs");
    let mut cases: Vec<(String, Vec<(&str, &str)>)> = vec![
        (save.clone(), AUTH.to_vec()),
        (save, vec![]),
        ("/status".to_owned(), vec![]),
        ("/nothing".to_owned(), vec![]),
        (route("openapi.json"), vec![]),
        (route(""), vec![]),
        (route("details"), vec![("API-KEY", KEY)]),
        (download.clone(), ranged),
        (download, unsatisfied),
    ];
    cases.extend(READS.map(|name| (route(name), AUTH.to_vec())));
    cases.push((route("clear-logs"), AUTH.to_vec()));
    for (target, headers) in cases {
        let mut conn = server.connect();
        // HEAD comes first, because GET may change the state.
        let head = conn.request("HEAD", &target, &headers, b"");
        let get = conn.request("GET", &target, &headers, b"");
        assert_eq!(head.status, get.status, "{target}");
        assert!(head.body.is_empty(), "{target}");
        let comparable = |response: &Response| {
            let mut headers: Vec<_> = response.headers.clone();
            // The answer to HEAD may omit headers that depend on the content (RFC 9110, section
            // 9.3.2).
            headers.retain(|(name, _)| !["date", "transfer-encoding"].contains(&&*name.to_ascii_lowercase()));
            headers.sort();
            headers
        };
        let (head, get) = (comparable(&head), comparable(&get));
        assert_eq!(head, get, "{target}");
    }
}

/// Holds a string and its parameters.
type Item = (String, Vec<(String, u64)>);

/// Parses a structured list of strings with integer parameters (RFC 9651, sections 3.1 and 3.3).
fn structured_list(text: &str) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    let mut rest = text;
    loop {
        let mut name = String::new();
        let mut chars =
            rest.strip_prefix('"').ok_or_else(|| format!("a string expected: {rest:?}"))?.char_indices();
        let end = loop {
            match chars.next().ok_or("unfinished string")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next() {
                    Some((_, c @ ('"' | '\\'))) => name.push(c),
                    other => return Err(format!("escaped {other:?}")),
                },
                (_, c @ ' '..='~') => name.push(c),
                (_, c) => return Err(format!("{c:?} in a string")),
            }
        };
        rest = &rest[end + 2..];
        let mut parameters = Vec::new();
        while let Some(after) = rest.strip_prefix(';') {
            let (key, value) = after.split_once('=').ok_or("a parameter without a value")?;
            let valid = key.starts_with(|c: char| c.is_ascii_lowercase())
                && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-.*".contains(c));
            let digits = value.chars().take_while(char::is_ascii_digit).count();
            if !valid || digits == 0 || digits > 15 {
                return Err(format!("malformed parameter: {after:?}"));
            }
            let number = value[..digits].parse().map_err(|_| "not an integer")?;
            parameters.push((key.to_owned(), number));
            rest = &value[digits..];
        }
        items.push((name, parameters));
        if rest.is_empty() {
            return Ok(items);
        }
        rest = rest.trim_start_matches([' ', '\t']).strip_prefix(',').ok_or("a comma expected")?;
        rest = rest.trim_start_matches([' ', '\t']);
    }
}

#[test]
fn ratelimit_headers_are_structured_fields() {
    for bad in
        ["a;r=1", "\"a\";r", "\"a\" ;r=1", "\"a\";R=1", "\"a\";r=-1", "\"a\",", "\"a\";r=1;", "\"é\";r=1"]
    {
        assert!(structured_list(bad).is_err(), "{bad}");
    }
    let server = start_server();
    let save = format!("{}?message=m", route("save-log"));
    for left in [1, 0, 0] {
        let response = server.get_with(&save, &[("API-KEY", "limited")]);
        let limits = structured_list(&one(&save, &response, "ratelimit")).unwrap();
        let policies = structured_list(&one(&save, &response, "ratelimit-policy")).unwrap();
        assert_eq!(limits.len(), 3, "{response:?}");
        let names = |items: &[Item]| items.iter().map(|i| i.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&limits), names(&policies), "{response:?}");
        for (name, parameters) in &limits {
            assert!(matches!(&parameters[..], [(r, _), (t, 1..=86_400)] if r == "r" && t == "t"), "{name}");
        }
        for (name, parameters) in &policies {
            let [(q, amount), (w, window)] = &parameters[..] else { panic!("{name}: {parameters:?}") };
            assert_eq!((q.as_str(), w.as_str()), ("q", "w"));
            assert!([(2, 3600), (100, 86_400), (7, 3600)].contains(&(*amount, *window)), "{name}");
        }
        assert_eq!(limits[0].1[0].1, left, "the tightest first: {response:?}");
    }
    let unlimited = server.get_with(&save, &AUTH);
    assert_eq!((unlimited.header("ratelimit"), unlimited.header("ratelimit-policy")), (None, None));
}

#[test]
fn too_many_wrong_passwords_are_429_with_retry_after() {
    let server = start_server();
    let mut last = server.get("/status");
    for _ in 0..11 {
        last = server.get_with(&route("details"), &[("API-KEY", KEY), ("ROOT-PASS", "no")]);
    }
    assert_eq!(last.status, 429);
    assert!((1..=60).contains(&last.retry_after()), "{last:?}");
}

/// Sends these bytes and returns the answer up to the end of the connection.
fn answer_to(server: &Server, bytes: &str) -> String {
    let mut conn = server.connect();
    conn.send_raw(bytes.as_bytes()).unwrap();
    conn.half_close();
    String::from_utf8_lossy(&conn.read_to_end()).into_owned()
}

#[test]
fn all_four_forms_of_a_target_are_handled() {
    let server = start_server();
    let mut conn = server.connect();
    // This target has the absolute-form (RFC 9112, section 3.2.2).
    assert_eq!(conn.get("http://log.test/status").status, 200);
    assert_eq!(conn.get("http://other.test:99/moca-file-log/nothing").status, 404);
    let save = format!("http://log.test{}?message=absolute", route("save-log"));
    conn.request("GET", &save, &AUTH, b"").success();
    // The asterisk-form names the whole server.
    let whole = conn.request("OPTIONS", "*", &[], b"");
    assert_eq!((whole.status, list(&whole, "allow").len()), (200, 5), "{whole:?}");
    conn.request("GET", "*", &[], b"").problem(404);
    // The authority-form is for tunnels, which the server does not offer.
    let mut conn = server.connect();
    let tunnel = conn.request("CONNECT", "log.test:80", &[], b"");
    tunnel.problem(405);
    assert!(!list(&tunnel, "allow").contains(&"connect".to_owned()), "{tunnel:?}");
    assert_eq!(server.messages().last().unwrap(), "absolute");
}

#[test]
fn trace_does_not_echo_the_request() {
    let server = start_server();
    let response = server.request("TRACE", &route("save-log"), &[("API-KEY", "secret-of-mine")], b"");
    response.problem(405);
    assert!(!format!("{response:?}").contains("secret-of-mine"));
}

#[test]
fn http_1_0_clients_are_served() {
    let server = start_server();
    // A request without Host is served, without chunks, and the connection is closed at the end.
    let head = "GET /moca-file-log/get-latest-logs HTTP/1.0\r\n";
    let answer = answer_to(&server, &format!("{head}API-KEY: {KEY}\r\nROOT-PASS: {ROOT}\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.0 200 ") || answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("transfer-encoding"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let lines: Vec<String> = serde_json::from_str(body).unwrap();
    assert_eq!(lines.len(), 1);
    // The connection is kept alive on request.
    let mut conn = server.connect();
    for _ in 0..2 {
        conn.send_raw(b"GET /status HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
        assert_eq!(conn.receive("GET").unwrap().status, 200);
    }
    // HTTP/1.0 has no 100 (Continue).
    let save = "POST /moca-file-log/save-log HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let rest = format!("API-KEY: {KEY}\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\nmessage=m");
    let answer = answer_to(&server, &format!("{save}{rest}"));
    assert!(answer.contains(" 200 ") && !answer.contains(" 100 "), "{answer}");
    // HTTP/1.0 has no transfer coding (RFC 9112, section 6.1).
    let answer = answer_to(&server, &format!("{save}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
    assert!(answer.contains(" 400 ") || answer.contains(" 501 "), "{answer}");
}

fn expecting(conn: &mut Conn, expectation: &str) {
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: log.test\r\nAPI-KEY: {KEY}\r\nContent-Length: 9\r\nExpect: {expectation}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n",
        route("save-log")
    );
    conn.send_raw(head.as_bytes()).unwrap();
}

#[test]
fn expect_100_continue_gets_100() {
    let server = start_server();
    let mut conn = server.connect();
    expecting(&mut conn, "100-continue");
    assert_eq!(conn.read_line().unwrap(), "HTTP/1.1 100 Continue");
    assert_eq!(conn.read_line().unwrap(), "");
    conn.send_raw(b"message=a").unwrap();
    conn.receive("POST").unwrap().success();
    // A server may ignore an unknown expectation (RFC 9110, section 10.1.1).
    expecting(&mut conn, "the-unexpected");
    conn.send_raw(b"message=b").unwrap();
    conn.receive("POST").unwrap().success();
    assert_eq!(server.messages(), ["one", "a", "b"]);
}

#[test]
fn transfer_codings_other_than_chunked_are_501() {
    let server = start_server();
    let head = format!("POST {}?message=m HTTP/1.1\r\nHost: h\r\nAPI-KEY: {KEY}\r\n", route("save-log"));
    for coding in ["gzip, chunked", "deflate,chunked", "identity, chunked", "chunked, chunked"] {
        let answer = answer_to(&server, &format!("{head}Transfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"));
        let status = answer.get(9..12).unwrap_or_default();
        assert!(["501", "400"].contains(&status), "{coding}: {answer}");
        assert!(answer.contains("application/problem+json"), "{coding}: {answer}");
    }
    let two = "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(answer_to(&server, &format!("{head}{two}")).starts_with("HTTP/1.1 501 "));
    let answer = answer_to(&server, &format!("{head}Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(server.messages(), ["one", "m"]);
}

#[test]
fn the_blocked_route_lists_its_methods() {
    let server = Setup::new().with_admin_socket().start();
    let mut socket = UnixStream::connect(server.admin_socket()).unwrap();
    socket.write_all(b"PUT /admin/blocked HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("allow: get, post, head, delete, options"), "{answer}");
}
