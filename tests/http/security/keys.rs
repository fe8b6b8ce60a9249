//! Tests of keys. A key must be known, online, and used with the right address, path, headers and
//! arguments.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{KEY, Response, Server, Setup, route, sha256_hex};

fn save(server: &Server, key: &str, headers: &[(&str, &str)]) -> Response {
    let mut headers = headers.to_vec();
    headers.push(("API-KEY", key));
    server.get_with(&format!("{}?message=m", route("save-log")), &headers)
}

#[test]
fn missing_and_unknown_keys_are_refused() {
    let server = Setup::new().start();
    let target = format!("{}?message=m", route("save-log"));
    server.get(&target).unauthorized("Missing API-KEY.");
    server.request("POST", &target, &[], b"").unauthorized("Missing API-KEY.");
    server.post_json(&target, &json!({})).unauthorized("Missing API-KEY.");
    server.post_form(&target, &[("a", "b")]).unauthorized("Missing API-KEY.");
    for wrong in ["wrong", "test-ke", "test-keyy", "TEST-KEY", "sha256:00"] {
        save(&server, wrong, &[]).unauthorized("Unknown API-KEY.");
        server.post_json(&target, &json!({"api_key": wrong})).unauthorized("Unknown API-KEY.");
        server.post_form(&target, &[("api_key", wrong)]).unauthorized("Unknown API-KEY.");
        server.get(&format!("{target}&api_key={wrong}")).unauthorized("Unknown API-KEY.");
    }
    assert!(server.messages().is_empty(), "a refused caller's message was stored");
}

#[test]
fn an_unknown_key_is_never_repeated() {
    let secret = "this-is-somebody's-secret";
    let server = Setup::new().server("access_log", json!(true)).start();
    let response = save(&server, secret, &[]);
    response.unauthorized("Unknown API-KEY.");
    server.get(&format!("{}?api_key={secret}&message=m", route("save-log"))).unauthorized("Unknown API-KEY.");
    server.save("known");
    assert!(!response.text().contains(secret), "{response:?}");
    assert!(!server.stderr().contains(secret), "{}", server.stderr());
    assert!(server.notes().iter().all(|note| !note.contains(secret)));
    for entry in std::fs::read_dir(server.log_path().parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(secret) && !text.contains(KEY), "{}: {text}", path.display());
    }
}

#[test]
fn a_key_is_offline_by_default() {
    let keys = json!([
        {"key": "on", "status": true},
        {"key": "off", "status": false},
        {"key": "silent"},
    ]);
    let server = Setup::new().keys(keys).start();
    save(&server, "on", &[]).success();
    save(&server, "off", &[]).refused(403, "Your API-KEY is not online.");
    save(&server, "silent", &[]).refused(403, "Your API-KEY is not online.");
}

#[test]
fn a_key_may_be_configured_as_its_hash() {
    let server = Setup::new()
        .keys(json!([{"key": format!("sha256:{}", sha256_hex("hidden")), "status": true}]))
        .start();
    save(&server, "hidden", &[]).success();
    let hash = format!("sha256:{}", sha256_hex("hidden"));
    save(&server, &hash, &[]).unauthorized("Unknown API-KEY.");
    save(&server, &sha256_hex("hidden"), &[]).unauthorized("Unknown API-KEY.");
    assert_eq!(server.parsed()[0].key, &sha256_hex("hidden")[..8]);
}

#[test]
fn allowed_path_ends_at_segments() {
    let server = Setup::new()
        .key("short", &json!({"allowed_path": ["/moca-file-log/save-log"]}))
        .key("long", &json!({"allowed_path": ["/moca-file-log/sample1/save-log"]}))
        .key("all", &json!({"allowed_path": ["/"]}))
        .key("folder", &json!({"allowed_path": ["/moca-file-log"]}))
        .key("half", &json!({"allowed_path": ["/moca-file-log/save"]}))
        .key("other", &json!({"allowed_path": ["/elsewhere"]}))
        .key("none", &json!({"allowed_path": []}))
        .start();
    let refusal = "Your API-KEY can't access to this path.";
    let ask = |key: &str, path: &str| {
        server.get_with(&format!("{path}?message=m&logs=%5B%5D"), &[("API-KEY", key)])
    };
    for path in ["/moca-file-log/save-log", "/moca-file-log/sample1/save-log", "/moca-file-log/save-log/"] {
        for key in ["short", "long", "all", "folder"] {
            assert_eq!(ask(key, path).status, 200, "{key} {path}");
        }
        for key in ["half", "other", "none"] {
            ask(key, path).refused(403, refusal);
        }
    }
    for path in ["/moca-file-log/save-logs", "/moca-file-log/sample1/save-logs"] {
        for key in ["short", "long", "half", "other", "none"] {
            ask(key, path).refused(403, refusal);
        }
        for key in ["all", "folder"] {
            ask(key, path).success();
        }
    }
}

#[test]
fn other_spellings_of_a_path_do_not_bypass_allowed_path() {
    let server = Setup::new().key("writer", &json!({"allowed_path": ["/moca-file-log/save-log"]})).start();
    for path in [
        "/moca-file-log/save%2Dlogs",
        "/moca-file-log/save-log/../save-logs",
        "/moca-file-log/save-log/%2e%2e/save-logs",
        "//moca-file-log/save-logs",
        "/moca-file-log/./save-logs",
        "/moca-file-log//save-logs",
        "/moca-file-log/save-logs?x=/moca-file-log/save-log",
        "/moca-file-log/save-logs;/moca-file-log/save-log",
    ] {
        let response = server.get_with(path, &[("API-KEY", "writer"), ("LOGS", "[{\"msg\":\"dodged\"}]")]);
        assert!([400, 403, 404].contains(&response.status), "{path}: {response:?}");
    }
    assert!(server.messages().is_empty());
}

#[test]
fn a_key_is_bound_to_addresses_and_networks() {
    let server = Setup::new()
        .posed()
        .key("one", &json!({"ip": ["203.0.113.7"]}))
        .key("net", &json!({"ip": ["198.51.100.0/24", "2001:db8::/32"]}))
        .key("any", &json!({"ip": "*"}))
        .key("nobody", &json!({"ip": []}))
        .start();
    let from = |key: &str, address: &str| save(&server, key, &[("X-Real-IP", address)]);
    let refusal = |address: &str| format!("Your API-KEY can't use from this ip address. ({address})");
    from("one", "203.0.113.7").success();
    from("one", "::ffff:203.0.113.7").success();
    from("one", "203.0.113.70").refused(403, &refusal("203.0.113.70"));
    from("one", "127.0.0.1").refused(403, &refusal("127.0.0.1"));
    from("net", "198.51.100.255").success();
    from("net", "2001:db8::1").success();
    from("net", "198.51.101.0").refused(403, &refusal("198.51.101.0"));
    from("net", "2001:db9::1").refused(403, &refusal("2001:db9::1"));
    from("any", "192.0.2.1").success();
    from("nobody", "192.0.2.1").refused(403, &refusal("192.0.2.1"));
}

#[test]
fn required_headers_must_match_exactly() {
    let server =
        Setup::new().key("k", &json!({"required": {"headers": {"X-App": "One", "X-Zone": "eu"}}})).start();
    save(&server, "k", &[("x-app", "One"), ("X-ZONE", "eu")]).success();
    for headers in [
        &[][..],
        &[("X-App", "One")],
        &[("X-App", "one"), ("X-Zone", "eu")],
        &[("X-App", "One more"), ("X-Zone", "eu")],
        &[("X-App", ""), ("X-Zone", "eu")],
    ] {
        save(&server, "k", headers).refused(403, "Missing required header.");
    }
}

#[test]
fn required_arguments_count_from_every_source() {
    let server = Setup::new().key("k", &json!({"required": {"args": {"app": "one", "n": 1}}})).start();
    let target = route("save-log");
    server.get(&format!("{target}?api_key=k&message=m&app=one&n=1")).success();
    server.post_json(&target, &json!({"api_key": "k", "message": "m", "app": "one", "n": 1})).success();
    server.post_json(&target, &json!({"api_key": "k", "message": "m", "app": "one", "n": "1"})).success();
    let form = [("api_key", "k"), ("message", "m"), ("app", "one"), ("n", "1")];
    server.post_form(&target, &form).success();
    let headers = [("API-KEY", "k"), ("Content-Type", "application/json")];
    server.request("POST", &target, &headers, br#"{"message":"m","app":"one","n":1}"#).success();
    for query in ["", "&app=one", "&n=1", "&app=two&n=1", "&app=one&n=2", "&app=One&n=1"] {
        let response = server.get(&format!("{target}?api_key=k&message=m{query}"));
        response.refused(403, "Missing required argument.");
    }
    server
        .request("POST", &target, &headers, br#"{"message":"m"}"#)
        .refused(403, "Missing required argument.");
    assert_eq!(server.messages().len(), 5);
}

#[test]
fn delay_delays_accepted_requests_only() {
    let server = Setup::new()
        .key("slow", &json!({"delay": 0.4}))
        .key("refused", &json!({"delay": 5, "status": false}))
        .start();
    let started = Instant::now();
    save(&server, "slow", &[]).success();
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    let started = Instant::now();
    save(&server, "refused", &[]).refused(403, "Your API-KEY is not online.");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn a_delayed_request_does_not_delay_others() {
    let server = Setup::new().key("slow", &json!({"delay": 5})).start();
    let mut waiting: Vec<_> = (0..8)
        .map(|_| {
            let mut conn = server.connect();
            conn.send("GET", &format!("{}?api_key=slow&message=m", route("save-log")), &[], b"").unwrap();
            conn
        })
        .collect();
    let started = Instant::now();
    server.save("quick");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    for conn in &mut waiting {
        conn.receive("GET").unwrap().success();
    }
}

#[test]
fn the_checks_of_a_key_run_in_order() {
    // Each key breaks one rule and all later ones. The first refusal is the answer.
    let server = Setup::new()
        .posed()
        .key(
            "off",
            &json!({"status": false, "ip": [], "allowed_path": [], "rate": "0/minute",
                "required": {"headers": {"X-A": "1"}, "args": {"a": "1"}}}),
        )
        .key(
            "ip",
            &json!({"ip": [], "allowed_path": [], "rate": "0/minute",
                "required": {"headers": {"X-A": "1"}, "args": {"a": "1"}}}),
        )
        .key(
            "path",
            &json!({"allowed_path": [], "rate": "0/minute",
                "required": {"headers": {"X-A": "1"}, "args": {"a": "1"}}}),
        )
        .key(
            "header",
            &json!({"rate": "0/minute", "required": {"headers": {"X-A": "1"}, "args": {"a": "1"}}}),
        )
        .key("argument", &json!({"rate": "0/minute", "required": {"args": {"a": "1"}}}))
        .key("rate", &json!({"rate": "0/minute"}))
        .start();
    let from = |key: &str| save(&server, key, &[("X-Real-IP", "192.0.2.1")]);
    from("unknown").unauthorized("Unknown API-KEY.");
    from("off").refused(403, "Your API-KEY is not online.");
    from("ip").refused(403, "Your API-KEY can't use from this ip address. (192.0.2.1)");
    from("path").refused(403, "Your API-KEY can't access to this path.");
    from("header").refused(403, "Missing required header.");
    from("argument").refused(403, "Missing required argument.");
    from("rate").refused(429, "Too many requests.");
    assert!(server.messages().is_empty());
}

#[test]
fn the_first_entry_of_a_key_counts() {
    let keys = json!([
        {"key": "k", "status": true, "name": "first"},
        {"key": "k", "status": false, "name": "second"},
    ]);
    let server = Setup::new().keys(keys).start();
    save(&server, "k", &[]).success();
    assert_eq!(server.parsed()[0].key, "first");
}
