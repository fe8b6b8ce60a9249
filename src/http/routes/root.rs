//! Sends a browser that opens `/` to the operator's page.

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{LOCATION, VARY};
use http::{HeaderValue, StatusCode};
use warp::Filter;

use crate::guard::Access;
use crate::http::request_context::RouteRequest;
use crate::http::response::methods::Methods;
use crate::http::response::success::text;
use crate::http::route::{Place, Route, RouteFilter};

/// Describes the root of the server, for browsers.
pub(crate) static ROUTE: Route = Route {
    name: "",
    place: Place::AtRoot,
    methods: Methods::READ_ONLY,
    access: Access::Headers,
    handler: |_request| async { Ok(to_page()) }.boxed(),
    endpoint: None,
    openapi: None,
};

/// Matches `/` of a request for a page.
pub(crate) fn route() -> impl RouteFilter {
    let opens_page = |request: RouteRequest| {
        std::future::ready(if request.opens_page() { Ok(()) } else { Err(warp::reject::not_found()) })
    };
    let of_browser = warp::ext::get().and_then(opens_page).untuple_one();
    warp::path::end().and(of_browser).map(|| &ROUTE)
}

/// Returns the redirect to the page.
fn to_page() -> warp::reply::Response {
    let mut redirect = text(Bytes::from_static(b"The page is at /moca-file-log/.\n"));
    *redirect.status_mut() = StatusCode::FOUND;
    let headers = redirect.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static("/moca-file-log/"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    redirect
}
