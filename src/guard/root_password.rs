//! Checks the root password: compares digests in constant time, or verifies an Argon2id hash off
//! the event loop.
//!
//! Guessing is slow for the client and cheap for the service: an address gets at most ten wrong
//! attempts a minute, at most two Argon2id verifications run at the same time, and the last right
//! password is not verified again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::{Argon2, PasswordVerifier};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::client_addr::ClientAddr;
use super::key_check;
use super::limits::quota::Quota;
use super::limits::windows::{Count, Windows};
use super::refusal::Refusal;
use crate::config::RootPassword;

type PasswordDigest = [u8; 32];

/// The configured password, prepared for comparison.
pub(super) enum ExpectedPassword {
    /// No password is configured, so the root routes are closed.
    Closed,
    /// The SHA-256 of a password in clear text.
    Clear(PasswordDigest),
    /// A hash in PHC string format.
    Argon2id(Arc<str>),
}

impl ExpectedPassword {
    /// Returns whether every password is wrong, because none is configured.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Prepares the configured password. An empty one closes the root routes, as if none were
    /// configured.
    pub(super) fn new(configured: &RootPassword) -> Self {
        match configured {
            RootPassword::Clear(text) if !text.is_empty() => Self::Clear(digest(text)),
            RootPassword::Argon2id(phc) => Self::Argon2id(Arc::from(phc.as_str())),
            RootPassword::Closed | RootPassword::Clear(_) => Self::Closed,
        }
    }
}

/// Maximum number of wrong attempts of one address in a window.
const MAX_WRONG_PER_WINDOW: u64 = 10;
const WRONG_PASSWORD_WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of addresses whose attempts are counted at the same time.
const MAX_COUNTED_CLIENTS: usize = 10_000;
/// Maximum number of Argon2id verifications at the same time. The hash determines the memory and
/// time of each.
const MAX_CONCURRENT_VERIFICATIONS: usize = 2;

/// The check of the root password, with the memory of earlier attempts.
pub(super) struct RootPasswordCheck {
    attempts: Arc<Attempts>,
    verifications: Arc<Semaphore>,
}

/// Attempts by address, and the last right password.
struct Attempts {
    wrong: Mutex<Windows<ClientAddr>>,
    /// The last verified hash, and the digest of its right password.
    verified: Mutex<Option<(Arc<str>, PasswordDigest)>>,
}

impl RootPasswordCheck {
    pub(super) fn new() -> Self {
        let wrong = Mutex::new(Windows::new(MAX_COUNTED_CLIENTS));
        Self {
            attempts: Arc::new(Attempts { wrong, verified: Mutex::new(None) }),
            verifications: Arc::new(Semaphore::new(MAX_CONCURRENT_VERIFICATIONS)),
        }
    }

    /// Checks the presented password and counts a wrong one.
    ///
    /// # Errors
    /// [`Refusal::InvalidRootPassword`]; [`Refusal::TooManyRequests`] after too many wrong
    /// attempts.
    pub(super) async fn check(
        &self,
        root: &ExpectedPassword,
        presented: Option<&str>,
        client: ClientAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(presented) = key_check::well_formed_key(presented) else {
            return Err(Refusal::InvalidRootPassword);
        };
        match root {
            ExpectedPassword::Closed => Err(Refusal::InvalidRootPassword),
            ExpectedPassword::Clear(expected) => {
                self.attempts.reserve(client, now)?;
                self.attempts.settle(bool::from(digest(presented).ct_eq(expected)), client)
            }
            ExpectedPassword::Argon2id(hash) => self.check_hashed(hash, presented, client, now).await,
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
        self.attempts.check_attempts(client, now)?;
        if self.attempts.was_verified(hash, &presented_digest) {
            return Ok(());
        }
        let Ok(permit) = Arc::clone(&self.verifications).acquire_owned().await else {
            return Err(Refusal::InvalidRootPassword);
        };
        // Other attempts from the same address may have succeeded or failed while this one waited.
        if self.attempts.was_verified(hash, &presented_digest) {
            return self.attempts.check_attempts(client, now);
        }
        self.attempts.reserve(client, now)?;
        let (attempts, hash, presented) =
            (Arc::clone(&self.attempts), Arc::clone(hash), presented.to_owned());
        // The task does all of the work, so a client that disconnects neither frees the permit nor
        // undoes the count.
        let verification = tokio::task::spawn_blocking(move || {
            let is_right = Argon2::default().verify_password(presented.as_bytes(), &*hash).is_ok();
            if is_right {
                attempts.remember(hash, presented_digest);
            }
            let outcome = attempts.settle(is_right, client);
            drop(permit);
            outcome
        });
        verification.await.unwrap_or(Err(Refusal::InvalidRootPassword))
    }
}

impl Attempts {
    /// Refuses an address with too many wrong attempts.
    fn check_attempts(&self, client: ClientAddr, now: Instant) -> Result<(), Refusal> {
        check_count(self.wrong.lock().unwrap_or_else(PoisonError::into_inner).count(
            &client,
            WRONG_PASSWORD_WINDOW,
            now,
        ))
    }

    /// Counts an attempt as wrong before it is checked, so that concurrent attempts cannot exceed
    /// the limit.
    fn reserve(&self, client: ClientAddr, now: Instant) -> Result<(), Refusal> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        check_count(wrong.count(&client, WRONG_PASSWORD_WINDOW, now))?;
        wrong.hit(client, WRONG_PASSWORD_WINDOW, now);
        Ok(())
    }

    /// Ends a reserved attempt. Removes it from the count when the password was right.
    fn settle(&self, is_right: bool, client: ClientAddr) -> Result<(), Refusal> {
        if is_right {
            self.wrong.lock().unwrap_or_else(PoisonError::into_inner).undo_hit(&client);
            return Ok(());
        }
        Err(Refusal::InvalidRootPassword)
    }

    fn was_verified(&self, hash: &str, presented: &PasswordDigest) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.as_ref().is_some_and(|(verified_hash, right)| {
            **verified_hash == *hash && bool::from(right.ct_eq(presented))
        })
    }

    fn remember(&self, hash: Arc<str>, password: PasswordDigest) {
        *self.verified.lock().unwrap_or_else(PoisonError::into_inner) = Some((hash, password));
    }
}

fn check_count(wrong: Count) -> Result<(), Refusal> {
    if wrong.hits >= MAX_WRONG_PER_WINDOW {
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
