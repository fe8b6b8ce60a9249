//! Serves `tail`, which sends new records as they are stored, as Server-Sent Events or as WebSocket
//! messages.

use crate::guard::Access;
use crate::http::response::methods::Methods;
use crate::http::route::{Place, Route, RouteFilter, named};
use futures_util::FutureExt;
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use crate::guard::{ClientAddr, Key, would_admit_address};
use crate::http::admitted_request::AdmittedRequest;
use crate::http::follow::block::{BlockFormat, Form};
use crate::http::follow::follower::{Follower, WouldAdmit};
use crate::http::follow::takeover::{FollowExtension, NewFollower, Protocol};
use crate::http::follow::websocket_handshake::websocket_requested;
use crate::http::query_response::cursor_header;
use crate::http::request::read_params::{self, ReadRequest};
use crate::http::request_context::Input;
use crate::http::response::headers::keep_private;
use crate::http::response::problem::Problem;
use crate::http::response::record_format::RecordFormat;
use crate::http::response::success::Answer;
use crate::ingest::params::Params;
use crate::store::{Cursor, Order, ReadError};

/// Describes `tail`.
pub(crate) static ROUTE: Route = Route {
    name: "tail",
    place: Place::OfLog,
    methods: Methods::USUAL,
    access: Access::KeyAndRootPassword,
    handler: |request| async move { tail(&request).await }.boxed(),
    endpoint: None,
    openapi: Some(include_str!("openapi/tail.json")),
};

/// Matches the path of `tail`.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Answers with a follower of the log.
async fn tail(request: &Arc<AdmittedRequest>) -> Answer {
    request.with_input(begin).await
}

async fn begin(request: Arc<AdmittedRequest>, input: Input) -> Answer {
    let params = request.params(&input)?;
    let key = request.authorize(&params).await?;
    let accept = websocket_requested(&request.parts)?;
    let store = &request.app.store;
    let requested = ReadRequest::read(&params, &store.cursor_key())?;
    if requested.order == Some(Order::Descending) {
        return Err(Problem::invalid_parameter("order", "a tail gives records as they come"));
    }
    let name = selection_name(&params, &requested)?;
    let resume = resume(&request, &requested)?;
    let lines = lines(&params)?;
    let (limit, output) = (requested.limit.map(NonZeroU64::get), requested.output);
    let looks_back = resume.is_none() && lines.is_some() && !requested.selects_all();
    let search = (looks_back || requested.has_regex()).then(|| request.begin_search()).transpose()?;
    let selection = requested.compiled(&request.app.pattern_pool).await?;
    let at = match resume {
        Some(cursor) => check_cursor(&request, cursor).await?,
        None => {
            let state = Arc::clone(&request.state);
            store.begin(selection.clone(), lines, Box::new(move || state.goes_on())).await?
        }
    };
    drop(search);
    let form = match (&accept, output) {
        (Some(_), _) => Form::Message,
        (None, None | Some(RecordFormat::Text)) => Form::EventOfLine,
        (None, Some(RecordFormat::Json | RecordFormat::Ndjson)) => Form::EventOfObject,
    };
    let mut response = warp::reply::Response::new(Bytes::new().into());
    let headers = response.headers_mut();
    keep_private(headers);
    if accept.is_none() {
        headers.insert(CONTENT_TYPE, EVENT_STREAM);
        headers.insert(&ACCEL_BUFFERING, HeaderValue::from_static("no"));
    }
    cursor_header(&request, &mut response, at);
    if request.is_head() {
        return Ok(response);
    }
    let format = BlockFormat { form, selection, name: name.into() };
    let follower = Follower::new(request.app.clone(), would_admit(&request, key), format, at, limit);
    let protocol = match accept {
        None => Protocol::Events,
        Some(accept) => {
            accept.apply_headers(&mut response);
            Protocol::WebSocket
        }
    };
    let version = request.parts.version;
    response.extensions_mut().insert(FollowExtension::new(NewFollower { follower, protocol, version }));
    Ok(response)
}

/// Returns the cursor from which a client resumes. `Last-Event-ID`, which a browser sends when it
/// reconnects, takes precedence over the parameter `cursor`.
fn resume(request: &AdmittedRequest, requested: &ReadRequest) -> Result<Option<Cursor>, Problem> {
    let Some(last) = request.parts.headers.get(&LAST_EVENT_ID).filter(|id| !id.is_empty()) else {
        return Ok(requested.cursor);
    };
    let decoded = last.to_str().ok().map(|text| request.app.store.cursor_key().decode(text.trim()));
    match decoded {
        Some(Ok(cursor)) => Ok(Some(cursor)),
        _ => Err(Problem::invalid_parameter("Last-Event-ID", "not a cursor of this log")),
    }
}

/// Checks that the record behind a cursor still exists, and returns the cursor.
///
/// # Errors
/// Fails with 410 for a cursor whose record is gone, and with 503 when the log cannot be read.
async fn check_cursor(request: &AdmittedRequest, cursor: Cursor) -> Result<Cursor, Problem> {
    match request.app.store.check_cursor(cursor).await {
        Ok(()) => Ok(cursor),
        Err(ReadError::Gone { oldest }) => Err(Problem::gone(request.app.store.cursor_key().encode(oldest))),
        Err(ReadError::Store(error)) => Err(error.into()),
    }
}

/// Returns how many of the latest records the answer starts with, or `None` if the client requests
/// none.
fn lines(params: &Params<'_>) -> Result<Option<NonZeroU64>, Problem> {
    if params.text("lines").is_some_and(|text| text.trim() == "0") {
        return Ok(None);
    }
    read_params::positive(params, "lines")
}

/// Returns a text that is different for each selection. Followers with the same text share blocks.
fn selection_name(params: &Params<'_>, requested: &ReadRequest) -> Result<String, Problem> {
    let mut name = String::new();
    if requested.selects_all() {
        return Ok(name);
    }
    let (since, until, level) = requested.range();
    name.push_str(&format!("{since:?} {until:?} {level:?}"));
    for parameter in ["contains", "regex", "client", "key"] {
        // `ReadRequest::read` has checked their number and length.
        name.push_str(&format!(" {:?}", params.all(parameter, usize::MAX, usize::MAX)?));
    }
    Ok(name)
}

/// Returns the check that a follower repeats after a reload and when maintenance begins or ends. It
/// covers all checks whose result can have changed.
fn would_admit(request: &AdmittedRequest, key: Arc<Key>) -> WouldAdmit {
    let (app, policy, client) = (Arc::clone(&request.app), Arc::clone(&request.policy), request.client);
    Box::new(move || {
        if client == ClientAddr::Local {
            return true;
        }
        let current = app.policy();
        let entry = current.files.keys.iter().find(|entry| entry.digest == key.entry.digest);
        let same_key = entry.is_some_and(|entry| *entry == key.entry);
        let same_password = current.files.system.root_pass == policy.files.system.root_pass;
        same_key && same_password && would_admit_address(&app.guard, current.rules(), &client)
    })
}
