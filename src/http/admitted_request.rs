//! Holds one admitted request and runs its remaining steps.
//!
//! These steps are the body, the parameters, the checks of the key that need them, and the root
//! password.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use super::observe::request_trace::{Part, time_stage};
use super::request::decrypt;
use super::request::decrypt::Decryption;
use super::request::read_params::READ_PARAMETERS;
use super::request::search_limit::Search;
use super::request::url_key::RulePaths;
use super::request_context::{Input, KeyWatch, RequestContext};
use super::response::problem::Problem;
use crate::guard::{Cost, Head, HeadersAdmitted, Key, KeyAdmitted, Parameters, PresentedKey, Refusal};
use crate::ingest::basic::BasicCredentials;
use crate::ingest::body::parameters::Wanted;
use crate::ingest::entry::read_rules::ReadRules;
use crate::ingest::error::IngestError;
use crate::ingest::params::Params;
use crate::ingest::sender_key::SenderKey;

/// Holds a request that has passed all checks before its body.
pub(crate) struct AdmittedRequest {
    context: Arc<RequestContext>,
    /// The paths of the request, for the rules of its key.
    paths: RulePaths,
    admitted: KeyAdmitted,
}

/// A request is admitted with all that its context holds.
impl Deref for AdmittedRequest {
    type Target = RequestContext;

    fn deref(&self) -> &RequestContext {
        &self.context
    }
}

/// Maximum size of a body that the event loop parses itself. Parsing it takes 1 ms at most.
const MAX_INLINE_BODY_BYTES: usize = 256 * 1024;

impl AdmittedRequest {
    /// Checks the key as far as that is possible without the body, and counts the request in its
    /// limits unless the body may still refuse it.
    ///
    /// # Errors
    /// The refusal of the key or of its limits.
    pub(crate) async fn admit(
        context: Arc<RequestContext>,
        headers: HeadersAdmitted,
        paths: RulePaths,
    ) -> Result<Self, Problem> {
        let admitted = {
            // A route without a key reads no parameters, so their form does not matter.
            let read = || Params::without_body(context.parts.uri.query(), &context.parts.headers);
            let params = headers.needs_key().then(read).map(|params| match context.endpoint.get() {
                Some(_) => params.of_sender(),
                None => params,
            });
            let key_in_path = context.key_in_path();
            let key = params.as_ref().and_then(|params| presented_key(params, key_in_path.as_deref()));
            let caller = context.caller();
            let body_may_hold_key = context.can_have_parameters();
            let mut admitted = paths.with(|paths| {
                let (headers_of_request, key) = (&context.parts.headers, key.as_ref());
                let head = Head { paths, headers: headers_of_request, key, body_may_hold_key };
                headers.admit_key(&caller, &head, &mut KeyWatch(&context))
            })?;
            if !context.is_dry_run()
                && let Some(spending) = admitted.count(&caller, Cost::REQUEST)
            {
                context.keep_quota(spending.decided().await)?;
            }
            admitted
        };
        Ok(Self { context, paths, admitted })
    }

    /// Returns the head for the checks of a key in the body.
    fn with_head<T>(&self, check: impl FnOnce(&Head<'_>) -> T) -> T {
        self.paths.with(|paths| {
            check(&Head { paths, headers: &self.parts.headers, key: None, body_may_hold_key: false })
        })
    }

    /// Reads the body, decompresses it, and decrypts it. Can be called once.
    pub(crate) async fn input(&self) -> Result<Input, Problem> {
        self.read_body(self.admitted.is_keyed()).await
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
        let is_large = input.body().len() > MAX_INLINE_BODY_BYTES;
        let rest = finish(Arc::clone(self), input);
        if is_large { self.app.cpu_pool.drive(Box::pin(rest)).await? } else { rest.await }
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
        let is_genuine = decrypt::is_genuine(input.kind, input.body(), has_parameters);
        match read {
            Ok(params) if is_genuine && input.decryption == Decryption::Whole => Ok(params),
            _ => Err(decrypt::undecryptable()),
        }
    }

    /// Returns how entries are read, as far as the log and the key decide it.
    pub(crate) fn read_rules<'a>(&'a self, key: Option<&'a Arc<Key>>) -> ReadRules<'a> {
        ReadRules::new(&self.policy.log, key.map(|key| &key.entry))
    }

    /// Returns the key that the head of the request named.
    pub(crate) const fn key_of_head(&self) -> Option<&Arc<Key>> {
        self.admitted.key_of_head()
    }

    /// Returns how long a limit of the key is used up. Counts nothing.
    pub(crate) fn limits_used_up_for(&self) -> Option<Duration> {
        self.admitted.used_up_for(&self.caller())
    }

    /// Reads the parameters. The caller checks whether the decryption was right.
    fn read_params<'a>(&'a self, input: &'a Input) -> Result<Params<'a>, IngestError> {
        let headers = &self.parts.headers;
        let params = Params::without_body(self.parts.uri.query(), headers);
        params.with_body(&input.received(headers), Wanted::Parameters)
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
        let caller = self.caller();
        let mut watch = KeyWatch(self);
        let checked =
            self.with_head(|head| self.admitted.admit_parameters(&caller, head, params, &mut watch));
        let mut checked = checked.inspect_err(|refusal| self.trace_missing_args(refusal, params))?;
        if !self.is_dry_run()
            && let Some(spending) = checked.count(&caller, Cost::REQUEST)
        {
            self.keep_quota(spending.decided().await)?;
        }
        let presented = if checked.needs_root_password() { params.root_pass() } else { None };
        let key = checked.check_root_password(&caller, presented.as_deref()).await?;
        if key.entry.delay > Duration::ZERO {
            tokio::time::sleep(key.entry.delay).await;
        }
        Ok(key)
    }

    /// Notes in the trace which required arguments are missing, if that is the refusal.
    fn trace_missing_args(&self, refusal: &Refusal, params: &Params<'_>) {
        if let Some(trace) = &self.trace
            && *refusal == Refusal::MissingRequiredArgument
        {
            trace.missing_args(|key| self.app.guard.missing_args(key, &|name| params.text(name)));
        }
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
}

/// Returns the key that the parameters name, else the one in the path.
pub(crate) fn presented_key<'p>(
    params: &'p Params<'_>,
    key_in_path: Option<&'p str>,
) -> Option<PresentedKey<'p>> {
    let named = params.api_key().map(PresentedKey::Key);
    let basic = || {
        let BasicCredentials { user, password } = params.basic()?;
        Some(PresentedKey::Basic { user: user.into(), password: password.into() })
    };
    let of_sender = || {
        Some(match params.sender_key()? {
            SenderKey::One(key) => PresentedKey::new(key.as_str()),
            SenderKey::ApiKey { key, text } => PresentedKey::Decoded { key: key.into(), text: text.into() },
            // The path has no other meaning than its key.
            SenderKey::Parameter(_) if key_in_path.is_some() => return None,
            SenderKey::Parameter(key) => PresentedKey::Parameter(key.into()),
        })
    };
    named.or_else(basic).or_else(of_sender).or_else(|| key_in_path.map(PresentedKey::new))
}

impl Parameters for Params<'_> {
    fn key_in_body(&self) -> Option<Cow<'_, str>> {
        self.key_in_body()
    }

    fn key(&self) -> Option<Cow<'_, str>> {
        self.api_key().or_else(|| self.sender_key().map(|key| Cow::Borrowed(key.text())))
    }

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.text(name)
    }
}
