//! Holds one request from its head to its answer, and reads its body.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Uri};
use http_body::Body as _;
use http_body_util::Empty;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use super::app::App;
use super::connection::state::ConnectionState;
use super::observe::access_log::redact::redacted;
use super::observe::refused_requests::Origin;
use super::observe::request_trace::{Part, Trace};
use super::policy::Policy;
use super::request::body::{BodyLimits, Collected, collect};
use super::request::decompress::{Codings, decode};
use super::request::decrypt;
use super::request::decrypt::Decryption;
use super::request::memory_budget::InputMemory;
use super::request::target::normalized;
use super::request::url_key::UrlKey;
use super::response::headers::accepts_html;
use super::response::problem::Problem;
use crate::guard::{Caller, ClientAddr, Key, Quota, Refusal, Watch};
use crate::ingest::body::media_type::BodyKind;
use crate::ingest::body::received::{BodyTexts, ReceivedBody};
use crate::ingest::dialect::{Dialect, DialectRoute, Framed, RequestHead, Takes};

/// Holds one request and the configuration that it runs under.
pub(crate) struct RequestContext {
    pub(crate) app: Arc<App>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) state: Arc<ConnectionState>,
    /// Set while the access log or `debug` is on.
    pub(crate) trace: Option<Arc<Trace>>,
    pub(crate) client: ClientAddr,
    pub(crate) parts: Parts,
    /// The key in the path, and the path without it.
    pub(crate) url_key: UrlKey,
    /// The body, until a handler takes it.
    body: Mutex<Option<Incoming>>,
    /// The remaining quota of the key, set when the request is counted.
    quota: OnceLock<Quota>,
    /// The name of the route, once the route is known.
    pub(crate) route: OnceLock<&'static str>,
    /// The last key that was recognized.
    key: Mutex<Option<Arc<Key>>>,
    /// The dialect of the route, once the route is known. Its senders get refusals in its form.
    pub(crate) endpoint: OnceLock<Endpoint>,
    /// Time at which the checks began, while `debug` is on and they have not ended.
    checks_began: Mutex<Option<Instant>>,
}

/// A request in the extensions of the request that warp gets. The filters copy it, so a copy is one
/// pointer for a request that is answered.
#[derive(Clone)]
pub(crate) enum RouteRequest {
    /// A request that is answered.
    Served(Arc<RequestContext>),
    /// A request of which only the route is wanted.
    Explained { client: ClientAddr, target: Uri },
}

impl RouteRequest {
    pub(crate) fn client(&self) -> ClientAddr {
        match self {
            Self::Served(context) => context.client,
            Self::Explained { client, .. } => *client,
        }
    }

    /// Returns the target as it was sent.
    pub(crate) fn target(&self) -> &Uri {
        match self {
            Self::Served(context) => &context.parts.uri,
            Self::Explained { target, .. } => target,
        }
    }

    /// Returns the path for the routes, in its only spelling.
    pub(crate) fn path(&self) -> Uri {
        match self {
            Self::Served(context) => normalized(&context.parts.uri, &context.url_key),
            Self::Explained { target, .. } => normalized(target, &UrlKey::of(target.path())),
        }
    }

    /// Returns whether the path holds a key.
    pub(crate) fn has_url_key(&self) -> bool {
        match self {
            Self::Served(context) => context.url_key.key().is_some(),
            Self::Explained { target, .. } => UrlKey::of(target.path()).key().is_some(),
        }
    }

    /// Returns whether a browser opens a page.
    pub(crate) fn opens_page(&self) -> bool {
        match self {
            Self::Served(context) => {
                let Parts { method, headers, .. } = &context.parts;
                (*method == Method::GET || *method == Method::HEAD) && accepts_html(headers)
            }
            Self::Explained { .. } => false,
        }
    }
}

/// Names a dialect and the route on which it was used.
#[derive(Clone, Copy)]
pub(crate) struct Endpoint {
    pub(crate) dialect: &'static dyn Dialect,
    pub(crate) route: &'static DialectRoute,
}

impl Endpoint {
    /// Returns the head of a request on this route.
    pub(crate) fn head<'a>(&self, context: &'a RequestContext) -> RequestHead<'a> {
        self.head_of(&context.parts.uri, &context.parts.headers, &context.url_key)
    }

    fn head_of<'a>(&self, uri: &'a Uri, headers: &'a HeaderMap, url_key: &'a UrlKey) -> RequestHead<'a> {
        RequestHead { route: self.route, path: url_key.path(uri.path()), query: uri.query(), headers }
    }

    /// Returns the key in the path of a request on this route, decoded.
    pub(crate) fn key_in_path<'a>(
        &self,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        url_key: &'a UrlKey,
    ) -> Option<Cow<'a, str>> {
        let of_dialect = || {
            let segment = self.dialect.key_in_path(&self.head_of(uri, headers, url_key))?;
            Some(percent_decode_str(segment).decode_utf8_lossy())
        };
        url_key.key().map(Cow::Borrowed).or_else(of_dialect)
    }

    /// Returns whether the dialect answers a request with this method without a key.
    pub(crate) fn is_probe(&self, method: &Method) -> bool {
        let is_options = *method == Method::OPTIONS && self.route.methods.contains(method);
        self.route.takes == Takes::Nothing && *method != Method::OPTIONS || is_options
    }
}

/// Holds a body that was read, its format, and whether it was decrypted.
pub(crate) struct Input {
    collected: Collected,
    pub(crate) kind: BodyKind,
    pub(crate) decryption: Decryption,
    /// The texts that are made of the body.
    texts: BodyTexts,
    /// The memory for decoded texts, entries and lines of the body.
    memory: InputMemory,
}

impl Input {
    /// Returns the body, decompressed and decrypted.
    pub(crate) fn body(&self) -> &[u8] {
        &self.collected.bytes
    }

    /// Returns the body with what the headers say of it.
    pub(crate) fn received<'a>(&'a self, headers: &'a HeaderMap) -> ReceivedBody<'a> {
        ReceivedBody::new(headers, self.body(), &self.texts, &self.memory)
    }

    /// Returns the memory of what was made of the body. The rest of the input can be dropped before.
    pub(crate) fn into_memory(self) -> InputMemory {
        self.memory
    }
}

impl RequestContext {
    /// Returns the context of `request`, which runs under the current configuration.
    pub(crate) fn new(
        app: Arc<App>,
        policy: Arc<Policy>,
        state: Arc<ConnectionState>,
        client: ClientAddr,
        request: Request<Incoming>,
    ) -> Self {
        let trace = app.begin_trace(&policy, client, &request);
        let (parts, body) = request.into_parts();
        let url_key = UrlKey::of(parts.uri.path());
        let (body, quota) = (Mutex::new(Some(body)), OnceLock::new());
        let checks_began = Mutex::new(trace.as_ref().and_then(|trace| trace.now()));
        let (route, key, endpoint) = (OnceLock::new(), Mutex::new(None), OnceLock::new());
        Self {
            app,
            policy,
            state,
            trace,
            client,
            parts,
            url_key,
            body,
            quota,
            route,
            key,
            endpoint,
            checks_began,
        }
    }

    /// Returns the request for the filters of warp: its method, its normalized target, and this
    /// context.
    pub(crate) fn for_filters(self: &Arc<Self>) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = normalized(&self.parts.uri, &self.url_key);
        request.extensions_mut().insert(RouteRequest::Served(Arc::clone(self)));
        request
    }

    /// Returns the client with the rules that it is checked against, now.
    pub(crate) fn caller(&self) -> Caller<'_> {
        let (guard, rules) = (&*self.app.guard, &*self.policy.rules);
        Caller { guard, rules, client: self.client, now: Instant::now() }
    }

    /// Counts the refusal of this request, and keeps it for the operator.
    pub(crate) fn on_refused(&self, problem: &Problem) {
        let key = self.key.lock().unwrap_or_else(PoisonError::into_inner).take();
        let path = || redacted(self.parts.uri.path());
        let route = self.route.get().map_or_else(path, |route| Cow::Borrowed(*route));
        let origin = Origin {
            client: self.client,
            key: key.as_ref().map(|key| key.entry.name.as_str()),
            method: Some(self.parts.method.as_str()),
            route: Some(&route),
        };
        self.app.on_refused(&origin, problem);
    }

    /// Records how long the checks took. Only the first call counts.
    pub(crate) fn end_of_checks(&self) {
        if let Some(trace) = &self.trace {
            let began = self.checks_began.lock().unwrap_or_else(PoisonError::into_inner).take();
            trace.took(Part::Check, began);
        }
    }

    /// Returns the key in the path, decoded. Only routes that store records read it.
    pub(crate) fn key_in_path(&self) -> Option<Cow<'_, str>> {
        self.endpoint.get()?.key_in_path(&self.parts.uri, &self.parts.headers, &self.url_key)
    }

    /// Reports whether the method is HEAD, which is checked like GET and changes nothing.
    pub(crate) fn is_head(&self) -> bool {
        self.parts.method == Method::HEAD
    }

    /// Reports whether the request is only to be checked. Such a request stores nothing and spends no
    /// quota.
    pub(crate) fn is_dry_run(&self) -> bool {
        let asks = |query: &str| {
            query.contains("dry_run")
                && form_urlencoded::parse(query.as_bytes())
                    .any(|(name, value)| name == "dry_run" && matches!(&*value, "1" | "true"))
        };
        self.endpoint.get().is_some() && self.parts.uri.query().is_some_and(asks)
    }

    /// Keeps the rest of the limits for the answer.
    ///
    /// # Errors
    /// The refusal of `outcome`.
    pub(crate) fn keep_quota(&self, outcome: Result<Quota, Refusal>) -> Result<(), Refusal> {
        let quota = match &outcome {
            Ok(quota) => Some(quota),
            Err(refusal) => refusal.quota(),
        };
        if let Some(quota) = quota {
            // A request is counted once, so there is no second value.
            drop(self.quota.set(quota.clone()));
        }
        outcome.map(|_| ())
    }

    /// Returns the remaining quota of the key, for the answer.
    pub(crate) fn quota(&self) -> Option<&Quota> {
        self.quota.get()
    }

    /// Reports whether the body can hold parameters.
    pub(crate) fn can_have_parameters(&self) -> bool {
        let headers = &self.parts.headers;
        if self.state.has_unread_body() {
            // A body of any type may be JSON.
            self.endpoint.get().is_none_or(|endpoint| endpoint.dialect.body_may_hold_key())
        } else {
            // The request has no body. If it announces encryption, the decryption must refuse it.
            decrypt::is_announced(headers)
        }
    }

    /// Takes the body, unless a handler has taken it.
    pub(crate) fn take_body(&self) -> Option<Incoming> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Finds the message in a body that frames it.
    fn framed(&self, body: &[u8]) -> Result<Option<Framed>, Problem> {
        let Some(endpoint) = self.endpoint.get() else { return Ok(None) };
        Ok(endpoint.dialect.framed(&endpoint.head(self), body)?)
    }

    /// Reads the body. `keyed` is true when the checks of the head have found a key.
    ///
    /// # Errors
    /// Fails for a body that is too large, too slow, or malformed.
    pub(crate) async fn read_body(&self, keyed: bool) -> Result<Input, Problem> {
        let headers = &self.parts.headers;
        let http = &self.policy.files.http;
        let limits = BodyLimits { body: http.request_max_size, memory: http.max_body_memory, keyed };
        let Some(mut body) = self.take_body() else {
            return Err(Problem::bad_request("The body was read already."));
        };
        let own = self.endpoint.get().and_then(|endpoint| endpoint.dialect.own_coding());
        let codings = if body.is_end_stream() { Ok(Codings::default()) } else { Codings::of(headers, own) };
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
        let mut codings = codings;
        if let Some(framed) = self.framed(&collected.bytes)? {
            let (bytes, share) = collected.into_parts();
            collected = Collected::new(bytes.slice(framed.message), share);
            if let Some(coding) = framed.coding {
                codings = Codings::named(coding)?;
            }
        }
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
        let (kind, texts) = (BodyKind::of(headers), BodyTexts::default());
        let memory =
            InputMemory::new(self.app.budget.share(), limits.memory_for_this(), limits.max_body_bytes());
        Ok(Input { collected, kind, decryption, texts, memory })
    }
}

/// Notes the key of a request in its context and in its trace.
pub(crate) struct KeyWatch<'a>(pub(crate) &'a RequestContext);

impl Watch for KeyWatch<'_> {
    fn recognized(&mut self, key: &Arc<Key>) {
        *self.0.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(key));
        if let Some(trace) = &self.0.trace {
            trace.recognised(key);
        }
    }
}
