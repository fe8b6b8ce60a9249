//! Tests of the sources of the root password, and of the limit of wrong attempts.

use serde_json::{Value, json};

use crate::harness::{KEY, ROOT, Response, Server, Setup, route};

/// The Argon2id hash of `root-pass`, with low costs.
const ROOT_ARGON2ID: &str =
    "$argon2id$v=19$m=256,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$VVyY3F6rHPVpZ44rOAzPxdtG5beoW+ZnK/uGDJWJSJc";

fn details(server: &Server, address: &str, password: &str) -> Response {
    let headers = [("API-KEY", KEY), ("ROOT-PASS", password), ("X-Real-IP", address)];
    server.get_with(&route("details"), &headers)
}

#[test]
fn only_the_right_password_opens_the_root_routes() {
    let server = Setup::new().start();
    assert_eq!(details(&server, "", ROOT).status, 200);
    for wrong in ["wrong", "root-pas", "root-passs", "ROOT-PASS", "null"] {
        details(&server, "", wrong).refused(403, "Invalid root password.");
    }
}

#[test]
fn the_password_counts_from_every_source() {
    let server = Setup::new().start();
    let target = route("details");
    assert_eq!(server.get(&format!("{target}?api_key={KEY}&root_pass={ROOT}")).status, 200);
    assert_eq!(server.post_json(&target, &json!({"api_key": KEY, "root_pass": ROOT})).status, 200);
    assert_eq!(server.post_form(&target, &[("api_key", KEY), ("root_pass", ROOT)]).status, 200);
    assert_eq!(server.root_get("details").status, 200);
    let cookie = format!("root_pass={ROOT}");
    server.get_with(&target, &[("API-KEY", KEY), ("Cookie", &cookie)]).problem(403);
}

#[test]
fn it_may_be_configured_as_its_argon2id_hash() {
    let server = Setup::new().system("root_pass", json!(ROOT_ARGON2ID)).start();
    assert_eq!(details(&server, "", ROOT).status, 200);
    details(&server, "", "wrong").refused(403, "Invalid root password.");
    details(&server, "", ROOT_ARGON2ID).refused(403, "Invalid root password.");
}

#[test]
fn no_configured_password_closes_the_root_routes() {
    let absent = Setup::new().without_system("root_pass");
    let null = Setup::new().system("root_pass", Value::Null);
    let empty = Setup::new().system("root_pass", json!(""));
    for setup in [absent, null, empty] {
        let server = setup.start();
        for name in ["details", "get-logs", "get-latest-logs", "download-logs", "clear-logs"] {
            server.post_json(&route(name), &json!({"api_key": KEY})).refused(403, "Invalid root password.");
        }
        let null = json!({"api_key": KEY, "root_pass": null});
        server.post_json(&route("details"), &null).refused(403, "Invalid root password.");
        details(&server, "", "").refused(403, "Invalid root password.");
        details(&server, "", "mochimochi").refused(403, "Invalid root password.");
        server.save("saving goes on");
    }
}

#[test]
fn ten_wrong_passwords_a_minute_are_the_limit() {
    let server = Setup::new().posed().start();
    for _ in 0..10 {
        details(&server, "192.0.2.1", "wrong").refused(403, "Invalid root password.");
    }
    let response = details(&server, "192.0.2.1", "wrong");
    response.refused(429, "Too many requests.");
    assert!((1..=60).contains(&response.retry_after()), "{response:?}");
    // The right password gets 429 as well. Otherwise the limit would reveal which password is
    // right.
    details(&server, "192.0.2.1", ROOT).problem(429);
    assert_eq!(details(&server, "192.0.2.2", ROOT).status, 200, "another address is not concerned");
    server.save("saving is not concerned");
}

#[test]
fn right_passwords_are_not_counted() {
    let server = Setup::new().posed().start();
    for _ in 0..30 {
        assert_eq!(details(&server, "192.0.2.1", ROOT).status, 200);
    }
}

#[test]
fn the_key_is_checked_before_the_password() {
    let server = Setup::new().start();
    for _ in 0..20 {
        let headers = [("API-KEY", "unknown"), ("ROOT-PASS", "wrong")];
        server.get_with(&route("details"), &headers).unauthorized("Unknown API-KEY.");
    }
    assert_eq!(details(&server, "", ROOT).status, 200, "refused keys cost no guesses");
}
