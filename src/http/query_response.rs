//! Records that a reader selects, as an answer: found beside the event loop, in constant memory, and only so many
//! searches at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};

use super::admitted_request::{AdmittedRequest, Input};
use super::connection::state::ConnectionState;
use super::request::read_params::ReadRequest;
use super::response::problem::Problem;
use super::response::record_format::{RecordFormat, write_object};
use super::response::success;
use super::response::success::Answer;
use super::routes::get_logs::{cursor_header, streaming};
use crate::store::{CursorKey, Extent, Form, Order, Query, ReadError};

/// Searches that are under way. A read without a selection is none.
#[derive(Debug, Default)]
pub(crate) struct Searches(AtomicU32);

/// One search, which ends when this is dropped.
pub(crate) struct Search {
    searches: Arc<Searches>,
    state: Arc<ConnectionState>,
}

impl Search {
    pub(crate) fn begin(call: &AdmittedRequest) -> Result<Self, Problem> {
        let searches = Arc::clone(&call.app.searches);
        let most = call.policy.files.http.max_searches;
        let room = searches.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |running| {
            (running < most).then_some(running + 1)
        });
        if room.is_err() {
            return Err(Problem::overloaded("Too many searches at once."));
        }
        call.state.search_begins();
        Ok(Self { searches, state: Arc::clone(&call.state) })
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.state.search_ends();
        self.searches.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a route gives where nothing else is asked for.
pub(crate) struct ReadDefaults {
    pub(crate) order: Order,
    pub(crate) limit: Option<std::num::NonZeroU64>,
    pub(crate) extent: Extent,
    /// `None`: an array of lines
    pub(crate) output: Option<RecordFormat>,
}

/// Finishes the checks of a request for records, and reads what it asks for.
pub(crate) async fn ask(call: &Arc<AdmittedRequest>) -> Result<ReadRequest, Problem> {
    call.with_input(ask_with).await
}

async fn ask_with(call: Arc<AdmittedRequest>, input: Input) -> Result<ReadRequest, Problem> {
    let params = call.params(&input)?;
    call.authorize(&params).await?;
    ReadRequest::read(&params, &call.app.store.cursor_key())
}

/// The records that are asked for, as an answer.
pub(crate) async fn records(call: &Arc<AdmittedRequest>, asked: ReadRequest, usual: ReadDefaults) -> Answer {
    let store = &call.app.store;
    let key = store.cursor_key();
    let search = if asked.selection.is_all() { None } else { Some(Search::begin(call)?) };
    let output = asked.output.or(usual.output);
    let state = Arc::clone(&call.state);
    let query = Query {
        selection: asked.selection,
        order: asked.order.unwrap_or(usual.order),
        cursor: asked.cursor,
        limit: asked.limit.or(usual.limit),
        extent: usual.extent,
        form: form(output, key),
        progress: Box::new(move || state.goes_on()),
    };
    let reading = store.read(query).await.map_err(|error| match error {
        ReadError::Gone { oldest } => Problem::gone(key.encode(oldest)),
        ReadError::Store(error) => error.into(),
    })?;
    let mut response = if call.is_head() {
        warp::reply::Response::new(Bytes::new().into())
    } else {
        // the search ends with the stream
        streaming(reading.blocks.map(move |block| {
            let _under_way = &search;
            block
        }))
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, output.unwrap_or(RecordFormat::Json).media_type());
    headers.extend(reading.len.map(|len| (CONTENT_LENGTH, HeaderValue::from(len))));
    success::keep_private(headers);
    cursor_header(call, &mut response, reading.stopped);
    Ok(response)
}

fn form(output: Option<RecordFormat>, key: CursorKey) -> Form {
    match output {
        Some(RecordFormat::Text) => Form::LINES,
        Some(RecordFormat::Json) => {
            let write =
                Box::new(move |out: &mut Vec<u8>, line: &[u8], after| write_object(out, line, after, &key));
            Form { open: "[", between: ",", close: "]", write: Some(write) }
        }
        Some(RecordFormat::Ndjson) => {
            let write = Box::new(move |out: &mut Vec<u8>, line: &[u8], after| {
                write_object(out, line, after, &key);
                out.push(b'\n');
            });
            Form { open: "", between: "", close: "", write: Some(write) }
        }
        None => {
            let write = Box::new(|out: &mut Vec<u8>, line: &[u8], _| {
                // Writing text into a vector can't fail.
                drop(serde_json::to_writer(out, &String::from_utf8_lossy(line)));
            });
            Form { open: "[", between: ",", close: "]", write: Some(write) }
        }
    }
}
