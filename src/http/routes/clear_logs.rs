//! Serves `clear-logs`, which removes all lines that were acknowledged before the request.

use crate::guard::Access;
use crate::http::response::methods::Methods;
use crate::http::route::{Place, Route, RouteFilter, named};
use futures_util::FutureExt;
use std::sync::Arc;

use crate::http::admitted_request::AdmittedRequest;
use crate::http::response::headers::forbid_caching;
use crate::http::response::success::{self, Answer};

/// Describes `clear-logs`.
pub(crate) static ROUTE: Route = Route {
    name: "clear-logs",
    place: Place::OfLog,
    methods: Methods::USUAL,
    access: Access::KeyAndRootPassword,
    handler: |request| async move { clear_logs(&request).await }.boxed(),
    endpoint: None,
    openapi: Some(include_str!("openapi/clear_logs.json")),
};

/// Matches the path of `clear-logs`.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

/// Clears the log. A HEAD request passes the same checks and changes nothing.
async fn clear_logs(request: &Arc<AdmittedRequest>) -> Answer {
    request.authorize_operator().await?;
    if !request.is_head() {
        request.app.store.clear().await?;
        crate::event!(
            warn, CLEARED, MOCA_CLIENT = request.client.to_string().as_str();
            "the log was cleared over HTTP"
        );
    }
    let mut response = success::success();
    forbid_caching(response.headers_mut(), &request.parts.method);
    Ok(response)
}
