//! Serves `get-latest-logs`, which sends the newest of the selected records in constant memory.

use std::num::NonZeroU64;
use std::sync::Arc;

use futures_util::FutureExt;

use crate::guard::Access;
use crate::http::admitted_request::AdmittedRequest;
use crate::http::query_response::{self, ReadDefaults};
use crate::http::response::methods::Methods;
use crate::http::response::success::Answer;
use crate::http::route::{Place, Route, RouteFilter, named};
use crate::store::{Extent, Order};

/// Describes `get-latest-logs`.
pub(crate) static ROUTE: Route = Route {
    name: "get-latest-logs",
    place: Place::OfLog,
    methods: Methods::USUAL,
    access: Access::KeyAndRootPassword,
    handler: |request| async move { get_latest_logs(&request).await }.boxed(),
    endpoint: None,
    openapi: Some(include_str!("openapi/get_latest_logs.json")),
};

/// Matches the path of `get-latest-logs`.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

/// Default number of lines.
const DEFAULT_LATEST_LINES: Option<NonZeroU64> = NonZeroU64::new(1024);

/// Answers with the selected lines. The default is the latest 1024 lines as a JSON array, newest
/// first.
async fn get_latest_logs(request: &Arc<AdmittedRequest>) -> Answer {
    let requested = query_response::ask(request).await?;
    let defaults = ReadDefaults {
        order: Order::Descending,
        limit: DEFAULT_LATEST_LINES,
        extent: Extent::Newest,
        output: None,
    };
    query_response::records(request, requested, defaults).await
}
