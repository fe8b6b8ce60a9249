//! Serves `/admin/maintenance`, which begins and ends maintenance, on the admin socket. `mocactl` uses
//! it where systemd does not run, so that it need not find the process to send it a signal.

use std::sync::Arc;

use futures_util::FutureExt;
use http::Method;
use serde_json::json;

use crate::guard::Access;
use crate::http::admitted_request::AdmittedRequest;
use crate::http::response::methods::Methods;
use crate::http::response::problem::Problem;
use crate::http::response::success::{self, Answer};
use crate::http::route::{Place, Route, RouteFilter, named};

/// Describes `/admin/maintenance`.
pub(crate) static ROUTE: Route = Route {
    name: "maintenance",
    place: Place::Admin,
    methods: Methods::USUAL,
    access: Access::AdminSocket,
    handler: |request| async move { maintenance(&request).await }.boxed(),
    endpoint: None,
    openapi: None,
};

/// Matches the path behind `/admin`.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

/// Answers `/admin/maintenance`. GET returns whether an operator switched maintenance on, and POST
/// with `on` switches it. `kept` is false if a restart will lose the new state.
async fn maintenance(request: &AdmittedRequest) -> Answer {
    let input = request.input().await?;
    let params = request.params(&input)?;
    let mut kept = true;
    if request.parts.method == Method::POST {
        let on = match params.text("on").as_deref() {
            Some("true") => true,
            Some("false") => false,
            _ => {
                return Err(
                    Problem::bad_request("on parameter format error.").because("expected true or false")
                );
            }
        };
        let guard = Arc::clone(&request.app.guard);
        let switched = tokio::task::spawn_blocking(move || guard.maintenance().set_by_signal(on)).await;
        kept = matches!(switched, Ok(Ok(())));
    }
    let on = request.app.guard.maintenance().is_on_by_signal();
    Ok(success::json(json!({ "on": on, "kept": kept }).to_string()))
}
