//! The root password: right and wrong ones, guessing, and what Argon2id costs.

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

fn both() -> [Root; 2] {
    [RootPassword::Clear(RIGHT.to_owned()), phc(RIGHT, b"0123456789")]
        .map(|configured| Root::new(&configured))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn too_many(outcome: &Result<(), Refusal>) -> bool {
    matches!(outcome, Err(Refusal::TooManyRequests { quota, .. }) if quota.is_empty())
}

#[test]
fn right_and_wrong() {
    for root in both() {
        let (gate, now) = (RootGate::new(), Instant::now());
        run(async {
            for _ in 0..30 {
                assert_eq!(gate.check(&root, Some(RIGHT), client(1), now).await, Ok(()));
            }
            for wrong in ["A right pässword", "a right pässword ", "x"] {
                let outcome = gate.check(&root, Some(wrong), client(1), now).await;
                assert_eq!(outcome, Err(Refusal::InvalidRootPassword), "{wrong}");
            }
            for _ in 0..30 {
                let long = "x".repeat(1025);
                for none in [None, Some(""), Some(long.as_str())] {
                    let outcome = gate.check(&root, none, client(1), now).await;
                    assert_eq!(outcome, Err(Refusal::InvalidRootPassword));
                }
            }
            assert_eq!(gate.check(&root, Some(RIGHT), client(1), now).await, Ok(()), "nothing is no guess");
        });
    }
}

#[test]
fn closed_without_a_password() {
    for configured in [RootPassword::Closed, RootPassword::Clear(String::new())] {
        let (gate, root) = (RootGate::new(), Root::new(&configured));
        for presented in [None, Some(""), Some("x")] {
            let outcome = run(gate.check(&root, presented, client(1), Instant::now()));
            assert_eq!(outcome, Err(Refusal::InvalidRootPassword));
        }
    }
}

#[test]
fn ten_wrong_ones_a_minute() {
    for root in both() {
        let (gate, start) = (RootGate::new(), Instant::now());
        run(async {
            for n in 0..10 {
                let now = start + Duration::from_secs(n);
                let outcome = gate.check(&root, Some("wrong"), client(1), now).await;
                assert_eq!(outcome, Err(Refusal::InvalidRootPassword), "{n}");
            }
            let now = start + Duration::from_secs(20);
            for presented in ["wrong", RIGHT] {
                let outcome = gate.check(&root, Some(presented), client(1), now).await;
                assert!(too_many(&outcome));
                assert_eq!(outcome.unwrap_err().retry_after(), Some(Duration::from_secs(40)));
            }
            assert_eq!(gate.check(&root, Some(RIGHT), client(2), now).await, Ok(()));
            let later = start + MINUTE;
            assert_eq!(gate.check(&root, Some(RIGHT), client(1), later).await, Ok(()));
        });
    }
}

#[test]
fn guesses_at_the_same_time_are_counted_too() {
    for root in both() {
        let (gate, now) = (RootGate::new(), Instant::now());
        let outcomes = run(futures_util::future::join_all(
            (0..40).map(|_| gate.check(&root, Some("wrong"), client(1), now)),
        ));
        assert_eq!(outcomes.iter().filter(|outcome| too_many(outcome)).count(), 30);
    }
}

#[test]
fn many_right_ones_at_the_same_time() {
    for root in both() {
        let (gate, now) = (RootGate::new(), Instant::now());
        let outcomes = run(futures_util::future::join_all(
            (0..40).map(|_| gate.check(&root, Some(RIGHT), client(1), now)),
        ));
        assert!(outcomes.iter().all(Result::is_ok));
    }
}

#[test]
fn the_last_right_one_is_not_verified_again() {
    let (gate, now) = (RootGate::new(), Instant::now());
    let [first, second] = [phc(RIGHT, b"0123456789"), phc("new", b"9876543210")].map(|phc| Root::new(&phc));
    run(async {
        assert_eq!(gate.check(&first, Some(RIGHT), client(1), now).await, Ok(()));
        gate.turns.close();
        assert_eq!(gate.check(&first, Some(RIGHT), client(1), now).await, Ok(()), "no turn was needed");
        let other = gate.check(&second, Some(RIGHT), client(1), now).await;
        assert_eq!(other, Err(Refusal::InvalidRootPassword), "of that hash only");
        let wrong = gate.check(&first, Some("wrong"), client(1), now).await;
        assert_eq!(wrong, Err(Refusal::InvalidRootPassword));
    });
}

#[test]
fn hanging_up_neither_frees_the_turn_nor_the_count() {
    let (gate, now) = (RootGate::new(), Instant::now());
    let root = Root::new(&phc(RIGHT, b"0123456789"));
    run(async {
        for _ in 0..10 {
            let mut check = Box::pin(gate.check(&root, Some("wrong"), client(1), now));
            // Polled once: the verification has been handed over, and may be done already.
            let _polled = futures_util::poll!(check.as_mut());
            drop(check);
            while gate.turns.available_permits() < VERIFICATIONS_AT_ONCE {
                tokio::task::yield_now().await;
            }
        }
        assert!(too_many(&gate.check(&root, Some(RIGHT), client(1), now).await));
    });
}

#[test]
fn a_hash_that_is_none_opens_nothing() {
    let root = Root::new(&RootPassword::Argon2id("$argon2id$nonsense".to_owned()));
    let outcome = run(RootGate::new().check(&root, Some(RIGHT), client(1), Instant::now()));
    assert_eq!(outcome, Err(Refusal::InvalidRootPassword));
}
