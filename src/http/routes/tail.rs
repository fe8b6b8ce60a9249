//! `tail`: records as they are stored, as Server-Sent Events or as WebSocket messages.

use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use crate::guard::{ClientAddr, Key};
use crate::http::admitted_request::{AdmittedRequest, Input};
use crate::http::follow::block::{BlockFormat, Form};
use crate::http::follow::follower::{Follower, WouldAdmit};
use crate::http::follow::takeover::{FollowExtension, NewFollower, Protocol};
use crate::http::follow::websocket;
use crate::http::query_response::cursor_header;
use crate::http::request::params::Params;
use crate::http::request::read_params::{self, ReadRequest};
use crate::http::response::headers::keep_private;
use crate::http::response::problem::Problem;
use crate::http::response::record_format::RecordFormat;
use crate::http::response::success::Answer;
use crate::store::{Cursor, Order, ReadError};

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Follows the log.
pub(crate) async fn tail(call: &Arc<AdmittedRequest>) -> Answer {
    call.with_input(begin).await
}

async fn begin(call: Arc<AdmittedRequest>, input: Input) -> Answer {
    let params = call.params(&input)?;
    let key = call.authorize(&params).await?;
    let accept = websocket::websocket_requested(&call.parts)?;
    let store = &call.app.store;
    let asked = ReadRequest::read(&params, &store.cursor_key())?;
    if asked.order == Some(Order::Descending) {
        return Err(Problem::invalid_parameter("order", "a tail gives records as they come"));
    }
    let name = selection_name(&params, &asked)?;
    let resume = resume(&call, &asked)?;
    let lines = lines(&params)?;
    let selection = asked.selection;
    let at = match resume {
        Some(cursor) => still_there(&call, cursor).await?,
        None => {
            let searches = lines.is_some() && !selection.is_all();
            let _search = searches.then(|| call.begin_search()).transpose()?;
            let state = Arc::clone(&call.state);
            store.begin(selection.clone(), lines, Box::new(move || state.goes_on())).await?
        }
    };
    let form = match (&accept, asked.output) {
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
    cursor_header(&call, &mut response, at);
    if call.is_head() {
        return Ok(response);
    }
    let format = BlockFormat { form, selection, name: name.into() };
    let limit = asked.limit.map(NonZeroU64::get);
    let follower = Follower::new(call.app.clone(), would_admit(&call, key), format, at, limit);
    let protocol = match accept {
        None => Protocol::Events,
        Some(accept) => {
            accept.apply_headers(&mut response);
            Protocol::WebSocket
        }
    };
    let version = call.parts.version;
    response.extensions_mut().insert(FollowExtension::new(NewFollower { follower, protocol, version }));
    Ok(response)
}

/// After which record a client goes on: what it received last, as a browser tells it, else what it asks for.
fn resume(call: &AdmittedRequest, asked: &ReadRequest) -> Result<Option<Cursor>, Problem> {
    let Some(last) = call.parts.headers.get(&LAST_EVENT_ID).filter(|id| !id.is_empty()) else {
        return Ok(asked.cursor);
    };
    let decoded = last.to_str().ok().map(|text| call.app.store.cursor_key().decode(text.trim()));
    match decoded {
        Some(Ok(cursor)) => Ok(Some(cursor)),
        _ => Err(Problem::invalid_parameter("Last-Event-ID", "not a cursor of this log")),
    }
}

async fn still_there(call: &AdmittedRequest, cursor: Cursor) -> Result<Cursor, Problem> {
    // The log as it is, not as it was left: somebody may have moved the file.
    drop(call.app.store.snapshot().await?);
    let mut found = call.app.store.line_chunk(cursor, 1).await;
    if let Err(ReadError::Store(_)) = found {
        // A clear may have come in between.
        found = call.app.store.line_chunk(cursor, 1).await;
    }
    match found {
        Ok(_) => Ok(cursor),
        Err(ReadError::Gone { oldest }) => Err(Problem::gone(call.app.store.cursor_key().encode(oldest))),
        Err(ReadError::Store(error)) => Err(error.into()),
    }
}

/// How many of the latest records come first; `None` = not asked for.
fn lines(params: &Params<'_>) -> Result<Option<NonZeroU64>, Problem> {
    if params.text("lines").is_some_and(|text| text.trim() == "0") {
        return Ok(None);
    }
    read_params::positive(params, "lines")
}

/// A text that tells this selection from others.
fn selection_name(params: &Params<'_>, asked: &ReadRequest) -> Result<String, Problem> {
    let mut name = String::new();
    if asked.selection.is_all() {
        return Ok(name);
    }
    let (since, until) = (asked.selection.since, asked.selection.until);
    name.push_str(&format!("{since:?} {until:?} {:?}", asked.selection.level));
    for parameter in ["contains", "regex", "client", "key"] {
        // Read a moment ago, so they are not too many.
        name.push_str(&format!(" {:?}", params.all(parameter, usize::MAX, usize::MAX)?));
    }
    Ok(name)
}

/// Returns the check that a follower repeats after a reload and after maintenance, as far as its result can have changed.
fn would_admit(call: &AdmittedRequest, key: Arc<Key>) -> WouldAdmit {
    let (app, policy, client) = (Arc::clone(&call.app), Arc::clone(&call.policy), call.client);
    Box::new(move || {
        if client == ClientAddr::Local {
            return true;
        }
        let now = app.policy();
        let entry = now.files.keys.iter().find(|entry| entry.digest == key.entry.digest);
        let same_key = entry.is_some_and(|entry| *entry == key.entry);
        let same_password = now.files.system.root_pass == policy.files.system.root_pass;
        same_key && same_password && app.guard.would_admit(now.rules(), &client)
    })
}
