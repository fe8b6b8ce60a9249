//! Serves `/status`, which says that the service works, or by 503 that it does not.

use bytes::Bytes;
use futures_util::FutureExt;
use http::header;

use crate::guard::Access;
use crate::http::app::App;
use crate::http::response::headers::NO_STORE;
use crate::http::response::methods::Methods;
use crate::http::response::problem::Problem;
use crate::http::response::success::{self, Answer};
use crate::http::route::{Place, Route, RouteFilter, named};

/// Describes `/status`.
pub(crate) static ROUTE: Route = Route {
    name: "status",
    place: Place::AtRoot,
    methods: Methods::USUAL,
    access: Access::Public,
    handler: |request| async move { status(&request.app) }.boxed(),
    endpoint: None,
    openapi: Some(include_str!("openapi/status.json")),
};

/// Matches the path of the state.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

/// Answers that the service works, or 503 with the reason while it can store no records.
fn status(app: &App) -> Answer {
    if let Some(error) = app.store.failure() {
        return Err(Problem::from(error));
    }
    let text = concat!("MocaFileLog(", env!("CARGO_PKG_VERSION"), ") is working...");
    let mut response = success::text(Bytes::from_static(text.as_bytes()));
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}
