//! `tail`: records as they come, as Server-Sent Events and as messages of WebSocket.
//!
//! Nobody who follows loses a record or costs memory: a follower is a cursor, and what it is sent it reads from the log.
//! `rounds` tells followers what is new, on a thread of their own; `block` encodes it once for all who want the same;
//! `follower` is one of them; `events` and `websocket` take a connection over from hyper and write blocks into it.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{StatusCode, Version, response};

pub(crate) use super::hub::FollowerHub;

use super::block::{BlockFormat, Form};
use super::follower::Follower;
use crate::config::HttpSettings;
use crate::http::admitted_request::{AdmittedRequest, Input};
use crate::http::connection::stream::ConnectionStream;
use crate::http::observe::request_trace::AccessLogGuard;
use crate::http::pipeline::WarpBody;
use crate::http::query_response::Search;
use crate::http::request::params::Params;
use crate::http::request::read_params;
use crate::http::request::read_params::ReadRequest;
use crate::http::response::problem::Problem;
use crate::http::response::record_format::RecordFormat;
use crate::http::response::success;
use crate::http::response::success::Answer;
use crate::http::routes::get_logs::cursor_header;
use crate::http::server::http1::Shutdown;
use crate::net::transport::Transport;
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
    let accept = super::websocket::websocket_requested(&call.parts)?;
    let store = &call.app.store;
    let asked = ReadRequest::read(&params, &store.cursor_key())?;
    if asked.order == Some(Order::Descending) {
        return Err(read_params::invalid_parameter("order", "a tail gives records as they come"));
    }
    let name = selection_name(&params, &asked)?;
    let resume = resume(&call, &asked)?;
    let lines = lines(&params)?;
    let selection = asked.selection;
    let at = match resume {
        Some(cursor) => still_there(&call, cursor).await?,
        None => {
            let searches = lines.is_some() && !selection.is_all();
            let _search = searches.then(|| Search::begin(&call)).transpose()?;
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
    success::keep_private(headers);
    if accept.is_none() {
        headers.insert(CONTENT_TYPE, EVENT_STREAM);
        headers.insert(&ACCEL_BUFFERING, HeaderValue::from_static("no"));
    }
    cursor_header(&call, &mut response, at);
    if call.is_head() {
        return Ok(response);
    }
    let shape = BlockFormat { form, selection, name: name.into() };
    let limit = asked.limit.map(NonZeroU64::get);
    let follower = Follower::new(&call.app, &call.policy, call.client, key, shape, at, limit);
    let protocol = match accept {
        None => Protocol::Events,
        Some(accept) => {
            accept.apply_headers(&mut response);
            Protocol::WebSocket
        }
    };
    let version = call.parts.version;
    response.extensions_mut().insert(Following::new(Start { follower, protocol, version }));
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
        _ => Err(read_params::invalid_parameter("Last-Event-ID", "not a cursor of this log")),
    }
}

async fn still_there(call: &AdmittedRequest, cursor: Cursor) -> Result<Cursor, Problem> {
    // The log as it is, not as it was left: somebody may have moved the file.
    drop(call.app.store.snapshot().await?);
    let mut found = call.app.store.piece(cursor, 1).await;
    if let Err(ReadError::Store(_)) = found {
        // A clear may have come in between.
        found = call.app.store.piece(cursor, 1).await;
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

/// A follower that was let in.
pub(crate) struct Start {
    pub(crate) follower: Follower,
    pub(crate) protocol: Protocol,
    pub(crate) version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Events,
    WebSocket,
}

/// Stands in the extensions of the answer that begins to follow.
#[derive(Clone)]
pub(crate) struct Following(Arc<Mutex<Option<Start>>>);

impl Following {
    fn new(start: Start) -> Self {
        Self(Arc::new(Mutex::new(Some(start))))
    }

    /// Takes it from an answer, where there is one.
    pub(crate) fn take<B>(response: &mut http::Response<B>) -> Option<Start> {
        let this = response.extensions_mut().remove::<Self>()?;
        this.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Start {
    /// Events as the body of an answer over HTTP/2.
    pub(crate) fn into_body(self) -> WarpBody {
        super::sse::body(self.follower)
    }

    /// What takes the connection over, with the head of its answer.
    pub(crate) fn into_takeover<B>(
        self,
        response: http::Response<B>,
        settings: &HttpSettings,
        end: Option<Box<AccessLogGuard>>,
    ) -> Takeover {
        Takeover { start: self, head: response.into_parts().0, settings: Times::of(settings), end }
    }
}

/// A connection of HTTP/1 that is no matter of hyper any more.
pub(crate) struct Takeover {
    pub(crate) start: Start,
    pub(crate) head: response::Parts,
    pub(crate) settings: Times,
    /// where somebody wants to know
    pub(crate) end: Option<Box<AccessLogGuard>>,
}

impl std::fmt::Debug for Takeover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Takeover").field("protocol", &self.start.protocol).finish_non_exhaustive()
    }
}

/// What of the configuration steers a connection that follows, in milliseconds and bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) stall: u64,
    pub(crate) max_message: u64,
    pub(crate) max_queue: usize,
    pub(crate) read_limit: usize,
    pub(crate) write_limit: usize,
    /// 0 = none
    pub(crate) ping_interval: u64,
    /// 0 = none
    pub(crate) ping_timeout: u64,
}

impl Times {
    fn of(http: &HttpSettings) -> Self {
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4);
        let size = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        Self {
            stall: millis(http.response_timeout),
            max_message: http.websocket_max_size,
            max_queue: size(http.websocket_max_queue),
            read_limit: size(http.websocket_read_limit),
            write_limit: size(http.websocket_write_limit),
            ping_interval: millis(http.websocket_ping_interval),
            ping_timeout: millis(http.websocket_ping_timeout),
        }
    }
}

/// Serves a connection that was handed over, to its end, on the followers' thread.
pub(crate) async fn serve<S: Transport>(stream: ConnectionStream<S>, takeover: Takeover, stopping: Shutdown) {
    let app = stream.app();
    stream.inner().limit_send_buffer();
    FollowerHub::run(&app, async move {
        match takeover.start.protocol {
            Protocol::Events => super::sse::serve(stream, takeover, stopping).await,
            Protocol::WebSocket => super::websocket::serve(stream, takeover, stopping).await,
        }
    })
    .await;
}

/// The head of an answer of HTTP/1.1 (RFC 9112, section 4).
pub(crate) fn raw_head(head: &mut response::Parts, chunked: bool) -> Vec<u8> {
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if chunked {
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let reason = head.status.canonical_reason().unwrap_or_default();
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let mut raw = format!("HTTP/1.1 {} {reason}\r\ndate: {date}\r\n", head.status.as_u16()).into_bytes();
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            raw.extend_from_slice(part);
        }
    }
    raw.extend_from_slice(b"\r\n");
    raw
}
