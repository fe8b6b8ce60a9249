//! Answers with the records that a client selects. The search runs off the event loop in constant
//! memory, and `max_searches` limits the number of searches that run at once.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};

use super::admitted_request::AdmittedRequest;
use super::request::read_params::ReadRequest;
use super::request_context::Input;
use super::response::problem::Problem;
use super::response::record_format::{RecordFormat, write_object};
use super::response::success::{Answer, streaming};
use crate::store::{Cursor, CursorKey, Extent, Form, Order, Query, ReadError};

/// Holds the values of a route for parameters that the request does not set.
pub(crate) struct ReadDefaults {
    pub(crate) order: Order,
    /// Maximum number of records, or `None` for all.
    pub(crate) limit: Option<std::num::NonZeroU64>,
    pub(crate) extent: Extent,
    /// `None` for a JSON array of lines.
    pub(crate) output: Option<RecordFormat>,
}

/// Finishes the checks of a request for records, and returns its parameters.
pub(crate) async fn ask(request: &Arc<AdmittedRequest>) -> Result<ReadRequest, Problem> {
    request.with_input(ask_with).await
}

async fn ask_with(request: Arc<AdmittedRequest>, input: Input) -> Result<ReadRequest, Problem> {
    let params = request.params(&input)?;
    request.authorize(&params).await?;
    ReadRequest::read(&params, &request.app.store.cursor_key())
}

/// Returns the answer with the selected records.
pub(crate) async fn records(
    request: &Arc<AdmittedRequest>,
    read: ReadRequest,
    defaults: ReadDefaults,
) -> Answer {
    let store = &request.app.store;
    let key = store.cursor_key();
    // An expression is compiled under the permit of its search.
    let search = if read.selects_all() { None } else { Some(request.begin_search()?) };
    let output = read.output.or(defaults.output);
    let state = Arc::clone(&request.state);
    let (order, cursor, limit) = (read.order, read.cursor, read.limit);
    let query = Query {
        selection: read.compiled(&request.app.pattern_pool).await?,
        order: order.unwrap_or(defaults.order),
        cursor,
        limit: limit.or(defaults.limit),
        extent: defaults.extent,
        form: form(output, key),
        progress: Box::new(move || state.goes_on()),
    };
    let reading = store.read(query).await.map_err(|error| match error {
        ReadError::Gone { oldest } => Problem::gone(key.encode(oldest)),
        ReadError::Store(error) => error.into(),
    })?;
    let mut response = if request.is_head() {
        warp::reply::Response::new(Bytes::new().into())
    } else {
        // The search ends when the stream is dropped.
        streaming(reading.blocks.map(move |block| {
            let _search = &search;
            block
        }))
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, output.unwrap_or(RecordFormat::Json).media_type());
    headers.extend(reading.len.map(|len| (CONTENT_LENGTH, HeaderValue::from(len))));
    crate::http::response::headers::keep_private(headers);
    cursor_header(request, &mut response, reading.stopped);
    Ok(response)
}

/// Returns the form in which the store writes the records.
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

/// The defaults of a route that returns all lines as they stand in the file, oldest first.
pub(crate) const EVERYTHING: ReadDefaults = ReadDefaults {
    order: Order::Ascending,
    limit: None,
    extent: Extent::First,
    output: Some(RecordFormat::Text),
};

/// Name of the header with the cursor at which a read stopped.
pub(crate) const CURSOR_HEADER: &str = "moca-cursor";

/// Adds the cursor at which a read stopped to the response.
pub(crate) fn cursor_header(request: &AdmittedRequest, response: &mut warp::reply::Response, cursor: Cursor) {
    let text = request.app.store.cursor_key().encode(cursor);
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(CURSOR_HEADER, value);
    }
}
