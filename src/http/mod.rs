//! HTTP: from an accepted connection to an answer. Knows nothing of systemd.
//!
//! A request goes through `listener` (sockets, how many connections) → `tls` where that is on → `connection` (one
//! connection, its times) and `stream` (its bytes), or `http2` (one connection, its streams) → `service` (the order of the checks) → `call` (an admitted request: body, parameters, rest of
//! the key's checks) → `routes` and a handler (`save`, `read`, `download`, `clear`) → the store → the answer.

mod access_log;
mod admin;
mod alarm;
mod answer;
mod batch;
mod body;
mod call;
mod clear;
mod connection;
mod decode;
mod download;
mod express;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod http2;
mod json;
mod listener;
mod metrics;
#[doc(hidden)]
pub mod micro;
mod multipart;
mod offload;
mod openapi;
mod output;
mod page;
mod params;
mod peer;
mod phase;
mod policy;
mod problem;
mod read;
mod records;
mod route;
mod routes;
mod save;
mod scan;
mod sealed;
mod search;
mod selection;
mod service;
mod stream;
mod tail;
mod tally;
mod tls;
mod trace;
mod wire;

pub use access_log::AccessLog;
pub use listener::{Listeners, Socket};
pub use policy::Policy;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio_util::sync::CancellationToken;

use crate::config::LogName;
use crate::guard::Guard;
use crate::store::LogStore;
use crate::tls::Identity;

/// What all connections of an instance share.
pub struct App {
    /// the name of the log
    pub name: LogName,
    /// where records go
    pub store: Arc<dyn LogStore>,
    /// who may do what
    pub guard: Arc<Guard>,
    /// what the operator wants to know of the process
    pub vitals: Vitals,
    policy: ArcSwap<Policy>,
    access_log: Option<AccessLog>,
    explainer: trace::Explainer,
    identity: ArcSwapOption<Identity>,
    budget: Arc<body::Budget>,
    searches: Arc<search::Searches>,
    offload: offload::Offload,
    /// no more requests are taken: what never ends by itself ends
    draining: CancellationToken,
    followers: tail::Followers,
}

/// The state of the process.
pub struct Vitals {
    /// where it listens
    addresses: Vec<String>,
    started: Instant,
    began: SystemTime,
    connections: AtomicUsize,
    tally: tally::Tally,
    /// when the configuration in force was read, Unix time
    reloaded: AtomicU64,
    /// why the configuration files as they are now are not in force
    pub reload_refused: ArcSwapOption<String>,
}

impl App {
    /// An instance of the log `name`.
    #[must_use]
    pub fn new(
        name: LogName,
        store: Arc<dyn LogStore>,
        guard: Arc<Guard>,
        policy: Policy,
        addresses: Vec<String>,
    ) -> Self {
        let began = SystemTime::now();
        let vitals = Vitals {
            addresses,
            started: Instant::now(),
            began,
            connections: AtomicUsize::new(0),
            tally: tally::Tally::default(),
            reloaded: AtomicU64::new(metrics::seconds(began)),
            reload_refused: ArcSwapOption::empty(),
        };
        Self {
            name,
            store,
            guard,
            vitals,
            policy: ArcSwap::from_pointee(policy),
            identity: ArcSwapOption::empty(),
            access_log: None,
            explainer: trace::Explainer::default(),
            budget: Arc::default(),
            searches: Arc::default(),
            offload: offload::Offload::new(),
            draining: CancellationToken::new(),
            followers: tail::Followers::default(),
        }
    }

    /// Gives it an access log, which is written while the policy in force wants one.
    #[must_use]
    pub fn with_access_log(mut self, access_log: AccessLog) -> Self {
        access_log.switch(self.policy().access_log);
        self.access_log = Some(access_log);
        self
    }

    /// Writes the rest of the access log; none is written any more. Blocks, for at most `patience`.
    pub fn close_access_log(&self, patience: Duration) {
        if let Some(access_log) = &self.access_log {
            access_log.close(patience);
        }
    }

    /// Puts another configuration into force, for the requests that begin from now on.
    pub fn apply(&self, policy: Policy) {
        if let Some(access_log) = &self.access_log {
            access_log.switch(policy.access_log);
        }
        self.policy.store(Arc::new(policy));
        self.vitals.reloaded.store(metrics::seconds(SystemTime::now()), Ordering::Relaxed);
    }

    /// Counts a request that is not served.
    fn count(&self, problem: &problem::Problem) {
        self.vitals.tally.refused(problem.counted());
    }

    /// TCP connections that are accepted from now on speak TLS as `identity`, or plain HTTP without one. Those that
    /// exist stay as they are.
    pub fn identify(&self, identity: Option<Arc<Identity>>) {
        self.identity.store(identity);
    }

    /// What TCP connections speak TLS as.
    #[must_use]
    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.identity.load_full()
    }

    /// Where it listens, as a person would write it.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        let scheme = if self.identity.load().is_some() { "https://" } else { "http://" };
        let shown = |address: &String| address.replacen("http://", scheme, 1);
        self.vitals.addresses.iter().map(shown).collect()
    }

    /// The configuration in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }
}
