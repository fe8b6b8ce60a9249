//! Tests of the sources of the root password, and of the limit of wrong attempts.

use std::time::{Duration, Instant};

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
    // The right password gets 429 as well until it was verified once.
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

#[test]
fn the_password_that_was_verified_last_is_let_through() {
    let hashed = Setup::new().system("root_pass", json!(ROOT_ARGON2ID));
    for setup in [Setup::new(), hashed] {
        let server = setup.posed().start();
        assert_eq!(details(&server, "192.0.2.1", ROOT).status, 200);
        for _ in 0..10 {
            details(&server, "192.0.2.1", "wrong").refused(403, "Invalid root password.");
        }
        details(&server, "192.0.2.1", "wrong").refused(429, "Too many requests.");
        assert_eq!(details(&server, "192.0.2.1", ROOT).status, 200, "a guesser locks the operator out");
        details(&server, "192.0.2.1", "wrong").refused(429, "Too many requests.");
        // A new password in the file ends that.
        server.set("system.json", "/root_pass", json!("another password"));
        let mut host = 0;
        crate::harness::eventually("the new password applies", Duration::from_secs(5), || {
            // Each attempt before is a wrong one of its address.
            host += 1;
            details(&server, &format!("198.51.100.{}", host % 250), "another password").status == 200
        });
        details(&server, "192.0.2.1", ROOT).refused(429, "Too many requests.");
    }
}

/// An Argon2id hash of `root-pass` that takes long in a build without optimisation.
fn slow_hash() -> String {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
    let params = Params::new(4096, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: argon2::password_hash::phc::PasswordHash =
        argon2.hash_password_with_salt(ROOT.as_bytes(), b"0123456789abcdef").unwrap();
    hash.to_string()
}

#[test]
fn guesses_of_many_clients_delay_no_operator_for_long() {
    let server = Setup::new().posed().system("root_pass", json!(slow_hash())).start();
    let started = Instant::now();
    details(&server, "192.0.2.200", "wrong").refused(403, "Invalid root password.");
    let verification = started.elapsed();
    std::thread::scope(|scope| {
        // One network sends many guesses at once, from many connections.
        let guessers: Vec<_> = (0..60)
            .map(|n| {
                let server = &server;
                scope.spawn(move || details(server, &format!("2001:db8::{n:x}"), "wrong").status)
            })
            .collect();
        std::thread::sleep(verification / 2);
        let started = Instant::now();
        let answer = details(&server, "192.0.2.1", ROOT);
        let waited = started.elapsed();
        assert_eq!(answer.status, 200, "{answer:?}");
        // At most two guesses run and one more is before it, in each of the two turns.
        assert!(waited < verification * 8 + Duration::from_secs(1), "{waited:?} for {verification:?} each");
        let statuses: Vec<u16> = guessers.into_iter().map(|guesser| guesser.join().unwrap()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 10, "{statuses:?}");
        assert!(statuses.iter().all(|status| [403, 429, 503].contains(status)), "{statuses:?}");
    });
}

#[test]
fn too_many_guesses_at_once_are_refused() {
    let server = Setup::new().posed().system("root_pass", json!(slow_hash())).start();
    std::thread::scope(|scope| {
        let guessers: Vec<_> = (1..=60)
            .map(|n| {
                let server = &server;
                scope.spawn(move || details(server, &format!("192.0.2.{n}"), "wrong"))
            })
            .collect();
        // Meanwhile other requests are served.
        for _ in 0..20 {
            server.save("not concerned");
        }
        let answers: Vec<Response> = guessers.into_iter().map(|guesser| guesser.join().unwrap()).collect();
        let full: Vec<&Response> = answers.iter().filter(|answer| answer.status == 503).collect();
        for answer in &full {
            answer.refused(503, "Too many root passwords are being verified.");
            assert!(answer.retry_after() >= 1);
        }
        let wrong = answers.iter().filter(|answer| answer.status == 403).count();
        assert_eq!(wrong + full.len(), 60);
        assert!(!full.is_empty(), "60 guesses waited at the same time");
        assert!(wrong >= 34, "{wrong} of the bounded number were verified");
    });
}
