//! Serves `get-logs` and `get-latest-logs`, which send the selected records in constant memory.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::http::admitted_request::AdmittedRequest;
use crate::http::query_response::{self, EVERYTHING, ReadDefaults};
use crate::http::response::success::Answer;
use crate::store::{Extent, Order};

/// Default number of lines of `get-latest-logs`.
const DEFAULT_LATEST_LINES: Option<NonZeroU64> = NonZeroU64::new(1024);

/// Answers with the selected lines. The default is all lines, oldest first.
pub(crate) async fn get_logs(request: &Arc<AdmittedRequest>) -> Answer {
    let requested = query_response::ask(request).await?;
    query_response::records(request, requested, EVERYTHING).await
}

/// Answers with the selected lines. The default is the latest 1024 lines as a JSON array, newest
/// first.
pub(crate) async fn get_latest_logs(request: &Arc<AdmittedRequest>) -> Answer {
    let requested = query_response::ask(request).await?;
    let defaults = ReadDefaults {
        order: Order::Descending,
        limit: DEFAULT_LATEST_LINES,
        extent: Extent::Newest,
        output: None,
    };
    query_response::records(request, requested, defaults).await
}
