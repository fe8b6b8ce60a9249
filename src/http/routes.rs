//! The warp filters: which handler answers an admitted request. Who may come this far was decided before.

use std::convert::Infallible;
use std::sync::Arc;

use warp::Filter;
use warp::reply::Response;

use super::answer::Answer;
use super::call::Call;
use super::route::Route;
use super::{admin, clear, download, metrics, read, save, tail};

/// All keyed routes.
pub(super) fn routes()
-> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    // The busiest first: each filter that does not match costs a little.
    let save_log = on(Route::SaveLog)
        .and_then(|call: Arc<Call>| async move { reply(&call, save::save_log(&call).await) });
    let save_logs = on(Route::SaveLogs)
        .and_then(|call: Arc<Call>| async move { reply(&call, save::save_logs(&call).await) });
    let details = on(Route::Details)
        .and_then(|call: Arc<Call>| async move { reply(&call, read::details(&call).await) });
    let get_logs = on(Route::GetLogs)
        .and_then(|call: Arc<Call>| async move { reply(&call, read::get_logs(&call).await) });
    let get_latest = on(Route::GetLatestLogs)
        .and_then(|call: Arc<Call>| async move { reply(&call, read::get_latest_logs(&call).await) });
    let download = on(Route::DownloadLogs)
        .and_then(|call: Arc<Call>| async move { reply(&call, download::download_logs(&call).await) });
    let clear = on(Route::ClearLogs)
        .and_then(|call: Arc<Call>| async move { reply(&call, clear::clear_logs(&call).await) });
    let metrics = on(Route::Metrics)
        .and_then(|call: Arc<Call>| async move { reply(&call, metrics::metrics(&call).await) });
    let tail =
        on(Route::Tail).and_then(|call: Arc<Call>| async move { reply(&call, tail::tail(&call).await) });
    let status = on(Route::AdminStatus)
        .and_then(|call: Arc<Call>| async move { reply(&call, admin::status(&call).await) });
    let blocked = on(Route::AdminBlocked)
        .and_then(|call: Arc<Call>| async move { reply(&call, admin::blocked(&call).await) });
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
pub(super) async fn save_log(call: &Arc<Call>) -> Result<Response, Infallible> {
    reply(call, save::save_log(call).await)
}

/// Matches the admitted requests of one route.
fn on(
    route: Route,
) -> impl Filter<Extract = (Arc<Call>,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    warp::ext::get::<Arc<Call>>().and_then(move |call: Arc<Call>| {
        std::future::ready(if call.route == route { Ok(call) } else { Err(warp::reject::not_found()) })
    })
}

fn reply(call: &Call, answer: Answer) -> Result<Response, Infallible> {
    if let Err(problem) = &answer {
        call.app.count(problem);
        if let Some(trace) = &call.trace {
            trace.refused(problem);
        }
    }
    Ok(answer.unwrap_or_else(|problem| problem.into_response().map(Into::into)))
}
