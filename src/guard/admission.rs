//! The order of all checks of a request, once. HTTP/1, HTTP/2, the fast path and
//! `mocactl key explain` call the same steps:
//!
//! 1. [`admit_address`]: block list → flood count → maintenance.
//! 2. [`AddressAdmitted::admit_headers`], once the route is known: `force_headers` → `referer`.
//! 3. [`HeadersAdmitted::admit_key`]: key → `status` → `ip` → `allowed_path` → `required.headers`.
//! 4. [`KeyAdmitted::admit_parameters`], once the body is read: the key in the body →
//!    `required.args`.
//! 5. [`ParametersAdmitted::check_root_password`].
//!
//! Each step returns a value that only this step can make, and the next step takes it. So no caller
//! can leave a check out or swap two of them. A request counts in the limits of its key
//! ([`Guard::spend`]) after the last check of the key that can refuse it: after step 3, or after
//! step 4 when the key requires arguments or is in the body.
//!
//! The steps do no I/O and read no body. A refused request changes nothing but the counters of its
//! address.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::caller::{Access, Caller, Head, Parameters};
use super::check::{Check, Watch};
use super::checks::{Guard, Spending};
use super::client_addr::ClientAddr;
use super::key::{Key, PathRule};
use super::limits::cost::Cost;
use super::limits::quota::Quota;
use super::refusal::Refusal;
use super::rules::Rules;
use super::{key_check, required_headers};

/// Runs the checks of the address. Every request counts in the flood count, also one that a later
/// check refuses.
///
/// # Errors
/// [`Refusal::Blocked`], [`Refusal::Maintenance`].
pub fn admit_address(caller: &Caller<'_>, watch: &mut impl Watch) -> Result<AddressAdmitted, Refusal> {
    let Caller { guard, rules, client, now } = caller;
    guard.addresses.check_lists(rules, client)?;
    watch.passed(Check::BlockList);
    guard.addresses.check_flood(rules, client, *now)?;
    watch.passed(Check::Flood);
    guard.maintenance.check(rules, client)?;
    watch.passed(Check::Maintenance);
    Ok(AddressAdmitted(()))
}

/// The address of a request was admitted.
#[must_use]
pub struct AddressAdmitted(());

impl AddressAdmitted {
    /// Checks the headers that every request must have, unless the route is public. On the admin
    /// socket no check applies, because its callers were checked when they connected.
    ///
    /// # Errors
    /// [`Refusal::MissingForcedHeader`], [`Refusal::MissingReferer`], [`Refusal::InvalidReferer`].
    pub fn admit_headers(
        self,
        caller: &Caller<'_>,
        access: Access,
        headers: &HeaderMap,
        watch: &mut impl Watch,
    ) -> Result<HeadersAdmitted, Refusal> {
        if access != Access::Public && caller.client != ClientAddr::Local {
            required_headers::check_forced(&caller.rules.system, headers)?;
            watch.passed(Check::ForceHeaders);
            required_headers::check_referer(&caller.rules.system, headers)?;
            watch.passed(Check::Referer);
        }
        Ok(HeadersAdmitted { access })
    }

    /// Admits a request of the fast path, whose key the same checks have admitted before under the
    /// same rules.
    pub fn admit_cached_key(self, key: &AdmittedKey) -> CachedKeyAdmitted<'_> {
        CachedKeyAdmitted(key)
    }
}

/// The headers of a request were admitted.
#[must_use]
pub struct HeadersAdmitted {
    access: Access,
}

impl HeadersAdmitted {
    /// Returns whether the route demands a key.
    #[must_use]
    pub const fn needs_key(&self) -> bool {
        self.access.needs_key()
    }

    /// Checks the key in the query or in a header, if the route demands a key.
    ///
    /// # Errors
    /// The first refusal in the order of [`Check`], from the key to `required.headers`.
    pub fn admit_key(
        self,
        caller: &Caller<'_>,
        head: &Head<'_>,
        watch: &mut impl Watch,
    ) -> Result<KeyAdmitted, Refusal> {
        let access = self.access;
        let is_operator = caller.client == ClientAddr::Local;
        let presented = head.key.and_then(|key| key.on_route(access, caller.rules, head.body_may_hold_key));
        let key = match (access, presented) {
            _ if is_operator => HeadKey::Operator,
            (Access::AdminSocket, _) => return Err(Refusal::PathNotAllowed),
            (Access::Public | Access::Headers, _) => HeadKey::NotNeeded,
            (Access::Key | Access::KeyAndRootPassword, None) if head.body_may_hold_key => HeadKey::InBody,
            (Access::Key | Access::KeyAndRootPassword, presented) => {
                HeadKey::Known(admit_key(caller, head, presented, watch)?)
            }
        };
        Ok(KeyAdmitted { access, key })
    }
}

/// Finds the presented key and checks it against the head.
fn admit_key(
    caller: &Caller<'_>,
    head: &Head<'_>,
    presented: Option<&str>,
    watch: &mut impl Watch,
) -> Result<AdmittedKey, Refusal> {
    let Caller { guard, rules, client, now } = caller;
    let key = guard.find_key(rules, presented, client, *now)?;
    watch.recognized(key);
    watch.passed(Check::Key);
    check_key(key, client, head, watch)
}

/// Checks a key against the head.
fn check_key(
    key: &Arc<Key>,
    client: &ClientAddr,
    head: &Head<'_>,
    watch: &mut impl Watch,
) -> Result<AdmittedKey, Refusal> {
    key_check::check_status(key)?;
    watch.passed(Check::Status);
    key_check::check_ip(key, client)?;
    watch.passed(Check::Ip);
    let rule = key_check::check_path(key, head.paths)?;
    watch.passed(Check::AllowedPath);
    key_check::check_headers(key, head.headers)?;
    watch.passed(Check::RequiredHeaders);
    Ok(AdmittedKey { key: Arc::clone(key), rule, is_counted: false })
}

/// Runs the checks that apply to a sender of a socket that is not HTTP, whose key the configuration
/// names. `is_new` is true for a new connection, which counts in the flood count. A datagram does not,
/// because its address may be forged, and a forger could block any client.
///
/// # Errors
/// [`Refusal::Blocked`], [`Refusal::Maintenance`], [`Refusal::UnknownKey`] without a key,
/// [`Refusal::KeyOffline`], [`Refusal::AddressNotAllowed`].
pub(crate) fn admit_sender<'k>(
    caller: &Caller<'_>,
    key: Option<&'k Arc<Key>>,
    is_new: bool,
) -> Result<SenderAdmitted<'k>, Refusal> {
    let Caller { guard, rules, client, now } = caller;
    guard.addresses.check_lists(rules, client)?;
    if is_new {
        guard.addresses.check_flood(rules, client, *now)?;
    }
    // The maintenance mode lets the operator's socket pass, which this one is not.
    let client_in_maintenance = match client {
        ClientAddr::Local => ClientAddr::Ip(Ipv4Addr::LOCALHOST.into()),
        ClientAddr::Ip(_) => *client,
    };
    guard.maintenance.check(rules, &client_in_maintenance)?;
    let key = key.ok_or(Refusal::UnknownKey)?;
    key_check::check_status(key)?;
    key_check::check_ip(key, client)?;
    Ok(SenderAdmitted(key))
}

/// A sender of a socket that is not HTTP passed every check up to its limits.
#[must_use]
pub(crate) struct SenderAdmitted<'k>(&'k Arc<Key>);

impl SenderAdmitted<'_> {
    /// Returns how many of `wanted` records the limits of the key admit now, counts them, and returns the
    /// refusal of the others. Limits of paths do not apply.
    pub(crate) async fn count(&self, caller: &Caller<'_>, wanted: usize) -> (usize, Option<Refusal>) {
        const NO_PATH: PathRule = PathRule(usize::MAX);
        if self.0.limits(NO_PATH).is_empty() {
            return (wanted, None);
        }
        for admitted in 0..wanted {
            let spending = caller.guard.spend(self.0, NO_PATH, caller.client, Cost::REQUEST, caller.now);
            if let Err(refusal) = spending.decided().await {
                return (admitted, Some(refusal));
            }
        }
        (wanted, None)
    }
}

/// Returns whether maintenance keeps the client out now.
#[must_use]
pub fn is_in_maintenance(guard: &Guard, rules: &Rules, client: &ClientAddr) -> bool {
    guard.maintenance.check(rules, client).is_err()
}

/// Returns whether [`admit_address`] would admit the client now. Counts nothing.
#[must_use]
pub fn would_admit_address(guard: &Guard, rules: &Rules, client: &ClientAddr) -> bool {
    guard.addresses.check_lists(rules, client).is_ok() && guard.maintenance.check(rules, client).is_ok()
}

/// Runs the checks of the key that [`HeadersAdmitted::admit_key`] runs, without counting an unknown
/// key. Returns `None` when one of them refuses.
#[must_use]
pub fn peek_key(caller: &Caller<'_>, head: &Head<'_>) -> Option<AdmittedKey> {
    let key = caller.rules.presented_key(head.key?.on_route(Access::Key, caller.rules, false)?)?;
    check_key(key, &caller.client, head, &mut ()).ok()
}

/// A key that the head of a request was admitted with.
#[derive(Clone)]
pub struct AdmittedKey {
    key: Arc<Key>,
    rule: PathRule,
    /// True when the request was counted in the limits of the key.
    is_counted: bool,
}

impl AdmittedKey {
    /// Returns the key.
    #[must_use]
    pub const fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// Returns whether Redis counts the limits now, so that counting waits for it.
    #[must_use]
    pub fn is_counted_in_redis(&self, guard: &Guard) -> bool {
        guard.is_shared(&self.key, self.rule)
    }
}

/// A request of the fast path passed every check up to its limits.
#[must_use]
pub struct CachedKeyAdmitted<'k>(&'k AdmittedKey);

impl CachedKeyAdmitted<'_> {
    /// Counts the request in the limits of its key, in memory.
    ///
    /// # Errors
    /// [`Refusal::TooManyRequests`].
    pub fn count(self, caller: &Caller<'_>, cost: Cost) -> Result<Quota, Refusal> {
        caller.guard.spend_in_memory(&self.0.key, self.0.rule, &caller.client, cost, caller.now)
    }
}

/// The key in the head of a request was admitted, or the head needs none.
#[must_use]
pub struct KeyAdmitted {
    access: Access,
    key: HeadKey,
}

/// The key of a request after the checks of its head.
enum HeadKey {
    /// The route needs none.
    NotNeeded,
    /// The request came through the admin socket.
    Operator,
    /// Only the body can hold it.
    InBody,
    /// The key in the query or in a header.
    Known(AdmittedKey),
}

impl KeyAdmitted {
    /// Returns whether the checks of the head are enough to trust the caller with a large body.
    #[must_use]
    pub const fn is_keyed(&self) -> bool {
        !matches!(self.key, HeadKey::InBody)
    }

    /// Returns the key that the head named.
    pub(crate) const fn key_of_head(&self) -> Option<&Arc<Key>> {
        match &self.key {
            HeadKey::Known(key) => Some(&key.key),
            _ => None,
        }
    }

    /// Returns how long a limit of the key in the head is used up. Counts nothing.
    pub(crate) fn used_up_for(&self, caller: &Caller<'_>) -> Option<Duration> {
        match &self.key {
            HeadKey::Known(key) => caller.guard.used_up_for(&key.key, key.rule, &caller.client, caller.now),
            _ => None,
        }
    }

    /// Counts the request in the limits of its key. Does nothing, and returns `None`, while a
    /// required argument or a key in the body may still refuse the request.
    pub fn count<'a>(&mut self, caller: &Caller<'a>, cost: Cost) -> Option<Spending<'a>> {
        match &mut self.key {
            HeadKey::Known(key) if key.key.entry.required_args.is_empty() => count(key, caller, cost),
            _ => None,
        }
    }

    /// Checks the key in the body, which decides although a key in the head must be valid too, and
    /// the required arguments.
    ///
    /// # Errors
    /// The first refusal in the order of [`Check`], from the key to `required.args`.
    pub fn admit_parameters(
        &self,
        caller: &Caller<'_>,
        head: &Head<'_>,
        parameters: &dyn Parameters,
        watch: &mut impl Watch,
    ) -> Result<ParametersAdmitted, Refusal> {
        let needs_root_password = self.access == Access::KeyAndRootPassword;
        let in_body = match &self.key {
            HeadKey::NotNeeded => return Err(Refusal::MissingKey),
            HeadKey::Operator => {
                let operator = Arc::clone(caller.rules.operator());
                watch.recognized(&operator);
                let key = AdmittedKey { key: operator, rule: PathRule(0), is_counted: true };
                return Ok(ParametersAdmitted { key, needs_root_password: false });
            }
            HeadKey::InBody => parameters.key_in_body().or_else(|| parameters.key()),
            HeadKey::Known(_) => parameters.key_in_body(),
        };
        let key = match (&self.key, in_body) {
            (HeadKey::Known(key), None) => key.clone(),
            (HeadKey::Known(key), Some(presented)) if key.is(caller.rules, &presented) => key.clone(),
            (_, presented) => admit_key(caller, head, presented.as_deref(), watch)?,
        };
        if !key.is_counted {
            key_check::check_args(&key.key, &|name| parameters.text(name))?;
        }
        watch.passed(Check::RequiredArgs);
        Ok(ParametersAdmitted { key, needs_root_password })
    }
}

impl AdmittedKey {
    /// Returns whether `presented` is this key.
    fn is(&self, rules: &Rules, presented: &str) -> bool {
        rules.presented_key(presented).is_some_and(|key| Arc::ptr_eq(key, &self.key))
    }
}

/// The key and the required arguments of a request were admitted.
#[must_use]
pub struct ParametersAdmitted {
    key: AdmittedKey,
    needs_root_password: bool,
}

impl ParametersAdmitted {
    /// Counts the request in the limits of its key, or returns `None` when it was counted already.
    pub fn count<'a>(&mut self, caller: &Caller<'a>, cost: Cost) -> Option<Spending<'a>> {
        count(&mut self.key, caller, cost)
    }

    /// Returns the key.
    #[must_use]
    pub const fn key(&self) -> &Arc<Key> {
        &self.key.key
    }

    /// Returns the entry of `allowed_path` that admitted the request. `None` on the admin socket.
    #[must_use]
    pub fn allowed_path(&self) -> Option<&str> {
        self.key.key.entry.allowed_path.get(self.key.rule.0).map(|allowed| allowed.path.as_str())
    }

    /// Returns whether the route demands the root password of this caller.
    #[must_use]
    pub const fn needs_root_password(&self) -> bool {
        self.needs_root_password
    }

    /// Checks the root password, when the route demands one, and returns the key.
    ///
    /// # Errors
    /// [`Refusal::InvalidRootPassword`]; [`Refusal::TooManyRequests`] after too many wrong ones.
    pub async fn check_root_password(
        self,
        caller: &Caller<'_>,
        presented: Option<&str>,
    ) -> Result<Arc<Key>, Refusal> {
        if self.needs_root_password {
            caller.guard.check_root(caller.rules, presented, &caller.client, caller.now).await?;
        }
        Ok(self.key.key)
    }
}

/// Counts a request in the limits of its key, once.
fn count<'a>(key: &mut AdmittedKey, caller: &Caller<'a>, cost: Cost) -> Option<Spending<'a>> {
    if std::mem::replace(&mut key.is_counted, true) {
        return None;
    }
    let Caller { guard, client, now, .. } = *caller;
    Some(guard.spend(&key.key, key.rule, client, cost, now))
}
