//! The root password: compared in constant time over digests, or verified by Argon2id off the event loop.
//!
//! Guessing is slow for the guesser, not for the service: at most ten wrong ones a minute from one address are looked
//! at, at most two Argon2id verifications run at once, and the last password that was right is not verified again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::{Argon2, PasswordVerifier};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::client_addr::ClientAddr;
use super::limits::quota::Quota;
use super::limits::windows::{Count, Windows};
use super::refusal::Refusal;
use crate::config::RootPassword;

type PasswordDigest = [u8; 32];

/// The configured password, ready to be compared.
pub(super) enum Root {
    Closed,
    Clear(PasswordDigest),
    Argon2id(Arc<str>),
}

impl Root {
    /// No password is the right one.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// An empty password closes the routes like none.
    pub(super) fn new(configured: &RootPassword) -> Self {
        match configured {
            RootPassword::Clear(text) if !text.is_empty() => Self::Clear(digest(text)),
            RootPassword::Argon2id(phc) => Self::Argon2id(Arc::from(phc.as_str())),
            RootPassword::Closed | RootPassword::Clear(_) => Self::Closed,
        }
    }
}

const WRONG_A_MINUTE: u64 = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// Addresses that are counted at once.
const CAP: usize = 10_000;
/// Each takes as much memory and time as the hash asks for.
const VERIFICATIONS_AT_ONCE: usize = 2;

/// What is remembered of earlier attempts.
pub(super) struct RootGate {
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
}

struct Shared {
    wrong: Mutex<Windows<ClientAddr>>,
    /// the hash that was verified last, and the digest of the password that was right
    verified: Mutex<Option<(Arc<str>, PasswordDigest)>>,
}

impl RootGate {
    pub(super) fn new() -> Self {
        let wrong = Mutex::new(Windows::new(CAP));
        Self {
            shared: Arc::new(Shared { wrong, verified: Mutex::new(None) }),
            turns: Arc::new(Semaphore::new(VERIFICATIONS_AT_ONCE)),
        }
    }

    /// See [`crate::guard::Guard::check_root`].
    pub(super) async fn check(
        &self,
        root: &Root,
        presented: Option<&str>,
        client: ClientAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(presented) = super::key_check::presentable(presented) else {
            return Err(Refusal::InvalidRootPassword);
        };
        match root {
            Root::Closed => Err(Refusal::InvalidRootPassword),
            Root::Clear(expected) => {
                self.shared.reserve(client, now)?;
                self.shared.settle(bool::from(digest(presented).ct_eq(expected)), client)
            }
            Root::Argon2id(hash) => self.check_hashed(hash, presented, client, now).await,
        }
    }

    async fn check_hashed(
        &self,
        hash: &Arc<str>,
        presented: &str,
        client: ClientAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        let presented_digest = digest(presented);
        self.shared.may_try(client, now)?;
        if self.shared.was_verified(hash, &presented_digest) {
            return Ok(());
        }
        let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
            return Err(Refusal::InvalidRootPassword);
        };
        // While this one waited for its turn, others from the same address may have been right or wrong.
        if self.shared.was_verified(hash, &presented_digest) {
            return self.shared.may_try(client, now);
        }
        self.shared.reserve(client, now)?;
        let (shared, hash, presented) = (Arc::clone(&self.shared), Arc::clone(hash), presented.to_owned());
        // All of it in the task: a client that hangs up meanwhile neither frees the turn nor undoes the count.
        let verification = tokio::task::spawn_blocking(move || {
            let right = Argon2::default().verify_password(presented.as_bytes(), &*hash).is_ok();
            if right {
                shared.remember(hash, presented_digest);
            }
            let outcome = shared.settle(right, client);
            drop(turn);
            outcome
        });
        verification.await.unwrap_or(Err(Refusal::InvalidRootPassword))
    }
}

impl Shared {
    /// Refuses an address that was wrong too often.
    fn may_try(&self, client: ClientAddr, now: Instant) -> Result<(), Refusal> {
        allowed(self.wrong.lock().unwrap_or_else(PoisonError::into_inner).count(&client, MINUTE, now))
    }

    /// Counts an attempt as wrong before it is looked at, so that attempts at the same time cannot exceed the limit.
    fn reserve(&self, client: ClientAddr, now: Instant) -> Result<(), Refusal> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        allowed(wrong.count(&client, MINUTE, now))?;
        wrong.hit(client, MINUTE, now);
        Ok(())
    }

    /// Takes the reservation back when the password was right.
    fn settle(&self, right: bool, client: ClientAddr) -> Result<(), Refusal> {
        if right {
            self.wrong.lock().unwrap_or_else(PoisonError::into_inner).take_back(&client);
            return Ok(());
        }
        Err(Refusal::InvalidRootPassword)
    }

    fn was_verified(&self, hash: &str, presented: &PasswordDigest) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.as_ref().is_some_and(|(of, right)| **of == *hash && bool::from(right.ct_eq(presented)))
    }

    fn remember(&self, hash: Arc<str>, password: PasswordDigest) {
        *self.verified.lock().unwrap_or_else(PoisonError::into_inner) = Some((hash, password));
    }
}

fn allowed(wrong: Count) -> Result<(), Refusal> {
    if wrong.hits >= WRONG_A_MINUTE {
        return Err(Refusal::TooManyRequests { retry_after: wrong.closes_in, quota: Quota::default() });
    }
    Ok(())
}

fn digest(password: &str) -> PasswordDigest {
    Sha256::digest(password.as_bytes()).into()
}

#[cfg(test)]
#[path = "root_password_tests.rs"]
mod tests;
