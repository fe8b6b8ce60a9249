//! The table of all routes. Each file serves one route: it holds the description of the route and
//! the warp filter that matches its path.
//!
//! The table joins the filters by the first segment of the path. Matching a path is the only reason
//! for which a filter here passes a request on to the next one, so each check comes after the table
//! and happens once.

pub(crate) mod admin;
pub(crate) mod clear_logs;
pub(crate) mod details;
pub(crate) mod download_logs;
pub(crate) mod get_latest_logs;
pub(crate) mod get_logs;
pub(crate) mod ingest;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod page;
pub(crate) mod root;
pub(crate) mod server_wide;
pub(crate) mod status;
pub(crate) mod tail;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use warp::{Filter, Rejection};

use super::log_path::PREFIX;
use super::observe::access_log::redact::redacted;
use super::request::target::{encoded_segment, normalized};
use super::request::url_key::UrlKey;
use super::request_context::RouteRequest;
use super::response::problem::Problem;
use super::route::{Route, RouteFilter};
use crate::config::LogName;
use crate::guard::ClientAddr;

/// Joins the filters of routes, and lists the routes.
macro_rules! routes {
    ($filter:ident, $list:ident: $first:path $(, $rest:path)* $(,)?) => {
        fn $filter() -> impl RouteFilter {
            use $first as first;
            first::route()$(.or({ use $rest as next; next::route() }).unify())*
        }

        /// The routes of the filter with the same name.
        const $list: &[&Route] = &[
            { use $first as first; &first::ROUTE },
            $({ use $rest as next; &next::ROUTE },)*
        ];
    };
}

routes!(of_log, OF_LOG:
    get_logs, get_latest_logs, tail, details, download_logs, clear_logs, openapi, page);
routes!(at_root, AT_ROOT: status, metrics, server_wide, root);
routes!(of_admin, OF_ADMIN: admin::status, admin::blocked, admin::maintenance);
routes!(at_admin_root, AT_ADMIN_ROOT: admin::refusals);

/// Returns all routes.
pub(crate) fn all() -> impl Iterator<Item = &'static Route> {
    ingest::routes().iter().chain([OF_LOG, AT_ROOT, OF_ADMIN, AT_ADMIN_ROOT].into_iter().flatten().copied())
}

/// Matches the path of a request in the spelling of [`encoded_segment`].
fn table(log: &LogName) -> impl RouteFilter {
    let log_name: Arc<str> = encoded_segment(log.as_str()).into();
    // Senders use the first routes the most. Each filter that does not match costs a little.
    let below = || ingest::of_log().or(of_log()).unify();
    // A log may have the name of a route. Then the shorter path is that of the route.
    let of_log = below().or(warp::path(log_name).and(below())).unify();
    let at_root = at_root().or(ingest::at_root()).unify();
    let of_admin = warp::path("admin").and(of_admin()).or(at_admin_root()).unify();
    let of_admin = admin_socket().and(of_admin);
    warp::path(PREFIX).and(of_log).or(at_root).unify().or(of_admin).unify()
}

/// Matches the requests of the admin socket.
fn admin_socket() -> impl Filter<Extract = (), Error = Rejection> + Copy {
    let is_admin = |request: RouteRequest| match request.client() {
        ClientAddr::Local => Ok(()),
        ClientAddr::Ip(_) => Err(warp::reject::not_found()),
    };
    warp::ext::get().and_then(move |request| std::future::ready(is_admin(request))).untuple_one()
}

/// Finds the route of a request by its path. The request carries a [`RouteRequest`] in its
/// extensions.
///
/// # Rejections
/// A [`Problem`] with 404.
pub(crate) fn routing(log: &LogName) -> impl RouteFilter {
    openapi::describe(all());
    let not_found = warp::ext::get().and_then(|request: RouteRequest| {
        let detail = format!("Requested URL {} not found", redacted(request.target().path()));
        std::future::ready(Err(warp::reject::custom(Problem::new(StatusCode::NOT_FOUND, detail))))
    });
    // Only routes that store records, and the questions before them, take a key in the path.
    let is_admissible = |route: &'static Route, request: RouteRequest| {
        let is_admissible = route.endpoint.is_some() || !request.has_url_key();
        std::future::ready(if is_admissible { Ok(route) } else { Err(warp::reject::not_found()) })
    };
    table(log).and(warp::ext::get()).and_then(is_admissible).or(not_found).unify()
}

/// Finds the route of a request outside the pipeline, and checks its method.
///
/// # Errors
/// The [`Problem`] of the pipeline: 404, or 405 with `Allow`.
pub(crate) fn find(
    method: &Method,
    uri: &Uri,
    client: ClientAddr,
    log: &LogName,
) -> Result<&'static Route, Problem> {
    #[derive(Clone)]
    struct Found(Result<&'static Route, Problem>);
    let found = |result| {
        let mut response = warp::reply::Response::new(Bytes::new().into());
        response.extensions_mut().insert(Found(result));
        response
    };
    let filter = routing(log).map(move |route| found(Ok(route))).recover(move |rejection: Rejection| {
        let problem = rejection.find::<Problem>().cloned().ok_or(rejection);
        std::future::ready(problem.map(|problem| found(Err(problem))))
    });
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = method.clone();
    *request.uri_mut() = normalized(uri, &UrlKey::of(uri.path()));
    request.extensions_mut().insert(RouteRequest::Explained { client, target: uri.clone() });
    // The filters of the table wait for nothing.
    let response = TowerToHyperService::new(warp::service(filter.unify())).call(request).now_or_never();
    let found = response.and_then(|Ok(mut response)| response.extensions_mut().remove::<Found>());
    let no_answer = || Err(Problem::new(StatusCode::NOT_FOUND, "No such route."));
    let route = found.map_or_else(no_answer, |Found(result)| result)?;
    route.check_method(method, uri)?;
    Ok(route)
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
