//! Tests of CORS, and of the configured headers of every answer.

use serde_json::{Value, json};

use crate::harness::{KEY, Response, Server, Setup, route};

const LOCAL: &str = "http://localhost";

fn configured() -> Setup {
    Setup::new()
        .server("access_control_allowed_origins", json!([LOCAL, "https://app.example:8443"]))
        .server("access_control_allowed_credentials", json!(true))
        .server("access_control_allowed_methods", json!(["GET", "HEAD", "POST", "OPTIONS"]))
        .server("access_control_allow_headers", json!(["Content-Type", "API-KEY"]))
        .server("access_control_expose_headers", json!(["Moca-Cursor"]))
        .server("access_control_max_age", json!(1234))
}

fn from(server: &Server, origin: &str) -> Response {
    server.get_with("/status", &[("Origin", origin)])
}

#[test]
fn an_allowed_origin_is_echoed() {
    let server = configured().start();
    for origin in [LOCAL, "http://localhost:3000", "https://app.example:8443"] {
        let response = from(&server, origin);
        assert_eq!(response.expect_header("access-control-allow-origin"), origin);
        assert_eq!(response.expect_header("access-control-allow-credentials"), "true");
        assert_eq!(response.expect_header("access-control-expose-headers"), "Moca-Cursor");
        let vary = response.expect_header("vary").to_lowercase();
        assert!(vary.split(',').any(|name| name.trim() == "origin"), "{response:?}");
    }
}

#[test]
fn other_origins_are_not_echoed() {
    let server = configured().start();
    for origin in [
        "http://localhost.evil.example",
        "http://localhostevil.example",
        "http://localhost@evil.example",
        "http://evil.example",
        "https://localhost",
        "https://app.example",
        "https://app.example:8444",
        "https://app.example:84430",
        "https://sub.app.example:8443",
        "http://app.example:8443",
        "null",
        "",
        "nonsense",
    ] {
        let response = from(&server, origin);
        assert_eq!(response.status, 200, "{origin}: the answer itself is not refused");
        assert_eq!(response.header("access-control-allow-origin"), None, "{origin}: {response:?}");
    }
    assert_eq!(server.get("/status").header("access-control-allow-origin"), None);
}

#[test]
fn a_preflight_gets_all_cors_headers() {
    let server = configured().start();
    let headers = [
        ("Origin", LOCAL),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "api-key"),
    ];
    let response = server.request("OPTIONS", &route("save-log"), &headers, b"");
    assert_eq!((response.status, response.text().as_str()), (200, "allowed."), "{response:?}");
    assert_eq!(response.expect_header("access-control-allow-origin"), LOCAL);
    assert_eq!(response.expect_header("access-control-allow-methods"), "GET, HEAD, POST, OPTIONS");
    assert_eq!(response.expect_header("access-control-allow-headers"), "Content-Type, API-KEY");
    assert_eq!(response.expect_header("access-control-max-age"), "1234");
    assert_eq!(response.expect_header("access-control-allow-credentials"), "true");
    let evil = [("Origin", "http://localhost.evil.example"), ("Access-Control-Request-Method", "POST")];
    let response = server.request("OPTIONS", &route("save-log"), &evil, b"");
    assert_eq!(response.header("access-control-allow-origin"), None, "{response:?}");
}

#[test]
fn a_text_of_headers_is_sent_unchanged() {
    let server = configured().server("access_control_allow_headers", json!("X-Custom")).start();
    let headers = [("Origin", LOCAL), ("Access-Control-Request-Method", "POST")];
    let response = server.request("OPTIONS", &route("save-log"), &headers, b"");
    assert_eq!(response.expect_header("access-control-allow-headers"), "X-Custom");
}

#[test]
fn a_star_is_never_sent_with_credentials() {
    for credentials in [true, false] {
        let server = Setup::new()
            .server("access_control_allowed_origins", json!(["*"]))
            .server("access_control_allowed_credentials", json!(credentials))
            .start();
        let response = from(&server, "http://anything.example");
        assert_eq!(response.expect_header("access-control-allow-origin"), "*", "{response:?}");
        assert_eq!(response.header("access-control-allow-credentials"), None, "{response:?}");
    }
}

/// With credentials, browsers treat `*` as a name (Fetch standard, CORS protocol and credentials).
#[test]
fn names_replace_the_star_with_credentials() {
    let star = |setup: Setup| {
        setup
            .server("access_control_allow_headers", json!("*"))
            .server("access_control_expose_headers", json!("*"))
            .server("access_control_allowed_methods", json!("*"))
            .start()
    };
    let server = star(configured());
    let ask = |server: &Server, wanted: &str| {
        let headers = [
            ("Origin", LOCAL),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", wanted),
        ];
        server.request("OPTIONS", &route("save-log"), &headers, b"")
    };
    let response = ask(&server, "api-key,authorization");
    assert_eq!(response.expect_header("access-control-allow-headers"), "api-key,authorization");
    assert_eq!(response.expect_header("access-control-allow-methods"), "GET, POST, HEAD, PUT, OPTIONS");
    let exposed = response.expect_header("access-control-expose-headers").to_owned();
    assert!(exposed.contains("Moca-Cursor") && exposed.contains("Retry-After"), "{exposed}");
    let response = from(&server, LOCAL);
    assert_eq!(response.expect_header("access-control-expose-headers"), exposed);
    let unasked = server.request("OPTIONS", &route("save-log"), &[("Origin", LOCAL)], b"");
    for response in [unasked, ask(&server, "*"), ask(&server, ""), ask(&server, "api-key, <b>")] {
        let names = response.expect_header("access-control-allow-headers");
        assert!(names.starts_with("API-KEY, ") && !names.contains('*'), "{response:?}");
    }
    let server = star(configured().server("access_control_allowed_credentials", json!(false)));
    let response = ask(&server, "api-key");
    assert_eq!(response.expect_header("access-control-allow-headers"), "*");
    assert_eq!(response.expect_header("access-control-expose-headers"), "*");
}

#[test]
fn credentials_can_be_turned_off() {
    let server = configured().server("access_control_allowed_credentials", json!(false)).start();
    let response = from(&server, LOCAL);
    assert_eq!(response.expect_header("access-control-allow-origin"), LOCAL);
    assert_eq!(response.header("access-control-allow-credentials"), None, "{response:?}");
}

/// Returns an answer of every kind with its status.
fn answers_of_every_kind(server: &Server) -> Vec<(u16, Response)> {
    let origin = ("Origin", LOCAL);
    let key = ("API-KEY", KEY);
    let save = route("save-log");
    let json_type = ("Content-Type", "application/json");
    let huge = format!("{{\"message\":\"{}\"}}", "x".repeat(20_000));
    vec![
        (200, server.get_with("/status", &[origin])),
        (200, server.get_with(&format!("{save}?message=m"), &[origin, key])),
        (200, server.request("OPTIONS", &save, &[origin], b"")),
        (422, server.get_with(&save, &[origin, key])),
        (400, server.request("POST", &save, &[origin, key, json_type], b"{")),
        (401, server.get_with(&save, &[origin])),
        (403, server.get_with(&route("details"), &[origin, key])),
        (404, server.get_with("/nothing", &[origin])),
        (405, server.request("PATCH", &save, &[origin], b"")),
        (413, server.request("POST", &save, &[origin, key, json_type], huge.as_bytes())),
        (429, server.get_with(&format!("{save}?message=m"), &[origin, ("API-KEY", "limited")])),
    ]
}

#[test]
fn every_answer_has_the_configured_headers() {
    let server = configured()
        .server("headers", json!({"X-Box": "one", "Strict-Transport-Security": "max-age=1"}))
        .key("limited", &json!({"rate": "0/minute"}))
        .http("request_max_size = 10000")
        .start();
    let name = format!("MocaFileLog({})", env!("CARGO_PKG_VERSION"));
    for (status, response) in answers_of_every_kind(&server) {
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.expect_header("x-box"), "one");
        assert_eq!(response.expect_header("strict-transport-security"), "max-age=1");
        assert_eq!(response.expect_header("server"), name);
        assert_eq!(response.expect_header("access-control-allow-origin"), LOCAL);
        if status >= 400 {
            response.problem(status);
        }
    }
    server.set("system.json", "/maintenance_mode", Value::Bool(true));
    server.wait_for_status(503);
    let response = from(&server, LOCAL);
    assert_eq!(response.expect_header("x-box"), "one");
    assert_eq!(response.expect_header("access-control-allow-origin"), LOCAL);
}
