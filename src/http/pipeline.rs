//! Takes one request from its checks to its answer.
//!
//! The order is: block list → flood count → maintenance → well-formed head → known route and method
//! → required headers → referer → key and its limits → (body → parameters → required arguments →
//! root password → handler). The client sees the first refusal only.

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::time::timeout;

use super::admitted_request::{AdmittedRequest, RefusedRequest};
use super::app::App;
use super::connection::phase::{Expired, Phase};
use super::connection::state::ConnectionState;
use super::follow::serve::http2_response;
use super::follow::takeover::{FollowExtension, TakeoverSlot};
use super::observe::request_trace::{AccessLogGuard, Part, Trace};
use super::policy::Policy;
use super::request::head::check_head;
use super::response::problem::Problem;
use super::response::success;
use super::route::{METHODS, Route};
use super::routes;
use super::routes::openapi;
use super::routes::page;
use crate::guard::{ClientAddr, Quota, client_addr};

/// Answers admitted requests. It is the warp service behind the checks.
pub(crate) trait Handlers:
    Service<Request<Empty<Bytes>>, Response = warp::reply::Response, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + Unpin
    + 'static
{
}

impl<T> Handlers for T where
    T: Service<Request<Empty<Bytes>>, Response = warp::reply::Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + Unpin
        + 'static
{
}

/// Sends the body of an answer. Dropping it ends the request, even if a part was not sent.
pub(crate) struct AnswerBody<B> {
    inner: B,
    state: Arc<ConnectionState>,
    /// Set while the access log or `debug` is on.
    access_log_guard: Option<Box<AccessLogGuard>>,
}

impl<B> Drop for AnswerBody<B> {
    fn drop(&mut self) {
        // The rest of a body must not be read as the head of the next request.
        let lingers = !self.state.is_stream() && self.state.has_unread_body();
        self.state.enter(if lingers { Phase::Lingering } else { Phase::Idle });
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Some(guard) = &mut self.access_log_guard
            && let Poll::Ready(Some(Ok(frame))) = &frame
        {
            guard.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Checks one request, runs its handler, and returns the answer with all headers.
pub(crate) async fn answer<H: Handlers>(
    app: Arc<App>,
    state: Arc<ConnectionState>,
    takeovers: Option<Arc<TakeoverSlot>>,
    peer: ClientAddr,
    handlers: H,
    request: Request<Incoming>,
) -> Result<
    Response<impl Body<Data = Bytes, Error = impl std::error::Error + Send + Sync + 'static> + Send + Unpin>,
    Infallible,
> {
    state.request_begins(!request.body().is_end_stream());
    let policy = app.policy();
    let origin = request.headers().get(header::ORIGIN).cloned();
    // A client that sent `Expect` waits for permission to send its body. The server does not read a
    // body that it does not need, since reading it would grant that permission.
    let expects_continue = request.headers().contains_key(header::EXPECT);
    let client = client_addr(peer, request.headers(), &policy.files.http);
    let trace = app.begin_trace(&policy, client, &request);
    let mut access_log_guard = trace.clone().map(|trace| Box::new(AccessLogGuard::of(trace)));
    let checks_began = trace.as_ref().and_then(|trace| trace.now());
    let mut outcome = check(&app, &policy, &state, client, trace.as_ref(), request);
    if let CheckOutcome::Admitted(admitted) = &outcome
        && admitted.has_shared_limits()
        // Boxed, so that the future of a request without Redis stays small.
        && let Err(refused) = Box::pin(admitted.spend_shared_limits()).await
    {
        outcome = CheckOutcome::Refused(Box::new(refused));
    }
    if let Some(trace) = &trace {
        trace.took(Part::Check, checks_began);
    }
    let (mut response, quota) = match outcome {
        CheckOutcome::Answered { response, body } => {
            if state.has_unread_body() && !expects_continue {
                drain(body, &state).await;
            }
            (response, None)
        }
        CheckOutcome::Refused(refused) => {
            app.count(&refused.problem);
            if let Some(trace) = &trace {
                trace.refused(&refused.problem);
            }
            if state.has_unread_body() && !expects_continue {
                drain(refused.body, &state).await;
            }
            (refused.problem.into_response().map(Into::into), refused.quota)
        }
        CheckOutcome::Admitted(admitted) => {
            // The busiest route skips warp's filters, which makes it 4 % faster.
            let response = if admitted.route == Route::SaveLog {
                with_deadline(&app, &state, trace.as_ref(), routes::save_log(&admitted)).await
            } else {
                let handlers = handlers;
                let mut inner = Request::new(Empty::new());
                inner.extensions_mut().insert(Arc::clone(&admitted));
                with_deadline(&app, &state, trace.as_ref(), Box::pin(handlers.call(inner))).await
            };
            admitted.keep_unread_body();
            (response, admitted.quota().cloned())
        }
    };
    policy.apply_headers(&mut response, origin.as_ref());
    if let Some(quota) = quota {
        rate_limit_headers(response.headers_mut(), &quota);
    }
    if state.has_unread_body() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(trace) = &trace {
        trace.apply_headers(&mut response);
    }
    if let Some(guard) = &mut access_log_guard {
        guard.status = response.status().as_u16();
    }
    if let Some(new_follower) = FollowExtension::take(&mut response) {
        match takeovers {
            Some(takeovers) => {
                // The connection drops this future, and a follower takes the connection over.
                takeovers.put(new_follower.into_takeover(response, &policy.files.http, access_log_guard));
                state.enter(Phase::Following);
                return pending().await;
            }
            None => response = http2_response(new_follower, response),
        }
    }
    state.enter(Phase::Answering);
    Ok(response.map(|inner| AnswerBody { inner, state, access_log_guard }))
}

/// Waits for the handler, but not past the time limit of an answer.
///
/// The function has no timer. The timer of the connection or stream marks `state` as expired and
/// polls again.
async fn with_deadline(
    app: &App,
    state: &ConnectionState,
    trace: Option<&Arc<Trace>>,
    handler: impl Future<Output = Result<warp::reply::Response, Infallible>>,
) -> warp::reply::Response {
    let mut handler = pin!(handler);
    poll_fn(|cx| match handler.as_mut().poll(cx) {
        Poll::Ready(Ok(response)) => Poll::Ready(response),
        Poll::Pending if state.is_expired(Expired::Answer) => {
            let problem = Problem::late();
            app.count(&problem);
            if let Some(trace) = trace {
                trace.refused(&problem);
            }
            Poll::Ready(problem.into_response().map(Into::into))
        }
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Says what the checks decided about a request.
enum CheckOutcome {
    /// The checks have answered the request themselves.
    Answered {
        response: warp::reply::Response,
        /// The unread body.
        body: Option<Incoming>,
    },
    /// A check refuses the request.
    Refused(Box<RefusedRequest>),
    /// A handler answers the request.
    Admitted(Arc<AdmittedRequest>),
}

impl CheckOutcome {
    fn refused(problem: Problem, body: Incoming) -> Self {
        Self::Refused(Box::new(RefusedRequest { problem, quota: None, body: Some(body) }))
    }
}

impl From<Problem> for CheckOutcome {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(RefusedRequest { problem, quota: None, body: None }))
    }
}

/// Reads and drops a small body, so that the client can use the connection again. Without this, a
/// client that obeys `Retry-After` would open a new connection for each attempt.
async fn drain(body: Option<Incoming>, state: &ConnectionState) {
    const MAX_DRAINED_BYTES: u64 = 64 * 1024;
    const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);
    let Some(mut body) = body else { return };
    let is_small = body.size_hint().exact().is_some_and(|len| len <= MAX_DRAINED_BYTES);
    if is_small && matches!(timeout(DRAIN_TIMEOUT, (&mut body).collect()).await, Ok(Ok(_))) {
        state.body_read();
    } else {
        state.keep_unread_body(body);
    }
}

/// Truncates a path for an answer, because a path may be as long as `max_header_size`.
fn truncated(path: &str) -> String {
    const MAX_CHARS: usize = 200;
    match path.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", path.get(..end).unwrap_or_default()),
        None => path.to_owned(),
    }
}

/// Runs all checks that need no body.
fn check(
    app: &Arc<App>,
    policy: &Arc<Policy>,
    state: &Arc<ConnectionState>,
    client: ClientAddr,
    trace: Option<&Arc<Trace>>,
    request: Request<Incoming>,
) -> CheckOutcome {
    let rules = &policy.rules;
    if let Err(refusal) = app.guard.check_address(rules, &client, Instant::now()) {
        return CheckOutcome::refused(refusal.into(), request.into_body());
    }
    if let Err(problem) = check_head(&request, state, &policy.files.http) {
        return problem.into();
    }
    let (parts, body) = request.into_parts();
    // The targets of `OPTIONS *` (the whole server) and of CONNECT (a tunnel) have no path (RFC
    // 9112, sections 3.2.4 and 3.2.3).
    let preflight = || policy.preflight(&parts.headers).map(Into::into);
    if parts.method == Method::OPTIONS && parts.uri.path() == "*" {
        return CheckOutcome::Answered { response: preflight(), body: Some(body) };
    }
    if parts.method == Method::CONNECT {
        return CheckOutcome::refused(
            Problem::method_not_allowed("Method CONNECT not allowed", METHODS),
            body,
        );
    }
    let admin = || (client == ClientAddr::Local).then(|| Route::of_admin(parts.uri.path())).flatten();
    let Some(route) = Route::of(parts.uri.path(), &app.name).or_else(admin) else {
        let detail = format!("Requested URL {} not found", parts.uri.path());
        return CheckOutcome::refused(Problem::new(StatusCode::NOT_FOUND, detail), body);
    };
    if !route.allows(&parts.method) {
        let detail = format!("Method {} not allowed for URL {}", parts.method, truncated(parts.uri.path()));
        return CheckOutcome::refused(Problem::method_not_allowed(detail, route.methods()), body);
    }
    if parts.method == Method::OPTIONS {
        return CheckOutcome::Answered { response: preflight(), body: Some(body) };
    }
    if route == Route::Status {
        let text = concat!("MocaFileLog(", env!("CARGO_PKG_VERSION"), ") is working...");
        let mut response = success::text(Bytes::from_static(text.as_bytes()));
        response.headers_mut().insert(header::CACHE_CONTROL, crate::http::response::headers::NO_STORE);
        return CheckOutcome::Answered { response, body: Some(body) };
    }
    if route == Route::OpenApi {
        let response = openapi::document(&parts.headers);
        return CheckOutcome::Answered { response, body: Some(body) };
    }
    // `force_headers` and the rules of the referer are for browsers and proxies. A client of the
    // admin socket is neither.
    if client != ClientAddr::Local
        && let Err(refusal) = app.guard.check_headers(rules, &parts.headers)
    {
        return CheckOutcome::refused(refusal.into(), body);
    }
    if route == Route::Page {
        return CheckOutcome::Answered { response: page::page(&parts.headers), body: Some(body) };
    }
    let (app, policy, state) = (Arc::clone(app), Arc::clone(policy), Arc::clone(state));
    match AdmittedRequest::admit(app, policy, state, trace.cloned(), client, route, parts, body) {
        Ok(admitted) => CheckOutcome::Admitted(Arc::new(admitted)),
        Err(refused) => CheckOutcome::Refused(refused),
    }
}

/// Adds `RateLimit` and `RateLimit-Policy` (IETF draft-ietf-httpapi-ratelimit-headers).
fn rate_limit_headers(headers: &mut HeaderMap, quota: &Quota) {
    const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
    const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
    headers.extend(quota.rate_limit().map(|value| (LIMIT, value)));
    headers.extend(quota.rate_limit_policy().map(|value| (POLICY, value)));
}
