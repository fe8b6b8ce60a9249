//! Checks the root password: compares digests in constant time, or verifies an Argon2id hash off
//! the event loop.
//!
//! Guessing is slow for the client and cheap for the service: a network gets at most ten wrong
//! attempts a minute, and few Argon2id verifications run and wait. The password that was verified
//! last is let through without a verification, so that no guesser can lock the operator out, from
//! the same network either.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use argon2::{Argon2, PasswordVerifier};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::verification_queue::{QueueFull, VerificationQueue};
use crate::config::RootPassword;
use crate::guard::client_addr::{ClientAddr, CountedClient};
use crate::guard::key_check;
use crate::guard::limits::quota::Quota;
use crate::guard::limits::windows::{Count, WindowKey, Windows};
use crate::guard::refusal::Refusal;

type PasswordDigest = [u8; 32];

/// The configured password, prepared for comparison.
#[derive(Clone)]
pub(crate) enum ExpectedPassword {
    /// No password is configured, so the root routes are closed.
    Closed,
    /// The SHA-256 of a password in clear text.
    Clear(PasswordDigest),
    /// A hash in PHC string format.
    Argon2id(Arc<str>),
}

impl ExpectedPassword {
    /// Returns whether every password is wrong, because none is configured.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// Returns whether `self` and `other` expect the same password. The time does not depend on how
    /// much of two digests is equal.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Clear(one), Self::Clear(other)) => one.ct_eq(other).into(),
            (Self::Argon2id(one), Self::Argon2id(other)) => one == other,
            _ => false,
        }
    }

    /// Prepares the configured password. An empty one closes the root routes, as if none were
    /// configured.
    pub(crate) fn new(configured: &RootPassword) -> Self {
        match configured {
            RootPassword::Clear(text) if !text.is_empty() => Self::Clear(digest(text)),
            RootPassword::Argon2id(phc) => Self::Argon2id(Arc::from(phc.as_str())),
            RootPassword::Closed | RootPassword::Clear(_) => Self::Closed,
        }
    }
}

/// Maximum number of wrong attempts of one network in a window.
const MAX_WRONG_PER_WINDOW: u64 = 10;
const WRONG_PASSWORD_WINDOW: Duration = Duration::from_secs(60);
/// Maximum number of networks whose attempts are counted at the same time.
const MAX_COUNTED_CLIENTS: usize = 10_000;

impl WindowKey for CountedClient {
    fn of_site(&self) -> Option<Self> {
        self.site()
    }
}

/// The check of the root password, with the memory of earlier attempts.
pub(crate) struct RootPasswordCheck {
    attempts: Arc<Attempts>,
    verifications: Arc<VerificationQueue>,
}

/// Attempts by network, and the last right password.
struct Attempts {
    wrong: Mutex<Windows<CountedClient>>,
    /// What the last right password was verified against, and its digest.
    verified: Mutex<Option<(ExpectedPassword, PasswordDigest)>>,
}

impl RootPasswordCheck {
    pub(crate) fn new() -> Self {
        let wrong = Mutex::new(Windows::new(MAX_COUNTED_CLIENTS));
        Self {
            attempts: Arc::new(Attempts { wrong, verified: Mutex::new(None) }),
            verifications: Arc::default(),
        }
    }

    /// Checks the presented password and counts a wrong one.
    ///
    /// # Errors
    /// [`Refusal::InvalidRootPassword`]; [`Refusal::TooManyRequests`] after too many wrong
    /// attempts; [`Refusal::TooManyVerifications`].
    pub(crate) async fn check(
        &self,
        root: &ExpectedPassword,
        presented: Option<&str>,
        client: ClientAddr,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(presented) = key_check::well_formed_key(presented) else {
            return Err(Refusal::InvalidRootPassword);
        };
        let (network, presented_digest) = (client.counted(), digest(presented));
        if self.attempts.was_verified(root, &presented_digest) {
            return Ok(());
        }
        match root {
            ExpectedPassword::Closed => Err(Refusal::InvalidRootPassword),
            ExpectedPassword::Clear(expected) => {
                self.attempts.reserve(network, now)?;
                let is_right = bool::from(presented_digest.ct_eq(expected));
                if is_right {
                    self.attempts.remember(root.clone(), presented_digest);
                }
                self.attempts.settle(is_right, network)
            }
            ExpectedPassword::Argon2id(hash) => {
                let hash = Arc::clone(hash);
                self.check_hashed(hash, presented.to_owned(), presented_digest, network, now).await
            }
        }
    }

    async fn check_hashed(
        &self,
        hash: Arc<str>,
        presented: String,
        presented_digest: PasswordDigest,
        network: CountedClient,
        now: Instant,
    ) -> Result<(), Refusal> {
        self.attempts.check_attempts(network, now)?;
        let permit =
            self.verifications.turn(network).await.map_err(|QueueFull| Refusal::TooManyVerifications)?;
        // Other attempts may have succeeded or failed while this one waited.
        let root = ExpectedPassword::Argon2id(Arc::clone(&hash));
        if self.attempts.was_verified(&root, &presented_digest) {
            return Ok(());
        }
        self.attempts.reserve(network, now)?;
        let attempts = Arc::clone(&self.attempts);
        // The task does all of the work, so a client that disconnects neither frees the permit nor
        // undoes the count.
        let verification = tokio::task::spawn_blocking(move || {
            let is_right = Argon2::default().verify_password(presented.as_bytes(), &*hash).is_ok();
            if is_right {
                attempts.remember(root, presented_digest);
            }
            let outcome = attempts.settle(is_right, network);
            drop(permit);
            outcome
        });
        verification.await.unwrap_or(Err(Refusal::InvalidRootPassword))
    }
}

impl Attempts {
    /// Refuses a network with too many wrong attempts.
    fn check_attempts(&self, network: CountedClient, now: Instant) -> Result<(), Refusal> {
        check_count(self.wrong.lock().unwrap_or_else(PoisonError::into_inner).count(
            &network,
            WRONG_PASSWORD_WINDOW,
            now,
        ))
    }

    /// Counts an attempt as wrong before it is checked, so that concurrent attempts cannot exceed
    /// the limit.
    fn reserve(&self, network: CountedClient, now: Instant) -> Result<(), Refusal> {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        check_count(wrong.count(&network, WRONG_PASSWORD_WINDOW, now))?;
        wrong.hit(network, WRONG_PASSWORD_WINDOW, now);
        Ok(())
    }

    /// Ends a reserved attempt. Removes it from the count when the password was right.
    fn settle(&self, is_right: bool, network: CountedClient) -> Result<(), Refusal> {
        if is_right {
            self.wrong.lock().unwrap_or_else(PoisonError::into_inner).undo_hit(&network);
            return Ok(());
        }
        Err(Refusal::InvalidRootPassword)
    }

    /// Returns whether this password is the last one that was verified against `root`.
    fn was_verified(&self, root: &ExpectedPassword, presented: &PasswordDigest) -> bool {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        verified.as_ref().is_some_and(|(verified_root, right)| {
            bool::from(right.ct_eq(presented)) && verified_root.is_same(root)
        })
    }

    fn remember(&self, root: ExpectedPassword, password: PasswordDigest) {
        *self.verified.lock().unwrap_or_else(PoisonError::into_inner) = Some((root, password));
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
#[path = "check_tests.rs"]
mod tests;
