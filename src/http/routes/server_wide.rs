//! Serves `OPTIONS *`, which asks for the options of the whole server (RFC 9110, section 9.3.7).

use futures_util::FutureExt;
use http::StatusCode;
use warp::Filter;

use crate::guard::Access;
use crate::http::response::methods::Methods;
use crate::http::response::problem::Problem;
use crate::http::route::{Place, Route, RouteFilter, named};

/// Describes the server as a whole. A preflight is answered before a handler runs.
pub(crate) static ROUTE: Route = Route {
    name: "*",
    place: Place::AtRoot,
    methods: Methods::ALL,
    access: Access::Public,
    handler: |_request| async { Err(Problem::new(StatusCode::NOT_FOUND, "No such route.")) }.boxed(),
    endpoint: None,
    openapi: None,
};

/// Matches `OPTIONS *`.
pub(crate) fn route() -> impl RouteFilter {
    warp::options().and(named(&ROUTE))
}
