//! Holds one admitted request and runs its remaining steps.
//!
//! These steps are the body, the parameters, the checks of the key that need them, and the root
//! password.

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
use super::request::read_params::READ_PARAMETERS;
use super::request::search_limit::Search;
use super::response::problem::Problem;
use super::route::Route;
use crate::guard::{ClientAddr, Key, PathRule, Quota, Refusal};
use crate::ingest::error::IngestError;
use crate::ingest::multipart;
use crate::ingest::params::{BodyKind, Params};

/// Holds a request that has passed all checks before its body.
pub(crate) struct AdmittedRequest {
    pub(crate) app: Arc<App>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) state: Arc<ConnectionState>,
    /// Set while the access log or `debug` is on.
    pub(crate) trace: Option<Arc<Trace>>,
    pub(crate) client: ClientAddr,
    pub(crate) route: Route,
    pub(crate) parts: Parts,
    /// The body, until a handler takes it.
    body: Mutex<Option<Incoming>>,
    /// The key from the query or a header.
    head_key: Option<HeadKey>,
    /// The remaining quota of the key, set when the request is counted.
    quota: OnceLock<Quota>,
}

/// Holds the problem of a refused request, its quota, and its unread body.
pub(crate) struct RefusedRequest {
    pub(crate) problem: Problem,
    pub(crate) quota: Option<Quota>,
    /// The unread body.
    pub(crate) body: Option<Incoming>,
}

/// Holds a valid key from the query or a header.
struct HeadKey {
    key: Arc<Key>,
    rule: PathRule,
    limits: LimitState,
}

/// Says how far the limits of a key are checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LimitState {
    /// The request has been counted, so all checks of the key are done.
    Spent,
    /// The parameters come first, because a missing one must refuse the request before it is
    /// counted.
    AfterParameters,
    /// The limits are in Redis. [`AdmittedRequest::spend_shared_limits`] checks them before the
    /// handler runs.
    Shared,
}

/// Holds a body that was read, its format, and whether it was decrypted.
pub(crate) struct Input {
    collected: Collected,
    kind: BodyKind,
    decryption: Decryption,
}

impl Input {
    /// Returns the body, decompressed and decrypted.
    pub(crate) fn body(&self) -> &[u8] {
        &self.collected.bytes
    }
}

/// Maximum size of a body that the event loop parses itself. Parsing it takes 1 ms at most.
const MAX_INLINE_BODY_BYTES: usize = 256 * 1024;

impl AdmittedRequest {
    /// Checks the key as far as that is possible without the body.
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
    ) -> Result<Self, Box<RefusedRequest>> {
        let mut request = Self {
            app,
            policy,
            state,
            trace,
            client,
            route,
            parts,
            body: Mutex::new(Some(body)),
            head_key: None,
            quota: OnceLock::new(),
        };
        match request.admit_head_key() {
            Ok(head_key) => {
                request.head_key = head_key;
                Ok(request)
            }
            Err(problem) => Err(Box::new(RefusedRequest {
                problem,
                quota: request.quota.take(),
                body: request.body.into_inner().unwrap_or_else(PoisonError::into_inner),
            })),
        }
    }

    /// Checks a key from the query or a header. Returns `None` when only the body can hold one.
    fn admit_head_key(&self) -> Result<Option<HeadKey>, Problem> {
        if self.client == ClientAddr::Local {
            return Ok(None);
        }
        let params = Params::without_body(self.parts.uri.query(), &self.parts.headers)?;
        let Some(presented) = params.api_key() else {
            // A key may still be in the body. A body that cannot hold one is not read.
            return if self.can_have_parameters() { Ok(None) } else { Err(self.unknown_key(None)) };
        };
        let now = Instant::now();
        let rules = &self.policy.rules;
        let key = self.app.guard.find_key(rules, Some(&presented), &self.client, now)?;
        self.trace_key(key);
        let rule = self.check_key(key)?;
        let limits = if !key.entry.required_args.is_empty() {
            LimitState::AfterParameters
        } else if self.app.guard.is_shared(key, rule) {
            LimitState::Shared
        } else {
            self.keep_quota(self.app.guard.spend(key, rule, &self.client, now))?;
            LimitState::Spent
        };
        Ok(Some(HeadKey { key: Arc::clone(key), rule, limits }))
    }

    /// Records the key in the trace, if there is one.
    fn trace_key(&self, key: &Arc<Key>) {
        if let Some(trace) = &self.trace {
            trace.recognised(key);
        }
    }

    /// Reports whether the body can hold parameters.
    fn can_have_parameters(&self) -> bool {
        let headers = &self.parts.headers;
        if self.state.has_unread_body() {
            BodyKind::of(headers) != BodyKind::Other
        } else {
            // The request has no body. If it announces encryption, the decryption must refuse it.
            decrypt::is_announced(headers)
        }
    }

    /// Returns the refusal for a missing or unknown key.
    fn unknown_key(&self, presented: Option<&str>) -> Problem {
        match self.app.guard.find_key(&self.policy.rules, presented, &self.client, Instant::now()) {
            Err(refusal) => refusal.into(),
            Ok(_) => Problem::new(StatusCode::UNAUTHORIZED, "Missing API-KEY."),
        }
    }

    /// Checks the key against the route, and returns the rule that applies.
    fn check_key(&self, key: &Key) -> Result<PathRule, Problem> {
        let paths = self.policy.paths(self.route);
        Ok(self.app.guard.check_key(key, &self.client, &paths, &self.parts.headers)?)
    }

    /// Counts the request against limits in Redis. The pipeline awaits this before the handler runs
    /// if [`AdmittedRequest::has_shared_limits`].
    pub(crate) async fn spend_shared_limits(&self) -> Result<(), RefusedRequest> {
        let Some(head_key) = self.head_key.as_ref().filter(|head_key| head_key.limits == LimitState::Shared)
        else {
            return Ok(());
        };
        let now = Instant::now();
        let outcome = self.app.guard.spend_shared(&head_key.key, head_key.rule, &self.client, now).await;
        self.keep_quota(outcome).map_err(|problem| RefusedRequest {
            problem,
            quota: self.quota().cloned(),
            body: self.body.lock().unwrap_or_else(PoisonError::into_inner).take(),
        })
    }

    /// Reports whether [`AdmittedRequest::spend_shared_limits`] must run before the handler.
    pub(crate) fn has_shared_limits(&self) -> bool {
        self.head_key.as_ref().is_some_and(|head_key| head_key.limits == LimitState::Shared)
    }

    /// Counts the request against the limits of `key`.
    async fn spend(&self, key: &Key, rule: PathRule, now: Instant) -> Result<(), Problem> {
        let guard = &self.app.guard;
        self.keep_quota(if guard.is_shared(key, rule) {
            // Boxed, so that the future of a request without Redis stays small.
            Box::pin(guard.spend_shared(key, rule, &self.client, now)).await
        } else {
            guard.spend(key, rule, &self.client, now)
        })
    }

    /// Keeps the remaining quota for the answer, also when a limit refuses the request.
    fn keep_quota(&self, outcome: Result<Quota, Refusal>) -> Result<(), Problem> {
        let (quota, outcome) = match outcome {
            Ok(quota) => (quota, Ok(())),
            Err(refusal) => match refusal.quota() {
                Some(quota) => (quota.clone(), Err(refusal.into())),
                None => return Err(refusal.into()),
            },
        };
        // A request is counted once, so the quota is not set yet.
        drop(self.quota.set(quota));
        outcome
    }

    /// Returns the remaining quota of the key, for the answer.
    pub(crate) fn quota(&self) -> Option<&Quota> {
        self.quota.get()
    }

    /// Reads the body, decompresses it, and decrypts it. Can be called once.
    pub(crate) async fn input(&self) -> Result<Input, Problem> {
        let headers = &self.parts.headers;
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner).take();
        let http = &self.policy.files.http;
        let keyed = self.head_key.is_some() || self.client == ClientAddr::Local;
        let limits = BodyLimits { body: http.request_max_size, memory: http.max_body_memory, keyed };
        let Some(mut body) = body else { return Err(Problem::bad_request("The body was read already.")) };
        let codings = if body.is_end_stream() { Ok(Codings::default()) } else { Codings::of(headers) };
        let codings = match codings {
            Ok(codings) => codings,
            Err(problem) => {
                self.state.keep_unread_body(body);
                return Err(problem);
            }
        };
        let mut collected = match collect(&mut body, limits, &self.app.budget, &self.state).await {
            Ok(collected) => collected,
            Err(problem) => {
                self.state.keep_unread_body(body);
                return Err(problem);
            }
        };
        // Boxed, so that the future of the common request stays small.
        if !codings.is_empty() && !collected.bytes.is_empty() {
            collected = Box::pin(decode(collected, codings, limits, &self.app.cpu_pool)).await?;
        }
        let mut decryption = Decryption::None;
        if decrypt::is_announced(headers) {
            let secret = self.policy.files.server.pyjs_secret.as_ref();
            let decrypted = Box::pin(decrypt::decrypt(collected, secret, limits, &self.app.cpu_pool)).await?;
            (collected, decryption) = decrypted;
        }
        Ok(Input { collected, kind: BodyKind::of(headers), decryption })
    }

    /// Reads the body and runs `finish` with it. Runs it off the event loop when the body is so
    /// large that parsing it would delay other requests.
    pub(crate) async fn with_input<T, F>(
        self: &Arc<Self>,
        finish: impl FnOnce(Arc<Self>, Input) -> F,
    ) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let input = time_stage(self.trace.as_ref(), Part::Body, self.input()).await?;
        let is_large = input.collected.bytes.len() > MAX_INLINE_BODY_BYTES;
        let rest = finish(Arc::clone(self), input);
        if is_large { self.app.cpu_pool.drive(Box::pin(rest)).await? } else { rest.await }
    }

    /// Hands a body that the handler did not read to the connection. Called after the request is
    /// answered.
    pub(crate) fn keep_unread_body(&self) {
        if let Some(body) = self.body.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.state.keep_unread_body(body);
        }
    }

    /// Returns the parameters of the query, the headers and the body.
    pub(crate) fn params<'a>(&'a self, input: &'a Input) -> Result<Params<'a>, Problem> {
        self.checked_params(input, self.read_params(input))
    }

    /// Returns the parameters that were read from `input`, unless its decryption failed.
    pub(crate) fn checked_params<'a>(
        &self,
        input: &Input,
        read: Result<Params<'a>, IngestError>,
    ) -> Result<Params<'a>, Problem> {
        if input.decryption == Decryption::None {
            return Ok(read?);
        }
        let has_parameters = read.as_ref().is_ok_and(|params| params.body_has_parameters(&READ_PARAMETERS));
        let is_genuine = decrypt::is_genuine(input.kind, &input.collected.bytes, has_parameters);
        match read {
            Ok(params) if is_genuine && input.decryption == Decryption::Whole => Ok(params),
            _ => Err(decrypt::undecryptable()),
        }
    }

    /// Reads the parameters. The caller checks whether the decryption was right.
    fn read_params<'a>(&'a self, input: &'a Input) -> Result<Params<'a>, IngestError> {
        let params = Params::without_body(self.parts.uri.query(), &self.parts.headers)?;
        let body = &input.collected.bytes;
        if input.kind == BodyKind::Multipart {
            return Ok(params.with_parts(multipart::fields(&self.parts.headers, body)?));
        }
        params.with_body(input.kind, body)
    }

    /// Finishes the checks of the key, checks the root password if the route needs it, and waits
    /// for the delay of the key.
    ///
    /// A client of the admin socket needs no key and no password, because it was checked when it
    /// connected.
    pub(crate) async fn authorize(&self, params: &Params<'_>) -> Result<Arc<Key>, Problem> {
        time_stage(self.trace.as_ref(), Part::Auth, self.finish_checks(params)).await
    }

    async fn finish_checks(&self, params: &Params<'_>) -> Result<Arc<Key>, Problem> {
        if self.client == ClientAddr::Local {
            self.trace_key(&self.policy.operator);
            return Ok(Arc::clone(&self.policy.operator));
        }
        let now = Instant::now();
        let find = |presented: Option<&str>| {
            let found = self.app.guard.find_key(&self.policy.rules, presented, &self.client, now);
            found.inspect(|key| self.trace_key(key)).map_err(Problem::from)
        };
        // The key in the body decides. A key in the query or a header must be valid too.
        let body_key = params.key_in_body().map(|presented| find(Some(&presented))).transpose()?;
        let (key, rule, limits) = match (&self.head_key, body_key) {
            (Some(head_key), None) => (Arc::clone(&head_key.key), head_key.rule, head_key.limits),
            (Some(head_key), Some(found)) if Arc::ptr_eq(found, &head_key.key) => {
                (Arc::clone(found), head_key.rule, head_key.limits)
            }
            (_, Some(found)) => (Arc::clone(found), self.check_key(found)?, LimitState::AfterParameters),
            (None, None) => {
                let found = find(params.api_key().as_deref())?;
                (Arc::clone(found), self.check_key(found)?, LimitState::AfterParameters)
            }
        };
        if limits == LimitState::AfterParameters {
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

    /// Reads the body and finishes the checks of a route for operators, which are the key and the
    /// root password.
    pub(crate) async fn authorize_operator(self: &Arc<Self>) -> Result<(), Problem> {
        async fn authorize(request: Arc<AdmittedRequest>, input: Input) -> Result<(), Problem> {
            let params = request.params(&input)?;
            request.authorize(&params).await.map(|_| ())
        }
        self.with_input(authorize).await
    }

    /// Begins a search for this request.
    ///
    /// # Errors
    /// Fails with 503 while `max_searches` searches are running.
    pub(crate) fn begin_search(&self) -> Result<Search, Problem> {
        Search::begin(&self.app.searches, self.policy.files.http.max_searches, &self.state)
    }

    /// Reports whether the method is HEAD. Such a request passes all checks and changes nothing.
    pub(crate) fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }
}
