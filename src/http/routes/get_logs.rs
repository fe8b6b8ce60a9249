//! `details`, `get-logs` and `get-latest-logs`: the log as an operator reads it, in constant memory.

use std::io::Write;
use std::num::NonZeroU64;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use serde_json::{Value, json};

use crate::config::{Durability, LogEntry};
use crate::http::admitted_request::{AdmittedRequest, Input};
use crate::http::query_response;
use crate::http::query_response::ReadDefaults;
use crate::http::response::record_format::RecordFormat;
use crate::http::response::success;
use crate::http::response::success::Answer;
use crate::record::LineFormat;
use crate::store::{Details, Extent, Order, StoreError};

/// How many lines `get-latest-logs` gives.
const LATEST: Option<NonZeroU64> = NonZeroU64::new(1024);

/// Every line as it stands in the file, oldest first.
pub(crate) const EVERYTHING: ReadDefaults = ReadDefaults {
    order: Order::Ascending,
    limit: None,
    extent: Extent::First,
    output: Some(RecordFormat::Text),
};

/// Name of the header that says where a read stopped.
pub(crate) const CURSOR: &str = "moca-cursor";

/// Size and settings of the log; the first eight names in the order that clients of the seed know.
pub(crate) async fn details(call: &Arc<AdmittedRequest>) -> Answer {
    authorize(call).await?;
    let found = call.app.store.details().await;
    let mut response = success::json(describe(call.app.name.as_str(), &call.policy.log, &found));
    success::keep_private(response.headers_mut());
    Ok(response)
}

fn describe(name: &str, log: &LogEntry, found: &Details) -> Vec<u8> {
    // Two decimals of a mebibyte, as ever.
    let mebibytes = (found.size as f64 / 1024.0 / 1024.0 * 100.0).round() / 100.0;
    let format = match log.format {
        LineFormat::Text => "text",
        LineFormat::Json => "json",
    };
    let durability = match log.durability {
        Durability::Disk => "disk",
        Durability::Os => "os",
    };
    let fields: [(&str, Value); 16] = [
        ("name", json!(name)),
        ("host", json!(log.host)),
        ("port", json!(log.port)),
        ("use_ipv6", json!(log.use_ipv6)),
        ("file", json!(log.file.to_string_lossy())),
        ("count", json!(found.count)),
        ("size", json!(found.size)),
        ("size(MB)", json!(mebibytes)),
        ("level", json!(log.level as u8)),
        ("format", json!(format)),
        ("durability", json!(durability)),
        ("oldest", json!(found.oldest)),
        ("newest", json!(found.newest)),
        ("counting", json!(found.counting)),
        ("size_on_disk", json!(found.size_on_disk)),
        ("segments", json!(found.segments)),
    ];
    let mut body = Vec::with_capacity(384);
    for (index, (name, value)) in fields.iter().enumerate() {
        let begin = if index == 0 { '{' } else { ',' };
        // Writing into a vector can't fail.
        drop(write!(body, "{begin}{}:{value}", json!(name)));
    }
    body.push(b'}');
    body
}

/// All lines, oldest first, or those that are asked for.
pub(crate) async fn get_logs(call: &Arc<AdmittedRequest>) -> Answer {
    let asked = query_response::ask(call).await?;
    query_response::records(call, asked, EVERYTHING).await
}

/// The latest 1024 lines as a JSON array, newest first, or those that are asked for.
pub(crate) async fn get_latest_logs(call: &Arc<AdmittedRequest>) -> Answer {
    let asked = query_response::ask(call).await?;
    let usual =
        ReadDefaults { order: Order::Descending, limit: LATEST, extent: Extent::Newest, output: None };
    query_response::records(call, asked, usual).await
}

/// What the operator's routes need: key and root password.
pub(crate) async fn authorize(
    call: &Arc<AdmittedRequest>,
) -> Result<(), crate::http::response::problem::Problem> {
    call.with_input(authorize_with).await
}

async fn authorize_with(
    call: Arc<AdmittedRequest>,
    input: Input,
) -> Result<(), crate::http::response::problem::Problem> {
    let params = call.params(&input)?;
    call.authorize(&params).await.map(|_| ())
}

/// A stream as an answer. Its failure breaks the connection off: half a log must not look like a whole one.
pub(crate) fn streaming(
    blocks: impl futures_util::Stream<Item = Result<Bytes, StoreError>> + Send + 'static,
) -> warp::reply::Response {
    let blocks = sync_wrapper::SyncStream::new(blocks);
    warp::reply::Reply::into_response(warp::reply::stream(blocks))
}

pub(crate) fn cursor_header(
    call: &AdmittedRequest,
    response: &mut warp::reply::Response,
    cursor: crate::store::Cursor,
) {
    let text = call.app.store.cursor_key().encode(cursor);
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(CURSOR, value);
    }
}
