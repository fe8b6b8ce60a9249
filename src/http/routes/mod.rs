//! The warp filters: which handler answers an admitted request. Who may come this far was decided before.

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

/// All keyed routes.
pub(crate) fn routes()
-> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    // The busiest first: each filter that does not match costs a little.
    let save_log = on(Route::SaveLog)
        .and_then(|call: Arc<AdmittedRequest>| async move { reply(&call, ingest::save_log(&call).await) });
    let save_logs = on(Route::SaveLogs)
        .and_then(|call: Arc<AdmittedRequest>| async move { reply(&call, ingest::save_logs(&call).await) });
    let details = on(Route::Details)
        .and_then(|call: Arc<AdmittedRequest>| async move { reply(&call, details::details(&call).await) });
    let get_logs = on(Route::GetLogs)
        .and_then(|call: Arc<AdmittedRequest>| async move { reply(&call, get_logs::get_logs(&call).await) });
    let get_latest = on(Route::GetLatestLogs).and_then(|call: Arc<AdmittedRequest>| async move {
        reply(&call, get_logs::get_latest_logs(&call).await)
    });
    let download = on(Route::DownloadLogs).and_then(|call: Arc<AdmittedRequest>| async move {
        reply(&call, download_logs::download_logs(&call).await)
    });
    let clear = on(Route::ClearLogs).and_then(|call: Arc<AdmittedRequest>| async move {
        reply(&call, clear_logs::clear_logs(&call).await)
    });
    let metrics = on(Route::Metrics)
        .and_then(|call: Arc<AdmittedRequest>| async move { reply(&call, metrics::metrics(&call).await) });
    let tail = on(Route::Tail)
        .and_then(|call: Arc<AdmittedRequest>| async move { reply(&call, tail::tail(&call).await) });
    let status = on(Route::AdminStatus)
        .and_then(|call: Arc<AdmittedRequest>| async move { reply(&call, admin::status(&call).await) });
    let blocked = on(Route::AdminBlocked)
        .and_then(|call: Arc<AdmittedRequest>| async move { reply(&call, admin::blocked(&call).await) });
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

/// The handler of [`Route::SaveLog`], without the filters.
pub(crate) async fn save_log(call: &Arc<AdmittedRequest>) -> Result<Response, Infallible> {
    reply(call, ingest::save_log(call).await)
}

/// Matches the admitted requests of one route.
fn on(
    route: Route,
) -> impl Filter<Extract = (Arc<AdmittedRequest>,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    warp::ext::get::<Arc<AdmittedRequest>>().and_then(move |call: Arc<AdmittedRequest>| {
        std::future::ready(if call.route == route { Ok(call) } else { Err(warp::reject::not_found()) })
    })
}

fn reply(call: &AdmittedRequest, answer: Answer) -> Result<Response, Infallible> {
    if let Err(problem) = &answer {
        call.app.count(problem);
        if let Some(trace) = &call.trace {
            trace.refused(problem);
        }
    }
    Ok(answer.unwrap_or_else(|problem| problem.into_response().map(Into::into)))
}
