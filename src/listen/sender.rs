//! Checks the senders of one socket, and tells the operator of each refusal.

use std::sync::Arc;
use std::time::Instant;

use crate::config::{Listen, ListenAddress};
use crate::guard::{Caller, ClientAddr, Key, Refusal, admit_sender};
use crate::http::{App, Origin, Policy, Problem};
use crate::ingest::body::stream::stream_rules;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::socket_dialect::{SocketDialect, SocketError};
use crate::store::StoreError;

/// The senders of one socket.
#[derive(Clone)]
pub(super) struct Senders {
    pub(super) app: Arc<App>,
    pub(super) dialect: &'static dyn SocketDialect,
    /// The element of `listen` as it was when the socket was opened.
    listen: Arc<Listen>,
}

/// The configuration in force, as far as it concerns the senders of one socket.
#[derive(Clone)]
pub(super) struct SenderRules {
    pub(super) policy: Arc<Policy>,
    /// The element of `listen`.
    pub(super) listen: Listen,
    /// `None`: no key has the configured name.
    key: Option<Arc<Key>>,
}

impl Senders {
    pub(super) fn new(app: Arc<App>, listen: Listen, dialect: &'static dyn SocketDialect) -> Self {
        Self { app, dialect, listen: Arc::new(listen) }
    }

    /// Returns the rules in force.
    pub(super) fn rules(&self) -> SenderRules {
        let policy = self.app.policy();
        let mut now = policy.log.listen.iter();
        let listen = now.find(|listen| listen.is_same_socket(&self.listen)).unwrap_or(&self.listen).clone();
        let entry = policy.files.keys.iter().find(|key| key.name == listen.key);
        let key = entry.and_then(|entry| policy.rules().key_of(entry)).cloned();
        SenderRules { policy, listen, key }
    }

    /// Replaces `rules` when another configuration is in force.
    pub(super) fn refresh(&self, rules: &mut SenderRules) {
        if !Arc::ptr_eq(&self.app.policy.load(), &rules.policy) {
            *rules = self.rules();
        }
    }

    /// Returns whether connections begin with a TLS handshake.
    pub(super) fn needs_tls(&self) -> bool {
        matches!(self.listen.on, ListenAddress::Tls(_))
    }

    /// Counts messages that are not stored, and keeps the refusal for the operator.
    pub(super) fn refuse(&self, rules: &SenderRules, client: ClientAddr, problem: &Problem, times: usize) {
        let origin = Origin {
            client,
            key: Some(&rules.listen.key),
            method: Some(self.transport()),
            route: Some(self.dialect.name()),
        };
        self.app.on_refused_times(&origin, problem, times as u64);
    }

    fn transport(&self) -> &'static str {
        match &self.listen.on {
            ListenAddress::Udp(_) => "UDP",
            ListenAddress::Tcp(_) => "TCP",
            ListenAddress::Tls(_) => "TLS",
            ListenAddress::Unix(_) | ListenAddress::UnixStream(_) => "UNIX",
        }
    }

    /// Returns why records cannot be stored now.
    pub(super) fn store_failure(&self) -> Option<StoreError> {
        self.app.store.failure()
    }
}

impl SenderRules {
    /// Returns the KEY field of lines.
    pub(super) fn key_name(&self) -> &str {
        &self.listen.key
    }

    /// Returns how messages are read.
    pub(super) fn read_rules(&self) -> ReadRules<'_> {
        stream_rules(&ReadRules::new(&self.policy.log, self.key.as_ref().map(|key| &key.entry)))
    }

    fn caller<'a>(&'a self, senders: &'a Senders, client: ClientAddr) -> Caller<'a> {
        Caller { guard: &senders.app.guard, rules: self.policy.rules(), client, now: Instant::now() }
    }

    /// Runs the checks of a sender up to its limits.
    pub(super) fn admit(&self, senders: &Senders, client: ClientAddr, is_new: bool) -> Result<(), Refusal> {
        admit_sender(&self.caller(senders, client), self.key.as_ref(), is_new).map(drop)
    }

    /// Runs the checks of a sender, and counts `wanted` records in the limits of the key. Returns how many
    /// are admitted, and the refusal of the others.
    pub(super) async fn count(
        &self,
        senders: &Senders,
        client: ClientAddr,
        wanted: usize,
    ) -> (usize, Option<Refusal>) {
        let caller = self.caller(senders, client);
        match admit_sender(&caller, self.key.as_ref(), false) {
            Ok(admitted) => admitted.count(&caller, wanted).await,
            Err(refusal) => (0, Some(refusal)),
        }
    }
}

/// Returns the problem of bytes that cannot be understood.
pub(super) fn problem_of(error: SocketError) -> Problem {
    match error {
        SocketError::Malformed(_) => Problem::bad_request(error.to_string()),
        SocketError::TooLarge(_) => Problem::new(http::StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
        SocketError::Denied(_) => Problem::new(http::StatusCode::FORBIDDEN, error.to_string()),
    }
}
