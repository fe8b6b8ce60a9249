//! Tests of the root password: right and wrong ones, guessing, concurrent Argon2id verifications.

use std::net::IpAddr;

use argon2::{Algorithm, Params, PasswordHasher, Version};

use futures_util::FutureExt;

use super::*;

const RIGHT: &str = "a right pässword";

fn client(n: u8) -> ClientAddr {
    ClientAddr::from(IpAddr::from([192, 0, 2, n]))
}

fn phc(password: &str, salt: &[u8]) -> RootPassword {
    let tiny = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let hash: argon2::password_hash::phc::PasswordHash =
        tiny.hash_password_with_salt(password.as_bytes(), salt).unwrap();
    RootPassword::Argon2id(hash.to_string())
}

fn clear_and_hashed() -> [ExpectedPassword; 2] {
    [RootPassword::Clear(RIGHT.to_owned()), phc(RIGHT, b"0123456789")]
        .map(|configured| ExpectedPassword::new(&configured))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn is_too_many(outcome: &Result<(), Refusal>) -> bool {
    matches!(outcome, Err(Refusal::TooManyRequests { quota, .. }) if quota.is_empty())
}

#[test]
fn accepts_the_right_password_and_refuses_others() {
    for root in clear_and_hashed() {
        let (check, now) = (RootPasswordCheck::new(), Instant::now());
        run(async {
            for _ in 0..30 {
                assert_eq!(check.check(&root, Some(RIGHT), client(1), now).await, Ok(()));
            }
            for wrong in ["A right pässword", "a right pässword ", "x"] {
                let outcome = check.check(&root, Some(wrong), client(1), now).await;
                assert_eq!(outcome, Err(Refusal::InvalidRootPassword), "{wrong}");
            }
            for _ in 0..30 {
                let long = "x".repeat(1025);
                for missing in [None, Some(""), Some(long.as_str())] {
                    let outcome = check.check(&root, missing, client(1), now).await;
                    assert_eq!(outcome, Err(Refusal::InvalidRootPassword));
                }
            }
            assert_eq!(
                check.check(&root, Some(RIGHT), client(1), now).await,
                Ok(()),
                "a missing password is no attempt"
            );
        });
    }
}

#[test]
fn no_configured_password_refuses_every_password() {
    for configured in [RootPassword::Closed, RootPassword::Clear(String::new())] {
        let (check, root) = (RootPasswordCheck::new(), ExpectedPassword::new(&configured));
        for presented in [None, Some(""), Some("x")] {
            let outcome = run(check.check(&root, presented, client(1), Instant::now()));
            assert_eq!(outcome, Err(Refusal::InvalidRootPassword));
        }
    }
}

#[test]
fn ten_wrong_attempts_a_minute_are_the_limit() {
    for root in clear_and_hashed() {
        let (check, start) = (RootPasswordCheck::new(), Instant::now());
        run(async {
            for n in 0..10 {
                let now = start + Duration::from_secs(n);
                let outcome = check.check(&root, Some("wrong"), client(1), now).await;
                assert_eq!(outcome, Err(Refusal::InvalidRootPassword), "{n}");
            }
            let now = start + Duration::from_secs(20);
            for presented in ["wrong", RIGHT] {
                let outcome = check.check(&root, Some(presented), client(1), now).await;
                assert!(is_too_many(&outcome));
                assert_eq!(outcome.unwrap_err().retry_after(), Some(Duration::from_secs(40)));
            }
            assert_eq!(check.check(&root, Some(RIGHT), client(2), now).await, Ok(()));
            let verified = check.check(&root, Some(RIGHT), client(1), now).await;
            assert_eq!(verified, Ok(()), "the password that was verified last is let through");
            assert!(is_too_many(&check.check(&root, Some("wrong"), client(1), now).await));
            let later = start + WRONG_PASSWORD_WINDOW;
            assert_eq!(check.check(&root, Some(RIGHT), client(1), later).await, Ok(()));
        });
    }
}

#[test]
fn concurrent_wrong_attempts_count_too() {
    for root in clear_and_hashed() {
        let (check, now) = (RootPasswordCheck::new(), Instant::now());
        let outcomes = run(futures_util::future::join_all(
            (0..34).map(|_| check.check(&root, Some("wrong"), client(1), now)),
        ));
        assert_eq!(outcomes.iter().filter(|outcome| is_too_many(outcome)).count(), 24);
    }
}

#[test]
fn concurrent_right_attempts_all_pass() {
    for root in clear_and_hashed() {
        let (check, now) = (RootPasswordCheck::new(), Instant::now());
        let outcomes = run(futures_util::future::join_all(
            (0..34).map(|_| check.check(&root, Some(RIGHT), client(1), now)),
        ));
        assert!(outcomes.iter().all(Result::is_ok));
    }
}

#[test]
fn the_last_right_password_is_not_verified_again() {
    let (check, now) = (RootPasswordCheck::new(), Instant::now());
    let [first, second] =
        [phc(RIGHT, b"0123456789"), phc("new", b"9876543210")].map(|phc| ExpectedPassword::new(&phc));
    run(async {
        assert_eq!(check.check(&first, Some(RIGHT), client(1), now).await, Ok(()));
        let _running = [
            check.verifications.turn(client(9).counted()).await.unwrap(),
            check.verifications.turn(client(9).counted()).await.unwrap(),
        ];
        let verified = check.check(&first, Some(RIGHT), client(1), now).now_or_never();
        assert_eq!(verified, Some(Ok(())), "no verification was needed");
        let other = check.check(&second, Some(RIGHT), client(1), now).now_or_never();
        assert_eq!(other, None, "only for the hash that was verified");
        assert_eq!(check.check(&first, Some("wrong"), client(1), now).now_or_never(), None);
    });
}

#[test]
fn a_disconnect_neither_frees_the_permit_nor_undoes_the_count() {
    let (check, now) = (RootPasswordCheck::new(), Instant::now());
    let root = ExpectedPassword::new(&phc(RIGHT, b"0123456789"));
    run(async {
        for _ in 0..10 {
            let mut attempt = Box::pin(check.check(&root, Some("wrong"), client(1), now));
            // One poll starts the verification, which may also end at once.
            let _polled = futures_util::poll!(attempt.as_mut());
            drop(attempt);
            while check.verifications.running() > 0 {
                tokio::task::yield_now().await;
            }
        }
        assert!(is_too_many(&check.check(&root, Some(RIGHT), client(1), now).await));
    });
}

#[test]
fn an_invalid_hash_refuses_every_password() {
    let root = ExpectedPassword::new(&RootPassword::Argon2id("$argon2id$nonsense".to_owned()));
    let outcome = run(RootPasswordCheck::new().check(&root, Some(RIGHT), client(1), Instant::now()));
    assert_eq!(outcome, Err(Refusal::InvalidRootPassword));
}

#[test]
fn networks_of_ipv6_share_their_attempts() {
    for root in clear_and_hashed() {
        let (check, now) = (RootPasswordCheck::new(), Instant::now());
        let nth =
            |network: u16, n: u16| ClientAddr::from(IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, n]));
        run(async {
            for n in 0..10 {
                let outcome = check.check(&root, Some("wrong"), nth(1, n), now).await;
                assert_eq!(outcome, Err(Refusal::InvalidRootPassword), "{n}");
            }
            assert!(is_too_many(&check.check(&root, Some("wrong"), nth(1, 99), now).await));
            let other = check.check(&root, Some("wrong"), nth(2, 1), now).await;
            assert_eq!(other, Err(Refusal::InvalidRootPassword), "another network");
        });
    }
}

#[test]
fn too_many_attempts_are_refused_and_never_those_of_another_network() {
    let (check, now) = (RootPasswordCheck::new(), Instant::now());
    let root = ExpectedPassword::new(&phc(RIGHT, b"0123456789"));
    let outcomes = run(async {
        let running = [
            check.verifications.turn(client(9).counted()).await.unwrap(),
            check.verifications.turn(client(9).counted()).await.unwrap(),
        ];
        let attempts = futures_util::future::join_all(
            (0..60).map(|n| check.check(&root, Some("wrong"), client(u8::from(n == 59)), now)),
        );
        // The first branch is polled first, so that no turn ends before all attempts have arrived.
        futures_util::join!(attempts, async { drop(running) }).0
    });
    let full = outcomes.iter().filter(|outcome| **outcome == Err(Refusal::TooManyVerifications)).count();
    assert_eq!(full, 60 - 32);
    assert_eq!(outcomes[59], Err(Refusal::InvalidRootPassword), "the only attempt of its network");
}
