//! Tests of rate limits. They admit at most N requests in a window, refuse none after its end, and
//! send the headers.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Response, Server, Setup, eventually, route};

fn save(server: &Server, key: &str, address: &str) -> Response {
    let headers = [("API-KEY", key), ("X-Real-IP", address)];
    server.get_with(&format!("{}?message=m", route("save-log")), &headers)
}

/// Returns the number of a parameter such as `;r=`.
fn parameter(header: &str, name: &str) -> u64 {
    let first = header.split(',').next().unwrap();
    let value = first.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {header:?}"))
}

fn is_limited(response: &Response, longest_wait: u64) {
    response.refused(429, "Too many requests.");
    let seconds = response.retry_after();
    assert!((1..=longest_wait).contains(&seconds), "{response:?}");
}

#[test]
fn a_key_has_its_own_limit() {
    let server = Setup::new().posed().key("k", &json!({"rate": "3 per minute"})).start();
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
        save(&server, "k", address).success();
    }
    // The limit belongs to the key and counts all clients.
    is_limited(&save(&server, "k", "192.0.2.1"), 60);
    is_limited(&save(&server, "k", "192.0.2.3"), 60);
    server.save("another key is not concerned");
    assert_eq!(server.messages().len(), 4);
}

#[test]
fn answers_have_the_ratelimit_headers() {
    let server = Setup::new().key("k", &json!({"rate": "2/minute; 100/hour"})).start();
    let first = save(&server, "k", "");
    first.success();
    assert_eq!(parameter(first.expect_header("ratelimit"), "r"), 1, "{first:?}");
    assert!((1..=60).contains(&parameter(first.expect_header("ratelimit"), "t")), "{first:?}");
    assert_eq!(parameter(first.expect_header("ratelimit-policy"), "q"), 2, "{first:?}");
    assert_eq!(parameter(first.expect_header("ratelimit-policy"), "w"), 60, "{first:?}");
    assert!(first.expect_header("ratelimit").starts_with('"'), "{first:?}");
    let second = save(&server, "k", "");
    assert_eq!(parameter(second.expect_header("ratelimit"), "r"), 0, "{second:?}");
    let refused = save(&server, "k", "");
    is_limited(&refused, 60);
    assert_eq!(parameter(refused.expect_header("ratelimit"), "r"), 0, "{refused:?}");
}

#[test]
fn a_refused_hit_never_extends_the_window() {
    let server = Setup::new().key("k", &json!({"rate": "2 per 1 second"})).start();
    let first_hit = Instant::now();
    save(&server, "k", "").success();
    save(&server, "k", "").success();
    is_limited(&save(&server, "k", ""), 1);
    // Steady traffic above the limit must not be refused permanently.
    eventually("accepted again", Duration::from_secs(2), || save(&server, "k", "").status == 200);
    assert!(first_hit.elapsed() >= Duration::from_millis(950), "more than two in a second");
}

#[test]
fn at_most_n_requests_are_accepted_in_a_window() {
    let server = Setup::new().key("k", &json!({"rate": "5/second"})).start();
    let mut conn = server.connect();
    let target = format!("{}?api_key=k&message=m", route("save-log"));
    let until = Instant::now() + Duration::from_millis(2200);
    let mut accepted = Vec::new();
    while Instant::now() < until {
        let sent = Instant::now();
        if conn.get(&target).status == 200 {
            accepted.push(sent);
        }
        std::thread::sleep(Duration::from_millis(4));
    }
    // A window lasts one second from its first hit, so three windows begin in this time.
    assert!((10..=15).contains(&accepted.len()), "{} accepted", accepted.len());
}

#[test]
fn a_path_has_its_own_limit_for_each_client() {
    let options = json!({"allowed_path": ["/moca-file-log/save-log:2/minute", "/moca-file-log/save-logs"]});
    let server = Setup::new().posed().key("k", &options).start();
    for address in ["192.0.2.1", "192.0.2.2"] {
        save(&server, "k", address).success();
        save(&server, "k", address).success();
        is_limited(&save(&server, "k", address), 60);
    }
    // Both forms of the URL are the same path.
    let long = "/moca-file-log/sample1/save-log?message=m";
    is_limited(&server.get_with(long, &[("API-KEY", "k"), ("X-Real-IP", "192.0.2.1")]), 60);
    let headers = [("API-KEY", "k"), ("X-Real-IP", "192.0.2.1")];
    for _ in 0..4 {
        server.get_with(&format!("{}?logs=%5B%5D", route("save-logs")), &headers).success();
    }
}

#[test]
fn a_request_refused_by_an_earlier_check_does_not_count() {
    let options = json!({
        "rate": "2/minute",
        "ip": ["192.0.2.1"],
        "allowed_path": ["/moca-file-log/save-log"],
        "required": {"headers": {"X-App": "a"}},
    });
    let server = Setup::new().posed().key("k", &options).start();
    let ask = |name: &str, address: &str, app: &str| {
        let headers = [("API-KEY", "k"), ("X-Real-IP", address), ("X-App", app)];
        server.get_with(&format!("{}?message=m", route(name)), &headers)
    };
    for _ in 0..3 {
        ask("save-log", "192.0.2.9", "a").problem(403);
        ask("save-logs", "192.0.2.1", "a").problem(403);
        ask("save-log", "192.0.2.1", "b").problem(403);
    }
    ask("save-log", "192.0.2.1", "a").success();
    ask("save-log", "192.0.2.1", "a").success();
    is_limited(&ask("save-log", "192.0.2.1", "a"), 60);
}

#[test]
fn every_form_of_the_grammar_is_accepted() {
    let mut setup = Setup::new();
    let rates = [
        "1 per minute",
        "1/minute",
        "1 / minute",
        "1perhour",
        "1 PER 2 Minutes",
        "1/2minutes",
        "  1/day  ",
        "1/month",
        "1 per year",
        "100/second;1/hour",
        "100/second,1/hour",
        "100/second|1/hour",
    ];
    for (n, rate) in rates.iter().enumerate() {
        setup = setup.key(&format!("k{n}"), &json!({"rate": rate}));
    }
    let server = setup.key("free", &json!({"rate": "*"})).key("shut", &json!({"rate": "0/minute"})).start();
    for (n, rate) in rates.iter().enumerate() {
        assert_eq!(save(&server, &format!("k{n}"), "").status, 200, "{rate}");
        assert_eq!(save(&server, &format!("k{n}"), "").status, 429, "{rate}");
    }
    for _ in 0..30 {
        save(&server, "free", "").success();
    }
    assert_eq!(save(&server, "shut", "").status, 429);
}

#[test]
fn a_malformed_rate_refuses_the_start() {
    for rate in ["", "10", "3/week", "1.5/second", "1/second;", "-1/second", "often"] {
        let stderr = Setup::new().key("k", &json!({"rate": rate})).start_refused();
        assert!(stderr.contains("api_key.json"), "{rate:?}: {stderr}");
    }
}
