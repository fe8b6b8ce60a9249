//! Serves `get-logs`, which sends the selected records in constant memory.

use std::sync::Arc;

use futures_util::FutureExt;

use crate::guard::Access;
use crate::http::admitted_request::AdmittedRequest;
use crate::http::query_response::{self, EVERYTHING};
use crate::http::response::methods::Methods;
use crate::http::response::success::Answer;
use crate::http::route::{Place, Route, RouteFilter, named};

/// Describes `get-logs`.
pub(crate) static ROUTE: Route = Route {
    name: "get-logs",
    place: Place::OfLog,
    methods: Methods::USUAL,
    access: Access::KeyAndRootPassword,
    handler: |request| async move { get_logs(&request).await }.boxed(),
    endpoint: None,
    openapi: Some(include_str!("openapi/get_logs.json")),
};

/// Matches the path of `get-logs`.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

/// Answers with the selected lines. The default is all lines, oldest first.
async fn get_logs(request: &Arc<AdmittedRequest>) -> Answer {
    let requested = query_response::ask(request).await?;
    query_response::records(request, requested, EVERYTHING).await
}
