//! One admitted request: who asks, under which configuration, and the steps that remain: body, parameters, what is
//! left of the key's checks, root password.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::header::CONTENT_ENCODING;
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::body::Incoming;

use super::App;
use super::body::{Caps, Collected, collect};
use super::multipart;
use super::params::{BodyKind, Params};
use super::phase::ConnState;
use super::policy::Policy;
use super::problem::Problem;
use super::route::Route;
use crate::guard::{ClientAddr, Key, PathRule, Quota};

/// See the module.
pub(super) struct Call {
    pub(super) app: Arc<App>,
    pub(super) policy: Arc<Policy>,
    pub(super) state: Arc<ConnState>,
    pub(super) client: ClientAddr,
    pub(super) route: Route,
    pub(super) parts: Parts,
    body: Mutex<Option<Incoming>>,
    /// the key, when it stood in the query or a header
    early: Option<EarlyKey>,
    quota: OnceLock<Quota>,
}

/// A request that was not admitted.
pub(super) struct Refused {
    pub(super) problem: Problem,
    pub(super) quota: Option<Quota>,
    /// which nobody read
    pub(super) body: Option<Incoming>,
}

struct EarlyKey {
    key: Arc<Key>,
    rule: PathRule,
    /// its limits were spent: nothing of its checks is left
    spent: bool,
}

/// A body with what it means.
pub(super) struct Input {
    collected: Collected,
    kind: BodyKind,
}

impl Call {
    /// Checks the key as far as it can be without the body, before a byte of it is read.
    pub(super) fn admit(
        app: Arc<App>,
        policy: Arc<Policy>,
        state: Arc<ConnState>,
        client: ClientAddr,
        route: Route,
        parts: Parts,
        body: Incoming,
    ) -> Result<Self, Box<Refused>> {
        let mut call = Self {
            app,
            policy,
            state,
            client,
            route,
            parts,
            body: Mutex::new(Some(body)),
            early: None,
            quota: OnceLock::new(),
        };
        match call.admit_early() {
            Ok(early) => {
                call.early = early;
                Ok(call)
            }
            Err(problem) => Err(Box::new(Refused {
                problem,
                quota: call.quota.take(),
                body: call.body.into_inner().unwrap_or_else(PoisonError::into_inner),
            })),
        }
    }

    fn admit_early(&self) -> Result<Option<EarlyKey>, Problem> {
        if self.client == ClientAddr::Local {
            return Ok(None);
        }
        let params = Params::without_body(self.parts.uri.query(), &self.parts.headers)?;
        let Some(presented) = params.api_key() else {
            // Where no body can hold a key, none is read.
            return if self.may_have_params() { Ok(None) } else { Err(self.unknown_key(None)) };
        };
        let now = Instant::now();
        let rules = &self.policy.rules;
        let key = self.app.guard.find_key(rules, Some(&presented), &self.client, now)?;
        let rule = self.check_key(key)?;
        let spent = key.entry.required_args.is_empty();
        if spent {
            self.spend(key, rule, now)?;
        }
        Ok(Some(EarlyKey { key: Arc::clone(key), rule, spent }))
    }

    fn may_have_params(&self) -> bool {
        BodyKind::of(&self.parts.headers) != BodyKind::Other && self.state.has_unread_body()
    }

    fn unknown_key(&self, presented: Option<&str>) -> Problem {
        match self.app.guard.find_key(&self.policy.rules, presented, &self.client, Instant::now()) {
            Err(refusal) => refusal.into(),
            Ok(_) => Problem::new(StatusCode::UNAUTHORIZED, "Missing API-KEY."),
        }
    }

    fn check_key(&self, key: &Key) -> Result<PathRule, Problem> {
        let paths = self.policy.paths(self.route);
        Ok(self.app.guard.check_key(key, &self.client, &paths, &self.parts.headers)?)
    }

    fn spend(&self, key: &Key, rule: PathRule, now: Instant) -> Result<(), Problem> {
        let outcome = self.app.guard.spend(key, rule, &self.client, now);
        let (quota, outcome) = match outcome {
            Ok(quota) => (quota, Ok(())),
            Err(refusal) => match refusal.quota() {
                Some(quota) => (quota.clone(), Err(refusal.into())),
                None => return Err(refusal.into()),
            },
        };
        // Spent once a request: a second value can't come.
        drop(self.quota.set(quota));
        outcome
    }

    /// What is left of the key's limits, for the answer.
    pub(super) fn quota(&self) -> Option<&Quota> {
        self.quota.get()
    }

    /// Reads the body.
    pub(super) async fn input(&self) -> Result<Input, Problem> {
        let headers = &self.parts.headers;
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner).take();
        let http = &self.policy.files.http;
        let keyed = self.early.is_some() || self.client == ClientAddr::Local;
        let caps = Caps { body: http.request_max_size, memory: http.max_body_memory, keyed };
        let Some(mut body) = body else { return Err(Problem::bad_request("The body was read already.")) };
        if headers.contains_key("moca-encryption") {
            return Err(Problem::bad_request("The body can't be decrypted."));
        }
        if headers
            .get(CONTENT_ENCODING)
            .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            let detail = "This Content-Encoding is not supported.";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let collected = match collect(&mut body, caps, &self.app.budget, &self.state).await {
            Ok(collected) => collected,
            Err(problem) => {
                self.state.leave(body);
                return Err(problem);
            }
        };
        let kind = BodyKind::of(headers);
        Ok(Input { collected, kind })
    }

    /// The request is answered: a body that nobody asked for is left to the stream.
    pub(super) fn leave_body(&self) {
        if let Some(body) = self.body.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.state.leave(body);
        }
    }

    /// The parameters from everywhere.
    pub(super) fn params<'a>(&'a self, input: &'a Input) -> Result<Params<'a>, Problem> {
        let params = Params::without_body(self.parts.uri.query(), &self.parts.headers)?;
        let body = &input.collected.bytes;
        if input.kind == BodyKind::Multipart {
            return Ok(params.with_parts(multipart::fields(&self.parts.headers, body)?));
        }
        params.with_body(input.kind, body)
    }

    /// Finishes the checks of the key, and of the root password where the route is behind it; waits the key's delay.
    ///
    /// Who may speak on the admin socket was decided when the connection came: no key, no password.
    pub(super) async fn authorize(&self, params: &Params<'_>) -> Result<Arc<Key>, Problem> {
        if self.client == ClientAddr::Local {
            return Ok(Arc::clone(&self.policy.operator));
        }
        let now = Instant::now();
        let find = |presented: Option<&str>| {
            self.app.guard.find_key(&self.policy.rules, presented, &self.client, now).map_err(Problem::from)
        };
        // The body is the stronger source: its key decides, though the other one had to be good to come this far.
        let stronger = params.key_in_body().map(|presented| find(Some(&presented))).transpose()?;
        let (key, rule, spent) = match (&self.early, stronger) {
            (Some(early), None) => (Arc::clone(&early.key), early.rule, early.spent),
            (Some(early), Some(found)) if Arc::ptr_eq(found, &early.key) => {
                (Arc::clone(found), early.rule, early.spent)
            }
            (_, Some(found)) => (Arc::clone(found), self.check_key(found)?, false),
            (None, None) => {
                let found = find(params.api_key().as_deref())?;
                (Arc::clone(found), self.check_key(found)?, false)
            }
        };
        if !spent {
            self.app.guard.check_args(&key, &|name| params.text(name))?;
            self.spend(&key, rule, now)?;
        }
        if self.route.needs_root() {
            let presented = params.root_pass();
            self.app.guard.check_root(&self.policy.rules, presented.as_deref(), &self.client, now).await?;
        }
        if key.entry.delay > Duration::ZERO {
            tokio::time::sleep(key.entry.delay).await;
        }
        Ok(key)
    }

    /// HEAD is checked like GET and changes nothing.
    pub(super) fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }
}
