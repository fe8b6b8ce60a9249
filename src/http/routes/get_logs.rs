//! `get-logs` and `get-latest-logs`: the records as an operator reads them, in constant memory.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::http::admitted_request::AdmittedRequest;
use crate::http::query_response::{self, EVERYTHING, ReadDefaults};
use crate::http::response::success::Answer;
use crate::store::{Extent, Order};

/// How many lines `get-latest-logs` gives.
const LATEST: Option<NonZeroU64> = NonZeroU64::new(1024);

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
