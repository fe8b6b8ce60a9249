//! Tests of the operator's page as it is served. They check its headers, and that it contains no
//! log data and no secret. `tests/web` tests the page in a browser.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use data_encoding::BASE64;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::{KEY, Response, Server, Setup, encode};

const FORMS: [&str; 4] =
    ["/moca-file-log/", "/moca-file-log", "/moca-file-log/sample1/", "/moca-file-log/sample1"];

fn page(server: &Server) -> Response {
    let response = server.get(FORMS[0]);
    assert_eq!(response.status, 200, "{response:?}");
    response
}

/// Returns the text between two texts, each of which must occur once.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    assert_eq!((text.matches(begin).count(), text.matches(end).count()), (1, 1), "{begin}");
    let (_, rest) = text.split_once(begin).unwrap();
    rest.split_once(end).unwrap().0
}

#[test]
fn both_urls_serve_the_page_with_and_without_a_slash() {
    let server = Setup::new().start();
    let first = page(&server);
    for path in FORMS {
        let response = server.get(path);
        assert_eq!((response.status, &response.body), (200, &first.body), "{path}");
    }
    for path in ["/moca-file-log/sample2/", "/moca-file-log//", "/moca-file-log/sample1//", "/sample1/"] {
        server.get(path).problem(404);
    }
    let named = Setup::new().named("my log é").start();
    assert_eq!(named.get(&format!("/moca-file-log/{}/", encode("my log é"))).body, first.body);
}

#[test]
fn the_content_security_policy_allows_only_the_own_script_and_style() {
    let server = Setup::new().start();
    let response = page(&server);
    let text = response.text();
    let hash = |part: &str| BASE64.encode(&Sha256::digest(part));
    let script = hash(between(&text, "<script type=\"module\">", "</script>"));
    let style = hash(between(&text, "<style>", "</style>"));
    let expected = format!(
        "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    );
    assert_eq!(response.expect_header("content-security-policy"), expected);
    assert_eq!(response.expect_header("content-type"), "text/html; charset=utf-8");
    assert_eq!(response.expect_header("x-content-type-options"), "nosniff");
    assert_eq!(response.expect_header("referrer-policy"), "no-referrer");
}

#[test]
fn a_configured_policy_is_sent_in_addition() {
    let headers = json!({"Content-Security-Policy": "default-src *", "X-Mine": "yes"});
    let server = Setup::new().server("headers", headers).start();
    let response = page(&server);
    let policies: Vec<&str> = response
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-security-policy"))
        .map(|(_, value)| value.as_str())
        .collect();
    assert!(
        matches!(policies[..], [own, "default-src *"] if own.starts_with("default-src 'none'; ")),
        "{policies:?}"
    );
    assert_eq!(response.expect_header("x-mine"), "yes");
}

#[test]
fn the_page_contains_no_data_of_the_log() {
    let (key, root) = ("key-of-the-treasurer", "password-of-the-treasurer");
    let setup = Setup::new().named("treasury").key(key, &json!({})).system("root_pass", json!(root));
    let server = setup.start();
    server.save("a message in a bottle");
    for headers in [&[][..], &[("API-KEY", key), ("ROOT-PASS", root)]] {
        let response = server.get_with("/moca-file-log/", headers);
        for secret in [KEY, key, root, "treasury", "bottle"] {
            assert!(!format!("{:?}{}", response.headers, response.text()).contains(secret), "{secret}");
        }
    }
    assert_eq!(page(&server).body, page(&Setup::new().start()).body, "the same for every log");
}

#[test]
fn a_cached_page_is_answered_304() {
    let server = Setup::new().start();
    let first = page(&server);
    assert_eq!(first.expect_header("cache-control"), "no-cache");
    let tag = first.expect_header("etag");
    for form in FORMS {
        let again = server.get_with(form, &[("If-None-Match", tag)]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{again:?}");
        assert_eq!(again.expect_header("etag"), tag);
        let policy = "content-security-policy";
        assert_eq!(again.expect_header(policy), first.expect_header(policy));
    }
    assert_eq!(server.get_with(FORMS[0], &[("If-None-Match", "\"other\"")]).status, 200);
}

#[test]
fn get_head_post_and_options_are_the_only_methods() {
    let server = Setup::new().start();
    let get = page(&server);
    for form in FORMS {
        let mut conn = server.connect();
        let head = conn.request("HEAD", form, &[], b"");
        assert_eq!((head.status, head.body.len()), (200, 0), "{head:?}");
        for name in ["content-type", "content-length", "etag", "content-security-policy"] {
            assert_eq!(head.header(name), get.header(name), "{name}");
        }
        assert_eq!(conn.request("POST", form, &[], b"").body, get.body);
        assert_eq!(conn.request("OPTIONS", form, &[], b"").text(), "allowed.");
        for method in ["PUT", "DELETE", "PATCH"] {
            conn.request(method, form, &[], b"").problem(405);
        }
    }
}

#[test]
fn refused_clients_do_not_get_the_page() {
    let blocked = Setup::new().blacklist(json!(["127.0.0.1"])).start();
    let maintained = Setup::new().system("maintenance_mode", json!(true)).start();
    let forced = Setup::new().system("force_headers", json!({"X-Proxy": "secret"})).start();
    for form in FORMS {
        blocked.get(form).problem(403);
        maintained.get(form).problem(503);
        forced.get(form).problem(403);
        assert_eq!(forced.get_with(form, &[("X-Proxy", "secret")]).status, 200);
    }
}

#[test]
fn requests_for_the_page_count_towards_dos_detect() {
    let server = Setup::new().posed().system("dos_detect", json!(5)).start();
    let ask = || server.get_with("/moca-file-log/", &[("X-Real-IP", "198.51.100.7")]).status;
    let answers: Vec<u16> = (0..20).map(|_| ask()).collect();
    assert_eq!((answers[0], answers[19]), (200, 403), "{answers:?}");
}

#[test]
fn the_admin_socket_serves_the_page_too() {
    let server = Setup::new().with_admin_socket().system("maintenance_mode", json!(true)).start();
    let mut stream = UnixStream::connect(server.admin_socket()).unwrap();
    stream.write_all(b"GET /moca-file-log/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("<!doctype html>"), "{answer:.300}");
}
