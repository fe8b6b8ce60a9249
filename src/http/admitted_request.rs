//! One admitted request: who asks, under which configuration, and the steps that remain: body, parameters, what is
//! left of the key's checks, root password.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Method, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use super::app::App;
use super::connection::state::ConnectionState;
use super::observe::request_trace::{Part, Trace, time_stage};
use super::policy::Policy;
use super::request::body::{BodyLimits, Collected, collect};
use super::request::decompress::{Codings, decode};
use super::request::decrypt;
use super::request::decrypt::Decryption;
use super::request::params::{BodyKind, Params};
use super::request::search_limit::Search;
use super::response::problem::Problem;
use super::route::Route;
use crate::guard::{ClientAddr, Key, PathRule, Quota, Refusal};
use crate::ingest::multipart;

/// See the module.
pub(crate) struct AdmittedRequest {
    pub(crate) app: Arc<App>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) state: Arc<ConnectionState>,
    /// where somebody wants to know
    pub(crate) trace: Option<Arc<Trace>>,
    pub(crate) client: ClientAddr,
    pub(crate) route: Route,
    pub(crate) parts: Parts,
    body: Mutex<Option<Incoming>>,
    /// the key, when it stood in the query or a header
    early: Option<EarlyKey>,
    quota: OnceLock<Quota>,
}

/// A request that was not admitted.
pub(crate) struct Refused {
    pub(crate) problem: Problem,
    pub(crate) quota: Option<Quota>,
    /// which nobody read
    pub(crate) body: Option<Incoming>,
}

struct EarlyKey {
    key: Arc<Key>,
    rule: PathRule,
    spent: Spent,
}

/// Whether the limits of a key that came early were spent: then nothing of its checks is left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spent {
    Yes,
    /// a parameter of the body may refuse the request before
    NotYet,
    /// only Redis can tell: [`AdmittedRequest::settle`] does it before a handler has the call
    Owed,
}

/// A body with what it means.
pub(crate) struct Input {
    collected: Collected,
    kind: BodyKind,
    seal: Decryption,
}

/// Bodies up to this size are read on the event loop: a millisecond at most.
const READ_INLINE: usize = 256 * 1024;

impl AdmittedRequest {
    /// Checks the key as far as it can be without the body, before a byte of it is read.
    #[expect(clippy::too_many_arguments, reason = "the parts of a request, each of another type")]
    pub(crate) fn admit(
        app: Arc<App>,
        policy: Arc<Policy>,
        state: Arc<ConnectionState>,
        trace: Option<Arc<Trace>>,
        client: ClientAddr,
        route: Route,
        parts: Parts,
        body: Incoming,
    ) -> Result<Self, Box<Refused>> {
        let mut call = Self {
            app,
            policy,
            state,
            trace,
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
        self.recognised(key);
        let rule = self.check_key(key)?;
        let spent = if !key.entry.required_args.is_empty() {
            Spent::NotYet
        } else if self.app.guard.is_shared(key, rule) {
            Spent::Owed
        } else {
            self.note(self.app.guard.spend(key, rule, &self.client, now))?;
            Spent::Yes
        };
        Ok(Some(EarlyKey { key: Arc::clone(key), rule, spent }))
    }

    fn recognised(&self, key: &Arc<Key>) {
        if let Some(trace) = &self.trace {
            trace.recognised(key);
        }
    }

    fn may_have_params(&self) -> bool {
        let headers = &self.parts.headers;
        if self.state.has_unread_body() {
            BodyKind::of(headers) != BodyKind::Other
        } else {
            // No body can't be decrypted, whoever sends it.
            decrypt::is_announced(headers)
        }
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

    /// Spends what [`AdmittedRequest::admit`] could not on the spot; to be awaited before anything else where [`AdmittedRequest::owes`].
    pub(crate) async fn settle(&self) -> Result<(), Refused> {
        let Some(early) = self.early.as_ref().filter(|early| early.spent == Spent::Owed) else {
            return Ok(());
        };
        let outcome = self.app.guard.spend_shared(&early.key, early.rule, &self.client, Instant::now()).await;
        self.note(outcome).map_err(|problem| Refused {
            problem,
            quota: self.quota().cloned(),
            body: self.body.lock().unwrap_or_else(PoisonError::into_inner).take(),
        })
    }

    pub(crate) fn owes(&self) -> bool {
        self.early.as_ref().is_some_and(|early| early.spent == Spent::Owed)
    }

    async fn spend(&self, key: &Key, rule: PathRule, now: Instant) -> Result<(), Problem> {
        let guard = &self.app.guard;
        self.note(if guard.is_shared(key, rule) {
            // Boxed, so that requests without Redis do not carry its future along.
            Box::pin(guard.spend_shared(key, rule, &self.client, now)).await
        } else {
            guard.spend(key, rule, &self.client, now)
        })
    }

    /// Keeps for the answer what is left of the limits.
    fn note(&self, outcome: Result<Quota, Refusal>) -> Result<(), Problem> {
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
    pub(crate) fn quota(&self) -> Option<&Quota> {
        self.quota.get()
    }

    /// Reads the body.
    pub(crate) async fn input(&self) -> Result<Input, Problem> {
        let headers = &self.parts.headers;
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner).take();
        let http = &self.policy.files.http;
        let keyed = self.early.is_some() || self.client == ClientAddr::Local;
        let caps = BodyLimits { body: http.request_max_size, memory: http.max_body_memory, keyed };
        let Some(mut body) = body else { return Err(Problem::bad_request("The body was read already.")) };
        let codings = if body.is_end_stream() { Ok(Codings::default()) } else { Codings::of(headers) };
        let codings = match codings {
            Ok(codings) => codings,
            Err(problem) => {
                self.state.leave(body);
                return Err(problem);
            }
        };
        let mut collected = match collect(&mut body, caps, &self.app.budget, &self.state).await {
            Ok(collected) => collected,
            Err(problem) => {
                self.state.leave(body);
                return Err(problem);
            }
        };
        // Boxed: neither is in the way of the usual request.
        if !codings.is_empty() && !collected.bytes.is_empty() {
            collected = Box::pin(decode(collected, codings, caps, &self.app.cpu_pool)).await?;
        }
        let mut seal = Decryption::None;
        if decrypt::is_announced(headers) {
            let secret = self.policy.files.server.pyjs_secret.as_ref();
            let decrypted = Box::pin(decrypt::decrypt(collected, secret, caps, &self.app.cpu_pool)).await?;
            (collected, seal) = decrypted;
        }
        Ok(Input { collected, kind: BodyKind::of(headers), seal })
    }

    /// Reads the body and finishes the request with it: off the event loop, where the body is so large that reading it
    /// would hold up others.
    pub(crate) async fn with_input<T, F>(
        self: &Arc<Self>,
        finish: impl FnOnce(Arc<Self>, Input) -> F,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let input = time_stage(self.trace.as_ref(), Part::Body, self.input()).await?;
        let is_large = input.collected.bytes.len() > READ_INLINE;
        let rest = finish(Arc::clone(self), input);
        if is_large { self.app.cpu_pool.drive(Box::pin(rest)).await? } else { rest.await }
    }

    /// The request is answered: a body that nobody asked for is left to the stream.
    pub(crate) fn leave_body(&self) {
        if let Some(body) = self.body.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.state.leave(body);
        }
    }

    /// The parameters from everywhere.
    pub(crate) fn params<'a>(&'a self, input: &'a Input) -> Result<Params<'a>, Problem> {
        let read = self.read_params(input);
        if input.seal == Decryption::None {
            return read;
        }
        let has_parameters = read.as_ref().is_ok_and(Params::body_has_parameters);
        let genuine = decrypt::is_genuine(input.kind, &input.collected.bytes, has_parameters);
        match read {
            Ok(params) if genuine && input.seal == Decryption::Whole => Ok(params),
            _ => Err(decrypt::undecryptable()),
        }
    }

    fn read_params<'a>(&'a self, input: &'a Input) -> Result<Params<'a>, Problem> {
        let params = Params::without_body(self.parts.uri.query(), &self.parts.headers)?;
        let body = &input.collected.bytes;
        if input.kind == BodyKind::Multipart {
            return Ok(params.with_parts(multipart::fields(&self.parts.headers, body)?));
        }
        match self.route {
            Route::SaveLogs => params.with_batch(input.kind, body),
            _ => params.with_body(input.kind, body),
        }
    }

    /// Finishes the checks of the key, and of the root password where the route is behind it; waits the key's delay.
    ///
    /// Who may speak on the admin socket was decided when the connection came: no key, no password.
    pub(crate) async fn authorize(&self, params: &Params<'_>) -> Result<Arc<Key>, Problem> {
        time_stage(self.trace.as_ref(), Part::Auth, self.finish_checks(params)).await
    }

    async fn finish_checks(&self, params: &Params<'_>) -> Result<Arc<Key>, Problem> {
        if self.client == ClientAddr::Local {
            self.recognised(&self.policy.operator);
            return Ok(Arc::clone(&self.policy.operator));
        }
        let now = Instant::now();
        let find = |presented: Option<&str>| {
            let found = self.app.guard.find_key(&self.policy.rules, presented, &self.client, now);
            found.inspect(|key| self.recognised(key)).map_err(Problem::from)
        };
        // The body is the stronger source: its key decides, though the other one had to be good to come this far.
        let stronger = params.key_in_body().map(|presented| find(Some(&presented))).transpose()?;
        let (key, rule, spent) = match (&self.early, stronger) {
            (Some(early), None) => (Arc::clone(&early.key), early.rule, early.spent),
            (Some(early), Some(found)) if Arc::ptr_eq(found, &early.key) => {
                (Arc::clone(found), early.rule, early.spent)
            }
            (_, Some(found)) => (Arc::clone(found), self.check_key(found)?, Spent::NotYet),
            (None, None) => {
                let found = find(params.api_key().as_deref())?;
                (Arc::clone(found), self.check_key(found)?, Spent::NotYet)
            }
        };
        if spent == Spent::NotYet {
            let value_of = |name: &str| params.text(name);
            if let Err(refusal) = self.app.guard.check_args(&key, &value_of) {
                if let Some(trace) = &self.trace {
                    trace.missing_args(|| self.app.guard.missing_args(&key, &value_of));
                }
                return Err(refusal.into());
            }
            self.spend(&key, rule, now).await?;
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

    /// Reads the body and finishes the checks of an operator's route: the key and the root password.
    pub(crate) async fn authorize_operator(self: &Arc<Self>) -> Result<(), Problem> {
        async fn authorize(call: Arc<AdmittedRequest>, input: Input) -> Result<(), Problem> {
            let params = call.params(&input)?;
            call.authorize(&params).await.map(|_| ())
        }
        self.with_input(authorize).await
    }

    /// Begins a search for this request.
    ///
    /// # Errors
    /// 503 while as many searches are under way as `max_searches` allows.
    pub(crate) fn begin_search(&self) -> Result<Search, Problem> {
        Search::begin(&self.app.searches, self.policy.files.http.max_searches, &self.state)
    }

    /// HEAD is checked like GET and changes nothing.
    pub(crate) fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }
}
