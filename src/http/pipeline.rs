//! Takes one request from its checks to its answer, as one chain of warp filters.
//!
//! The order is: block list → flood count → maintenance → well-formed head → known route and method
//! → required headers → referer → key and its limits → (body → parameters → required arguments →
//! root password → handler). The client sees the first refusal only.
//! [`admission`](crate::guard::admit_address) holds the order of the guard's checks.

use std::convert::Infallible;
use std::future::{pending, poll_fn, ready};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::time::timeout;
use warp::filters::BoxedFilter;
use warp::{Filter, Rejection};

use super::admitted_request::AdmittedRequest;
use super::answer_body::AnswerBody;
use super::app::App;
use super::connection::phase::{Expired, Phase};
use super::connection::state::ConnectionState;
use super::follow::serve::http2_response;
use super::follow::takeover::{FollowExtension, TakeoverSlot};
use super::observe::request_trace::AccessLogGuard;
use super::request::head::check_head;
use super::request_context::{Endpoint, RequestContext, RouteRequest};
use super::response::headers::forbid_caching;
use super::response::keep_alive::announce_keep_alive;
use super::response::methods::Methods;
use super::response::problem::Problem;
use super::response::success::Answer;
use super::route::{Handler, Route};
use super::routes;
use super::routes::ingest;
use crate::config::LogName;
use crate::guard::{AddressAdmitted, ClientAddr, Quota, admit_address, client_addr};
use crate::ingest::dialect::Trailers;
use crate::ingest::dialects;

/// Answers requests: the warp service of [`filters`].
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

/// Returns the filters that answer every request of the log `log`.
///
/// Only the table of routes passes a request on to another filter. After it, each rejection is a
/// [`Problem`] and final.
///
/// Each connection has a copy, so the filters lie behind a pointer.
pub(crate) fn filters(log: &LogName) -> BoxedFilter<(warp::reply::Response,)> {
    checked_address()
        .and(routes::routing(log))
        .and_then(admit)
        .and_then(run_handler)
        .recover(into_problem)
        .unify()
        .and(context())
        .map(|answer, context: Arc<RequestContext>| finish(answer, &context))
        .boxed()
}

/// Extracts the context of the request.
fn context() -> impl Filter<Extract = (Arc<RequestContext>,), Error = Rejection> + Copy {
    warp::ext::get().and_then(|request: RouteRequest| {
        ready(match request {
            RouteRequest::Served(context) => Ok(context),
            RouteRequest::Explained { .. } => Err(warp::reject::not_found()),
        })
    })
}

/// Holds a request whose address was admitted and whose head is well formed.
struct CheckedHead {
    context: Arc<RequestContext>,
    address: AddressAdmitted,
}

/// Checks the address of the client and the form of the head.
fn checked_address() -> impl Filter<Extract = (CheckedHead,), Error = Rejection, Future: Send> + Copy {
    let check = |context: Arc<RequestContext>| -> Result<CheckedHead, Problem> {
        let address = admit_address(&context.caller(), &mut ())?;
        let checked = check_head(&context.parts, &context.state, &context.policy.files.http);
        if let Err(problem) = checked {
            // The end of a body with a malformed head is not known, so it is not read.
            drop(context.take_body());
            return Err(problem);
        }
        if context.parts.method == Method::CONNECT {
            return Err(Problem::method_not_allowed("Method CONNECT not allowed", Methods::USUAL));
        }
        Ok(CheckedHead { context, address })
    };
    context().and_then(move |context| ready(check(context).map_err(warp::reject::custom)))
}

/// Holds a request that passed the checks of its head.
enum Admitted {
    /// A request that a dialect answers without a key.
    Probe(Arc<RequestContext>, Endpoint),
    /// A preflight for a route with these methods. It carries no key.
    Preflight(Arc<RequestContext>, Methods),
    /// A request for a handler.
    Request(Arc<AdmittedRequest>, Handler),
}

/// Checks the headers and the key of a request for this route.
async fn admit(head: CheckedHead, route: &'static Route) -> Result<Admitted, Rejection> {
    let context = Arc::clone(&head.context);
    let admitted = admit_route(head, route).await;
    context.end_of_checks();
    admitted.map_err(warp::reject::custom)
}

async fn admit_route(head: CheckedHead, route: &'static Route) -> Result<Admitted, Problem> {
    let CheckedHead { context, address } = head;
    context.route.get_or_init(|| route.name);
    if let Some(endpoint) = route.endpoint {
        context.endpoint.get_or_init(|| endpoint);
    }
    route.check_method(&context.parts.method, &context.parts.uri)?;
    let is_preflight = context.parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    match route.endpoint.filter(|endpoint| endpoint.is_probe(&context.parts.method) && !is_preflight) {
        Some(endpoint) => return Ok(Admitted::Probe(context, endpoint)),
        None if context.parts.method == Method::OPTIONS => {
            return Ok(Admitted::Preflight(context, route.methods));
        }
        None => {}
    }
    let paths = route.rule_paths(&context.app.name, context.parts.uri.path(), &context.url_key);
    if let Some(trace) = &context.trace {
        trace.routed(paths.of_route());
    }
    let headers = &context.parts.headers;
    let admitted = address.admit_headers(&context.caller(), route.access, headers, &mut ())?;
    let request = AdmittedRequest::admit(context, admitted, paths).await?;
    Ok(Admitted::Request(Arc::new(request), route.handler))
}

/// Runs the handler of a request, but not past the time limit of an answer.
///
/// The function has no timer. The timer of the connection or stream marks the state as expired and
/// polls again.
async fn run_handler(admitted: Admitted) -> Result<Answer, Rejection> {
    let (request, handler) = match admitted {
        Admitted::Preflight(context, methods) => {
            return Ok(Ok(context.policy.preflight(&context.parts.headers, methods).map(Into::into)));
        }
        Admitted::Probe(context, endpoint) => {
            let mut reply = endpoint.dialect.probe(&endpoint.head(&context));
            forbid_caching(reply.headers_mut(), &context.parts.method);
            return Ok(Ok(reply.map(Into::into)));
        }
        Admitted::Request(request, handler) => (request, handler),
    };
    let state = Arc::clone(&request.state);
    let mut answer = handler(request);
    let answer = poll_fn(|cx| match answer.as_mut().poll(cx) {
        Poll::Pending if state.is_expired(Expired::Answer) => Poll::Ready(Err(Problem::late())),
        answer => answer,
    });
    Ok(answer.await)
}

/// Turns a rejection into the problem that it holds.
async fn into_problem(rejection: Rejection) -> Result<Answer, Infallible> {
    // Filters of this crate reject with problems only.
    let problem = rejection.find::<Problem>().cloned();
    Ok(Err(problem.unwrap_or_else(|| Problem::overloaded("The request can't be served at the moment."))))
}

/// Turns a problem into an answer, in the form of the route's dialect, and adds the headers of every
/// answer. This is the only place that counts and explains problems.
fn finish(answer: Answer, context: &RequestContext) -> warp::reply::Response {
    context.end_of_checks();
    let mut response = answer.unwrap_or_else(|problem| {
        context.on_refused(&problem);
        if let Some(trace) = &context.trace {
            trace.refused(&problem);
        }
        // The address is checked before the route is known.
        let path = context.url_key.path(context.parts.uri.path());
        let at_root = || ingest::endpoint_at_root(path).or_else(|| claiming(&context.parts.headers));
        let problem = match context.endpoint.get().copied().or_else(at_root) {
            Some(endpoint) => problem.in_form_of(endpoint.dialect, &endpoint.head(context)),
            None => problem,
        };
        problem.into_response().map(Into::into)
    });
    context.policy.apply_headers(&mut response, context.parts.headers.get(header::ORIGIN));
    if let Some(quota) = context.quota() {
        rate_limit_headers(response.headers_mut(), quota);
    }
    if let Some(trace) = &context.trace {
        trace.apply_headers(&mut response);
    }
    response
}

/// Returns the endpoint of a dialect that a request with these headers can only be meant for.
fn claiming(headers: &HeaderMap) -> Option<Endpoint> {
    let (dialect, route) = dialects::claiming(headers)?;
    Some(Endpoint { dialect, route })
}

/// Holds what the answers of an HTTP/1 connection need beside its state.
#[derive(Clone)]
pub(crate) struct Http1 {
    pub(crate) takeovers: Arc<TakeoverSlot>,
    /// True when hyper serves more than one request of the connection.
    pub(crate) keep_alive: bool,
}

/// Answers one request of a connection or stream. `http1` is `None` for a stream.
pub(crate) async fn answer<H: Handlers>(
    app: Arc<App>,
    state: Arc<ConnectionState>,
    http1: Option<Http1>,
    peer: ClientAddr,
    handlers: H,
    request: Request<Incoming>,
) -> Result<
    Response<impl Body<Data = Bytes, Error = impl std::error::Error + Send + Sync + 'static> + Send + Unpin>,
    Infallible,
> {
    state.request_begins(!request.body().is_end_stream());
    let policy = app.policy();
    let client = client_addr(peer, request.headers(), &policy.files.http);
    let context = Arc::new(RequestContext::new(app, policy, Arc::clone(&state), client, request));
    let mut access_log_guard = context.trace.clone().map(|trace| Box::new(AccessLogGuard::of(trace)));
    let Ok(mut response) = handlers.call(context.for_filters()).await;
    discard_body(&context).await;
    if state.has_unread_body() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(guard) = &mut access_log_guard {
        guard.status = response.status().as_u16();
    }
    if let Some(new_follower) = FollowExtension::take(&mut response) {
        match http1 {
            Some(http1) => {
                // The connection drops this future, and a follower takes the connection over.
                let http = &context.policy.files.http;
                http1.takeovers.put(new_follower.into_takeover(response, http, access_log_guard));
                state.enter(Phase::Following);
                return pending().await;
            }
            None => response = http2_response(new_follower, response),
        }
    } else if http1.is_some_and(|http1| http1.keep_alive) && !context.app.draining.is_cancelled() {
        let parts = &context.parts;
        if let Some(seconds) = context.policy.keep_alive_hint(&state) {
            announce_keep_alive(&mut response, parts.version, &parts.headers, seconds);
        }
    }
    state.enter(Phase::Answering);
    let trailers =
        response.extensions_mut().remove::<Trailers>().map(|Trailers(trailers)| Box::new(trailers));
    Ok(response.map(|inner| AnswerBody { inner, trailers, state, access_log_guard }))
}

/// Reads and drops a small body that no handler has read, so that the client can use the connection
/// again. Without this, a client that obeys `Retry-After` would open a new connection for each
/// attempt.
async fn discard_body(context: &RequestContext) {
    const MAX_DRAINED_BYTES: u64 = 64 * 1024;
    const DRAIN_TIMEOUT: Duration = Duration::from_millis(200);
    let Some(mut body) = context.take_body() else { return };
    // A client that sent `Expect` waits for permission to send its body. The server does not read a
    // body that it does not need, since reading it would grant that permission.
    if !context.state.has_unread_body() || context.parts.headers.contains_key(header::EXPECT) {
        return;
    }
    let is_small = body.size_hint().exact().is_some_and(|len| len <= MAX_DRAINED_BYTES);
    if is_small && matches!(timeout(DRAIN_TIMEOUT, (&mut body).collect()).await, Ok(Ok(_))) {
        context.state.body_read();
    } else {
        context.state.keep_unread_body(body);
    }
}

/// Adds `RateLimit` and `RateLimit-Policy` (IETF draft-ietf-httpapi-ratelimit-headers).
fn rate_limit_headers(headers: &mut HeaderMap, quota: &Quota) {
    const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
    const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
    headers.extend(quota.rate_limit().map(|value| (LIMIT, value)));
    headers.extend(quota.rate_limit_policy().map(|value| (POLICY, value)));
}
