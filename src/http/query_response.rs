//! Records that a reader selects, as an answer: found beside the event loop, in constant memory, and only so many
//! searches at once.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};

use super::admitted_request::{AdmittedRequest, Input};
use super::request::read_params::ReadRequest;
use super::response::problem::Problem;
use super::response::record_format::{RecordFormat, write_object};
use super::response::success::{Answer, streaming};
use crate::store::{Cursor, CursorKey, Extent, Form, Order, Query, ReadError};

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
    let search = if asked.selection.is_all() { None } else { Some(call.begin_search()?) };
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
    crate::http::response::headers::keep_private(headers);
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

/// Every line as it stands in the file, oldest first.
pub(crate) const EVERYTHING: ReadDefaults = ReadDefaults {
    order: Order::Ascending,
    limit: None,
    extent: Extent::First,
    output: Some(RecordFormat::Text),
};

/// Name of the header that says where a read stopped.
pub(crate) const CURSOR: &str = "moca-cursor";

pub(crate) fn cursor_header(call: &AdmittedRequest, response: &mut warp::reply::Response, cursor: Cursor) {
    let text = call.app.store.cursor_key().encode(cursor);
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(CURSOR, value);
    }
}
