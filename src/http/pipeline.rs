//! One request, in the order of the contract: block list → DoS count → maintenance → known route and method → required
//! headers → referer → key → (body → parameters → root password → handler). A refused caller learns the refusal only.

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

use super::admitted_request::{AdmittedRequest, Refused};
use super::app::App;
use super::connection::state::{ConnectionState, Expired, Phase};
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

/// The warp service behind the checks.
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

/// An answer's body. Dropping it, sent or not, ends the request.
pub(crate) struct AnswerBody<B> {
    inner: B,
    state: Arc<ConnectionState>,
    /// where somebody wants to know
    end: Option<Box<AccessLogGuard>>,
}

impl<B> Drop for AnswerBody<B> {
    fn drop(&mut self) {
        // What is left of a body is no head of a request, whoever reads it now.
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
        if let Some(end) = &mut self.end
            && let Poll::Ready(Some(Ok(frame))) = &frame
        {
            end.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
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

/// Answers one request.
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
    // Whoever asks first whether to send a body is not told to send it when nobody reads it.
    let expects = request.headers().contains_key(header::EXPECT);
    let client = client_addr(peer, request.headers(), &policy.files.http);
    let trace = app.begin_trace(&policy, client, &request);
    let mut end = trace.clone().map(|trace| Box::new(AccessLogGuard::of(trace)));
    let began = trace.as_ref().and_then(|trace| trace.now());
    let mut checked = check(&app, &policy, &state, client, trace.as_ref(), request);
    if let Checked::AdmittedRequest(call) = &checked
        && call.owes()
        // Boxed, so that requests without Redis do not carry its future along.
        && let Err(refused) = Box::pin(call.settle()).await
    {
        checked = Checked::Refused(Box::new(refused));
    }
    if let Some(trace) = &trace {
        trace.took(Part::Check, began);
    }
    let (mut response, quota) = match checked {
        Checked::Answer { response, body } => {
            if state.has_unread_body() && !expects {
                drain(body, &state).await;
            }
            (response, None)
        }
        Checked::Refused(refused) => {
            app.count(&refused.problem);
            if let Some(trace) = &trace {
                trace.refused(&refused.problem);
            }
            if state.has_unread_body() && !expects {
                drain(refused.body, &state).await;
            }
            (refused.problem.into_response().map(Into::into), refused.quota)
        }
        Checked::AdmittedRequest(call) => {
            // The busiest route does not ask the filters: that makes it 4 % faster.
            let response = if call.route == Route::SaveLog {
                overdue(&app, &state, trace.as_ref(), routes::save_log(&call)).await
            } else {
                let handlers = handlers;
                let mut inner = Request::new(Empty::new());
                inner.extensions_mut().insert(Arc::clone(&call));
                overdue(&app, &state, trace.as_ref(), Box::pin(handlers.call(inner))).await
            };
            call.leave_body();
            (response, call.quota().cloned())
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
    if let Some(end) = &mut end {
        end.status = response.status().as_u16();
    }
    if let Some(new_follower) = FollowExtension::take(&mut response) {
        match takeovers {
            Some(takeovers) => {
                // The connection drops this future, and a follower goes on with the connection.
                takeovers.put(new_follower.into_takeover(response, &policy.files.http, end));
                state.enter(Phase::Following);
                return pending().await;
            }
            None => response = http2_response(new_follower, response),
        }
    }
    state.enter(Phase::Answering);
    Ok(response.map(|inner| AnswerBody { inner, state, end }))
}

/// Waits for the handler, but not past the time that an answer may take: the connection's timer tells.
async fn overdue(
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

enum Checked {
    /// `body`: what the client sends that nobody reads
    Answer {
        response: warp::reply::Response,
        body: Option<Incoming>,
    },
    Refused(Box<Refused>),
    AdmittedRequest(Arc<AdmittedRequest>),
}

impl Checked {
    fn refused(problem: Problem, body: Incoming) -> Self {
        Self::Refused(Box::new(Refused { problem, quota: None, body: Some(body) }))
    }
}

impl From<Problem> for Checked {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(Refused { problem, quota: None, body: None }))
    }
}

/// A body so small that it is as good as here is read and dropped, so that the connection can be used again: a client
/// that is told to come back later must not connect anew each time.
async fn drain(body: Option<Incoming>, state: &ConnectionState) {
    const SMALL: u64 = 64 * 1024;
    const PATIENCE: Duration = Duration::from_millis(200);
    let Some(mut body) = body else { return };
    let small = body.size_hint().exact().is_some_and(|len| len <= SMALL);
    if small && matches!(timeout(PATIENCE, (&mut body).collect()).await, Ok(Ok(_))) {
        state.body_read();
    } else {
        state.leave(body);
    }
}

/// A path as it may stand in an answer: nobody needs sixteen kilobytes of it back.
fn shown(path: &str) -> String {
    const MOST: usize = 200;
    match path.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", path.get(..end).unwrap_or_default()),
        None => path.to_owned(),
    }
}

fn check(
    app: &Arc<App>,
    policy: &Arc<Policy>,
    state: &Arc<ConnectionState>,
    client: ClientAddr,
    trace: Option<&Arc<Trace>>,
    request: Request<Incoming>,
) -> Checked {
    let rules = &policy.rules;
    if let Err(refusal) = app.guard.check_address(rules, &client, Instant::now()) {
        return Checked::refused(refusal.into(), request.into_body());
    }
    if let Err(problem) = check_head(&request, state, &policy.files.http) {
        return problem.into();
    }
    let (parts, body) = request.into_parts();
    // Targets without a path (RFC 9112, sections 3.2.3 and 3.2.4): the server as a whole, and a tunnel through it.
    let preflight = || policy.preflight(&parts.headers).map(Into::into);
    if parts.method == Method::OPTIONS && parts.uri.path() == "*" {
        return Checked::Answer { response: preflight(), body: Some(body) };
    }
    if parts.method == Method::CONNECT {
        return Checked::refused(Problem::method_not_allowed("Method CONNECT not allowed", METHODS), body);
    }
    let admin = || (client == ClientAddr::Local).then(|| Route::of_admin(parts.uri.path())).flatten();
    let Some(route) = Route::of(parts.uri.path(), &app.name).or_else(admin) else {
        let detail = format!("Requested URL {} not found", parts.uri.path());
        return Checked::refused(Problem::new(StatusCode::NOT_FOUND, detail), body);
    };
    if !route.allows(&parts.method) {
        let detail = format!("Method {} not allowed for URL {}", parts.method, shown(parts.uri.path()));
        return Checked::refused(Problem::method_not_allowed(detail, route.methods()), body);
    }
    if parts.method == Method::OPTIONS {
        return Checked::Answer { response: preflight(), body: Some(body) };
    }
    if route == Route::Status {
        let text = concat!("MocaFileLog(", env!("CARGO_PKG_VERSION"), ") is working...");
        let mut response = success::text(Bytes::from_static(text.as_bytes()));
        response.headers_mut().insert(header::CACHE_CONTROL, crate::http::response::headers::NO_STORE);
        return Checked::Answer { response, body: Some(body) };
    }
    if route == Route::OpenApi {
        let response = openapi::document(&parts.headers);
        return Checked::Answer { response, body: Some(body) };
    }
    // What browsers and proxies must send is no matter of the operator's own socket.
    if client != ClientAddr::Local
        && let Err(refusal) = app.guard.check_headers(rules, &parts.headers)
    {
        return Checked::refused(refusal.into(), body);
    }
    if route == Route::Page {
        return Checked::Answer { response: page::page(&parts.headers), body: Some(body) };
    }
    let (app, policy, state) = (Arc::clone(app), Arc::clone(policy), Arc::clone(state));
    match AdmittedRequest::admit(app, policy, state, trace.cloned(), client, route, parts, body) {
        Ok(call) => Checked::AdmittedRequest(Arc::new(call)),
        Err(refused) => Checked::Refused(refused),
    }
}

/// `RateLimit` and `RateLimit-Policy` (IETF draft-ietf-httpapi-ratelimit-headers).
fn rate_limit_headers(headers: &mut HeaderMap, quota: &Quota) {
    const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
    const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
    headers.extend(quota.rate_limit().map(|value| (LIMIT, value)));
    headers.extend(quota.rate_limit_policy().map(|value| (POLICY, value)));
}
