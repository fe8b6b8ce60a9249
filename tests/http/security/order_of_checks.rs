//! Tests of the checks before the key, and of the order of all checks. The first refusal is the
//! answer.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{KEY, ROOT, Setup, route};

const BLOCKED: &str = "Your access was blocked by ip filter.";
const MAINTENANCE: &str = "MocaSystem is currently undergoing maintenance.";
const HEADER: &str = "Missing required header, your request was blocked.";

#[test]
fn blocked_addresses_and_networks_are_refused() {
    let server =
        Setup::new().posed().blacklist(json!(["203.0.113.7", "198.51.100.0/24", "2001:db8::/32"])).start();
    for address in ["203.0.113.7", "::ffff:203.0.113.7", "198.51.100.1", "2001:db8::1"] {
        for target in ["/status", "/nothing", "/moca-file-log/save-log?api_key=test-key&message=m"] {
            server.get_with(target, &[("X-Real-IP", address)]).refused(403, BLOCKED);
        }
    }
    for address in ["203.0.113.8", "198.51.101.1", "2001:db9::1"] {
        assert_eq!(server.get_with("/status", &[("X-Real-IP", address)]).status, 200, "{address}");
    }
    assert!(server.messages().is_empty());
}

#[test]
fn forced_headers_are_required() {
    let server = Setup::new().system("force_headers", json!({"X-App": "One", "X-Any": null})).start();
    let target = format!("{}?api_key={KEY}&message=m", route("save-log"));
    server.get_with(&target, &[("X-App", "One"), ("X-Any", "whatever")]).success();
    server.get_with(&target, &[("x-app", "One"), ("x-any", "")]).success();
    for headers in [
        &[][..],
        &[("X-App", "One")],
        &[("X-Any", "1")],
        &[("X-App", "one"), ("X-Any", "1")],
        &[("X-App", "One, two"), ("X-Any", "1")],
    ] {
        server.get_with(&target, headers).refused(403, HEADER);
    }
    assert_eq!(server.messages().len(), 2);
}

#[test]
fn a_forced_referer_must_be_present_and_allowed() {
    let referer = json!({"force": true, "allowed_referer": ["http://localhost", "https://app.example:8443"]});
    let server = Setup::new().system("referer", referer).start();
    let target = format!("{}?api_key={KEY}&message=m", route("save-log"));
    server.get(&target).refused(403, "Missing referer.");
    for referer in [
        "http://localhost",
        "http://localhost/",
        "http://localhost:3000/page?x=1",
        "https://app.example:8443/page",
    ] {
        server.get_with(&target, &[("Referer", referer)]).success();
    }
    for referer in [
        "http://localhost.evil.example/",
        "http://localhost@evil.example/",
        "http://evil.example/http://localhost",
        "https://localhost/",
        "https://app.example/",
        "https://app.example:8444/",
        "localhost",
        "nonsense",
    ] {
        server.get_with(&target, &[("Referer", referer)]).refused(403, "Invalid referer.");
    }
}

#[test]
fn an_unforced_referer_may_be_absent_but_not_wrong() {
    let referer = json!({"force": false, "allowed_referer": ["http://localhost"]});
    let server = Setup::new().system("referer", referer).start();
    server.save("without");
    let target = format!("{}?api_key={KEY}&message=m", route("save-log"));
    server.get_with(&target, &[("Referer", "http://localhost/")]).success();
    server.get_with(&target, &[("Referer", "http://evil.example/")]).refused(403, "Invalid referer.");
}

#[test]
fn a_star_allows_any_referer() {
    let server = Setup::new().system("referer", json!({"force": true, "allowed_referer": ["*"]})).start();
    let target = format!("{}?api_key={KEY}&message=m", route("save-log"));
    server.get_with(&target, &[("Referer", "http://anything.example/")]).success();
    server.get(&target).refused(403, "Missing referer.");
}

/// The first request breaks every rule. Each step fixes the first broken rule.
#[test]
fn the_earliest_refusal_is_the_answer() {
    let server = Setup::new()
        .posed()
        .blacklist(json!(["203.0.113.1"]))
        .system("maintenance_mode", json!(true))
        .system("maintenance_mode_whitelist", json!(["203.0.113.3"]))
        .system("force_headers", json!({"X-App": "one"}))
        .system("referer", json!({"force": true, "allowed_referer": ["http://localhost"]}))
        .start();
    let ask = |path: &str, headers: &[(&str, &str)]| server.get_with(path, headers);
    let unknown = "/moca-file-log/nothing";
    let known = "/moca-file-log/details";
    ask(unknown, &[("X-Real-IP", "203.0.113.1")]).refused(403, BLOCKED);
    let response = ask(unknown, &[("X-Real-IP", "203.0.113.2")]);
    response.refused(503, MAINTENANCE);
    response.retry_after();
    let friend = ("X-Real-IP", "203.0.113.3");
    ask(unknown, &[friend]).problem(404);
    server.request("DELETE", known, &[friend], b"").problem(405);
    ask(known, &[friend]).refused(403, HEADER);
    let app = ("X-App", "one");
    ask(known, &[friend, app]).refused(403, "Missing referer.");
    ask(known, &[friend, app, ("Referer", "http://evil.example")]).refused(403, "Invalid referer.");
    let referer = ("Referer", "http://localhost/");
    ask(known, &[friend, app, referer]).unauthorized("Missing API-KEY.");
    ask(known, &[friend, app, referer, ("API-KEY", "no")]).unauthorized("Unknown API-KEY.");
    let key = ("API-KEY", KEY);
    ask(known, &[friend, app, referer, key]).refused(403, "Invalid root password.");
    assert_eq!(ask(known, &[friend, app, referer, key, ("ROOT-PASS", ROOT)]).status, 200);
}

#[test]
fn parameters_are_checked_after_the_key_and_before_the_password() {
    let server = Setup::new().start();
    let target = route("save-log");
    server.post_json(&target, &json!({"level": 99})).unauthorized("Missing API-KEY.");
    server.post_json(&target, &json!({"api_key": "no", "level": 99})).unauthorized("Unknown API-KEY.");
    server
        .post_json(&target, &json!({"api_key": KEY, "level": 99, "message": "m".repeat(9000)}))
        .problem(422);
    let json_type = [("Content-Type", "application/json"), ("API-KEY", KEY), ("ROOT-PASS", "wrong")];
    server.request("POST", &route("details"), &json_type, b"{broken").problem(400);
}

#[test]
fn a_refused_caller_is_answered_before_the_body_is_sent() {
    let server = Setup::new().start();
    let target = route("save-log");
    let huge = ("Content-Length", "99000000");
    let json_type = ("Content-Type", "application/json");
    let cases: [(String, &[(&str, &str)]); 3] = [
        (target.clone(), &[huge, json_type, ("API-KEY", "unknown")]),
        (format!("{target}?api_key=unknown"), &[huge, json_type]),
        (target, &[huge, json_type, ("Authorization", "Bearer unknown")]),
    ];
    for (target, headers) in cases {
        let mut conn = server.connect();
        let started = Instant::now();
        conn.send("POST", &target, headers, b"").unwrap();
        conn.receive("POST").unwrap().unauthorized("Unknown API-KEY.");
        assert!(started.elapsed() < Duration::from_secs(2), "waited for the body");
    }
    // The unread body must not become the next request.
    let mut conn = server.connect();
    conn.send("POST", &route("save-log"), &[huge, ("API-KEY", "unknown")], b"").unwrap();
    conn.receive("POST").unwrap().problem(401);
    conn.send_raw(
        format!("GET /moca-file-log/save-log?api_key={KEY}&message=hidden HTTP/1.1\r\n\r\n").as_bytes(),
    )
    .ok();
    conn.half_close();
    conn.read_to_end();
    assert!(server.messages().is_empty(), "a body was taken for a request");
    server.assert_alive();
}

#[test]
fn a_refused_request_gets_no_100_continue() {
    let server = Setup::new().start();
    let expect = ("Expect", "100-continue");
    let mut conn = server.connect();
    conn.send("POST", &route("save-log"), &[expect, ("Content-Length", "5000"), ("API-KEY", "no")], b"")
        .unwrap();
    // A 100 (Continue) would have asked for the body.
    let first_line = conn.read_line().unwrap();
    assert!(first_line.starts_with("HTTP/1.1 401"), "{first_line}");
    let mut conn = server.connect();
    let body = b"{\"message\":\"asked for\"}";
    let length = body.len().to_string();
    let headers =
        [expect, ("Content-Length", &length), ("API-KEY", KEY), ("Content-Type", "application/json")];
    conn.send("POST", &route("save-log"), &headers, b"").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    conn.send_raw(body).unwrap();
    conn.receive("POST").unwrap().success();
}

#[test]
fn the_key_comes_before_the_size_of_the_body() {
    let server = Setup::new().http("request_max_size = 1000").start();
    let body = json!({"message": "x".repeat(2000)}).to_string();
    let json_type = ("Content-Type", "application/json");
    let send = |key: &str| {
        server.request("POST", &route("save-log"), &[json_type, ("API-KEY", key)], body.as_bytes())
    };
    send("unknown").unauthorized("Unknown API-KEY.");
    send(KEY).problem(413);
    server.assert_alive();
}

#[test]
fn status_checks_addresses_and_headers_but_no_key() {
    let server = Setup::new().posed().blacklist(json!(["203.0.113.7"])).start();
    server.get_with("/status", &[("X-Real-IP", "203.0.113.7")]).refused(403, BLOCKED);
    assert_eq!(server.get("/status").status, 200);
    // It reads no parameters, so their number does not matter.
    let many = "a=1&".repeat(3000);
    assert_eq!(server.get(&format!("/status?{many}")).status, 200);
    server.get(&format!("{}?{many}", route("save-log"))).problem(401);
}

#[test]
fn secrets_are_not_echoed() {
    let server = Setup::new().server("debug", json!(true)).start();
    let secret = "wrong-root-secret";
    let headers = [("API-KEY", KEY), ("ROOT-PASS", secret)];
    let response = server.get_with(&route("details"), &headers);
    response.refused(403, "Invalid root password.");
    server.get(&format!("{}?api_key={KEY}&root_pass={secret}", route("details"))).problem(403);
    assert!(!response.text().contains(secret) && !response.text().contains(KEY), "{response:?}");
    for secret in [secret, KEY] {
        assert!(!server.stderr().contains(secret), "{}", server.stderr());
    }
}
