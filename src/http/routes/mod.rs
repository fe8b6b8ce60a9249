//! Routes an admitted request to its handler with warp filters.
//!
//! The request has passed the checks of its head. Each handler calls `authorize` or
//! `authorize_operator`, which finish the checks that need the body. These are the checks of a key
//! in the body, of required arguments, of limits, and of the root password.

pub(crate) mod admin;
pub(crate) mod clear_logs;
pub(crate) mod details;
pub(crate) mod download_logs;
pub(crate) mod get_logs;
pub(crate) mod ingest;
pub(crate) mod metrics;
pub(crate) mod openapi;
pub(crate) mod page;
pub(crate) mod tail;

use std::convert::Infallible;
use std::sync::Arc;

use warp::Filter;
use warp::reply::Response;

use super::admitted_request::AdmittedRequest;
use super::response::success::Answer;
use super::route::Route;

/// Returns the filter for all routes that need a key.
pub(crate) fn routes()
-> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    // The busiest routes come first, because each filter that does not match costs time.
    let save_log = on(Route::SaveLog).and_then(|request: Arc<AdmittedRequest>| async move {
        reply(&request, ingest::save(&request).await)
    });
    let save_logs = on(Route::SaveLogs).and_then(|request: Arc<AdmittedRequest>| async move {
        reply(&request, ingest::save(&request).await)
    });
    let details = on(Route::Details).and_then(|request: Arc<AdmittedRequest>| async move {
        reply(&request, details::details(&request).await)
    });
    let get_logs = on(Route::GetLogs).and_then(|request: Arc<AdmittedRequest>| async move {
        reply(&request, get_logs::get_logs(&request).await)
    });
    let get_latest = on(Route::GetLatestLogs).and_then(|request: Arc<AdmittedRequest>| async move {
        reply(&request, get_logs::get_latest_logs(&request).await)
    });
    let download = on(Route::DownloadLogs).and_then(|request: Arc<AdmittedRequest>| async move {
        reply(&request, download_logs::download_logs(&request).await)
    });
    let clear = on(Route::ClearLogs).and_then(|request: Arc<AdmittedRequest>| async move {
        reply(&request, clear_logs::clear_logs(&request).await)
    });
    let metrics = on(Route::Metrics).and_then(|request: Arc<AdmittedRequest>| async move {
        reply(&request, metrics::metrics(&request).await)
    });
    let tail = on(Route::Tail)
        .and_then(|request: Arc<AdmittedRequest>| async move { reply(&request, tail::tail(&request).await) });
    let status = on(Route::AdminStatus).and_then(|request: Arc<AdmittedRequest>| async move {
        reply(&request, admin::status(&request).await)
    });
    let blocked = on(Route::AdminBlocked).and_then(|request: Arc<AdmittedRequest>| async move {
        reply(&request, admin::blocked(&request).await)
    });
    save_log
        .or(save_logs)
        .unify()
        .or(details.or(get_logs).unify().or(get_latest).unify())
        .unify()
        .or(download.or(clear).unify().or(tail).unify().or(metrics).unify())
        .unify()
        .or(status.or(blocked).unify())
        .unify()
}

/// Runs the handler of [`Route::SaveLog`] directly, without the filters.
pub(crate) async fn save_log(request: &Arc<AdmittedRequest>) -> Result<Response, Infallible> {
    reply(request, ingest::save(request).await)
}

/// Matches the admitted requests of one route.
fn on(
    route: Route,
) -> impl Filter<Extract = (Arc<AdmittedRequest>,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    warp::ext::get::<Arc<AdmittedRequest>>().and_then(move |request: Arc<AdmittedRequest>| {
        std::future::ready(if request.route == route { Ok(request) } else { Err(warp::reject::not_found()) })
    })
}

/// Turns the result of a handler into an answer. A problem is counted.
fn reply(request: &AdmittedRequest, answer: Answer) -> Result<Response, Infallible> {
    if let Err(problem) = &answer {
        request.app.count(problem);
        if let Some(trace) = &request.trace {
            trace.refused(problem);
        }
    }
    Ok(answer.unwrap_or_else(|problem| problem.into_response().map(Into::into)))
}
