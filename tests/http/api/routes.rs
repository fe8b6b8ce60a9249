//! Tests of routes. They check which URLs and methods exist, and the answers to others.

use serde_json::json;

use crate::harness::{KEY, ROOT, Response, Server, Setup, encode, route};

const ROUTES: [&str; 7] =
    ["save-log", "save-logs", "details", "get-logs", "get-latest-logs", "download-logs", "clear-logs"];

/// Sends a request with key, root password and message, which are enough for every route.
fn ask(server: &Server, method: &str, path: &str) -> Response {
    let target =
        format!("{path}?api_key={KEY}&root_pass={ROOT}&message=m&logs={}", encode(r#"[{"msg":"m"}]"#));
    server.request(method, &target, &[], b"")
}

#[test]
fn every_route_is_served_under_both_prefixes_with_get_and_post() {
    let server = Setup::new().start();
    for name in ROUTES {
        for prefix in ["/moca-file-log", "/moca-file-log/sample1"] {
            for method in ["GET", "POST"] {
                let response = ask(&server, method, &format!("{prefix}/{name}"));
                assert_eq!(response.status, 200, "{method} {prefix}/{name}: {response:?}");
            }
        }
    }
}

#[test]
fn one_trailing_slash_is_accepted_and_two_are_not() {
    let server = Setup::new().start();
    for name in ROUTES {
        assert_eq!(ask(&server, "GET", &format!("/moca-file-log/{name}/")).status, 200, "{name}/");
        assert_eq!(ask(&server, "GET", &format!("/moca-file-log/sample1/{name}/")).status, 200, "{name}/");
        ask(&server, "GET", &format!("/moca-file-log/{name}//")).problem(404);
    }
    assert_eq!(server.get("/status/").status, 200);
}

#[test]
fn the_name_in_the_url_is_percent_decoded() {
    let server = Setup::new().named("my log é").start();
    let target = format!("/moca-file-log/{}/save-log?api_key={KEY}&message=hello", encode("my log é"));
    server.get(&target).success();
    server.get(&format!("/moca-file-log/save-log?api_key={KEY}&message=hello")).success();
    assert_eq!(server.messages(), ["hello", "hello"]);
}

#[test]
fn the_name_of_another_log_is_not_found() {
    let other = json!({"host": "127.0.0.1", "port": 1, "use_ipv6": false, "file": "sample2.log", "level": 0});
    let server = Setup::new().other_log("sample2", other).start();
    for name in ["sample2", "sample", "sample11", "SAMPLE1", "%73ample2"] {
        let target = format!("/moca-file-log/{name}/save-log?api_key={KEY}&message=m");
        server.get(&target).problem(404);
    }
    assert!(server.messages().is_empty());
}

#[test]
fn unknown_paths_are_not_found() {
    let server = Setup::new().start();
    for path in [
        "/moca-file-log//",
        "/moca-file-log/sample2",
        "/moca-file-log/nothing",
        "/moca-file-log/sample1/nothing",
        "/moca-file-log/save-log/more",
        "/moca-file-log/SAVE-LOG",
        "/save-log",
        "/sample1/save-log",
        "/moca-file-log/sample1/sample1/save-log",
    ] {
        ask(&server, "GET", path).problem(404);
        server.get(path).problem(404);
    }
}

#[test]
fn status_needs_no_key() {
    let server = Setup::new().start();
    let expected = format!("MocaFileLog({}) is working...", env!("CARGO_PKG_VERSION"));
    for method in ["GET", "POST"] {
        let response = server.request(method, "/status", &[], b"");
        assert_eq!((response.status, response.text()), (200, expected.clone()), "{method}");
        assert!(response.expect_header("content-type").starts_with("text/plain"), "{response:?}");
    }
    let head = server.request("HEAD", "/status", &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0), "{head:?}");
}

#[test]
fn head_gives_the_headers_of_get_and_no_body() {
    let server = Setup::new().start();
    server.save("one");
    let mut conn = server.connect();
    for name in ["details", "get-logs", "get-latest-logs", "download-logs"] {
        let headers = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];
        let head = conn.request("HEAD", &route(name), &headers, b"");
        let get = conn.request("GET", &route(name), &headers, b"");
        assert_eq!(head.status, 200, "{name}: {head:?}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{name}");
    }
    // A body after the answer to HEAD would corrupt the next answer on this connection.
    assert_eq!(conn.get("/status").status, 200);
}

#[test]
fn head_is_checked_like_get() {
    let server = Setup::new().start();
    assert_eq!(server.request("HEAD", &route("get-logs"), &[], b"").status, 401);
    assert_eq!(server.request("HEAD", &route("get-logs"), &[("API-KEY", KEY)], b"").status, 403);
    assert_eq!(server.request("HEAD", "/nothing", &[], b"").status, 404);
}

#[test]
fn options_is_allowed_on_every_route_without_a_key() {
    let server = Setup::new().start();
    for name in ROUTES {
        for prefix in ["/moca-file-log", "/moca-file-log/sample1"] {
            let response = server.request("OPTIONS", &format!("{prefix}/{name}"), &[], b"");
            assert_eq!(
                (response.status, response.text().as_str()),
                (200, "allowed."),
                "{name}: {response:?}"
            );
        }
    }
    assert_eq!(server.request("OPTIONS", "/status", &[], b"").status, 200);
    server.request("OPTIONS", "/moca-file-log/nothing", &[], b"").problem(404);
    server.request("OPTIONS", "/moca-file-log/sample2/save-log", &[], b"").problem(404);
}

#[test]
fn other_methods_are_refused_with_the_allowed_ones() {
    let server = Setup::new().start();
    for method in ["PUT", "DELETE", "PATCH"] {
        for path in [route("details"), route("clear-logs"), "/moca-file-log/sample1/details".to_owned()] {
            let response = ask(&server, method, &path);
            response.problem(405);
            let allow = response.expect_header("allow");
            let mut allowed: Vec<&str> = allow.split(',').map(str::trim).collect();
            allowed.sort_unstable();
            assert_eq!(allowed, ["GET", "HEAD", "OPTIONS", "POST"], "{method} {path}");
        }
    }
    for method in ["DELETE", "PATCH"] {
        for name in ["save-log", "save-logs"] {
            let response = ask(&server, method, &route(name));
            response.problem(405);
            assert_eq!(response.expect_header("allow"), "GET, POST, HEAD, PUT, OPTIONS");
        }
    }
    for (name, methods) in
        [("save-logs", "GET, POST, HEAD, PUT, OPTIONS"), ("details", "GET, POST, HEAD, OPTIONS")]
    {
        assert_eq!(ask(&server, "OPTIONS", &route(name)).expect_header("allow"), methods);
    }
    let response = server.request("DELETE", "/status", &[], b"");
    response.problem(405);
    assert!(response.expect_header("allow").contains("GET"), "{response:?}");
    assert!(server.messages().is_empty(), "a refused method stored something");
}

#[test]
fn an_unknown_path_is_404_for_every_method() {
    let server = Setup::new().start();
    for method in ["GET", "POST", "PUT", "DELETE"] {
        ask(&server, method, "/moca-file-log/nothing").problem(404);
    }
}

#[test]
fn the_root_routes_need_the_key_and_the_password() {
    let server = Setup::new().start();
    for name in ["details", "get-logs", "get-latest-logs", "download-logs", "clear-logs"] {
        server.get_with(&route(name), &[("ROOT-PASS", ROOT)]).unauthorized("Missing API-KEY.");
        server.get_with(&route(name), &[("API-KEY", KEY)]).refused(403, "Invalid root password.");
    }
}

#[test]
fn saving_needs_no_root_password() {
    let server = Setup::new().start();
    server.save("no root");
    server.save_batch(&json!([{"level": 1, "message": "none either"}])).success();
    assert_eq!(server.messages(), ["no root", "none either"]);
}

#[test]
fn answers_name_the_server() {
    let server = Setup::new().start();
    let expected = format!("MocaFileLog({})", env!("CARGO_PKG_VERSION"));
    for target in ["/status", "/nothing", "/moca-file-log/save-log"] {
        assert_eq!(server.get(target).expect_header("server"), expected, "{target}");
    }
}
