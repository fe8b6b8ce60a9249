//! Tests of the root password: right and wrong ones, guessing, concurrent Argon2id verifications.

use std::net::IpAddr;

use argon2::{Algorithm, Params, PasswordHasher, Version};

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
            (0..40).map(|_| check.check(&root, Some("wrong"), client(1), now)),
        ));
        assert_eq!(outcomes.iter().filter(|outcome| is_too_many(outcome)).count(), 30);
    }
}

#[test]
fn concurrent_right_attempts_all_pass() {
    for root in clear_and_hashed() {
        let (check, now) = (RootPasswordCheck::new(), Instant::now());
        let outcomes = run(futures_util::future::join_all(
            (0..40).map(|_| check.check(&root, Some(RIGHT), client(1), now)),
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
        check.verifications.close();
        assert_eq!(
            check.check(&first, Some(RIGHT), client(1), now).await,
            Ok(()),
            "no verification was needed"
        );
        let other = check.check(&second, Some(RIGHT), client(1), now).await;
        assert_eq!(other, Err(Refusal::InvalidRootPassword), "only for the hash that was verified");
        let wrong = check.check(&first, Some("wrong"), client(1), now).await;
        assert_eq!(wrong, Err(Refusal::InvalidRootPassword));
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
            while check.verifications.available_permits() < MAX_CONCURRENT_VERIFICATIONS {
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
