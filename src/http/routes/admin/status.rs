//! Serves `GET /admin/status`, the state of the instance, on the admin socket.

use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use serde_json::json;

use crate::guard::Access;
use crate::http::admitted_request::AdmittedRequest;
use crate::http::response::methods::Methods;
use crate::http::response::success::{self, Answer};
use crate::http::route::{Place, Route, RouteFilter, named};

/// Describes `/admin/status`.
pub(crate) static ROUTE: Route = Route {
    name: "status",
    place: Place::Admin,
    methods: Methods::USUAL,
    access: Access::AdminSocket,
    handler: |request| async move { status(&request).await }.boxed(),
    endpoint: None,
    openapi: None,
};

/// Matches the path behind `/admin`.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

/// Answers `GET /admin/status` with the state of the instance.
async fn status(request: &AdmittedRequest) -> Answer {
    let (app, policy) = (&request.app, &request.policy);
    let details = app.store.details().await;
    let maintenance = app.guard.maintenance();
    let datagrams = &app.instance_state.datagrams;
    let reload_refused = app.instance_state.reload_refused.load();
    let body = json!({
        "name": app.name.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "addresses": app.addresses(),
        "uptime_seconds": app.instance_state.started.elapsed().as_secs(),
        "connections": app.instance_state.connections.load(Ordering::Relaxed),
        "records": app.store.stored(),
        "datagrams": {
            "received": datagrams.received.load(Ordering::Relaxed),
            "dropped": datagrams.dropped.load(Ordering::Relaxed),
            "lost": datagrams.lost.load(Ordering::Relaxed),
        },
        "size": details.size,
        "count": details.count,
        "maintenance": {
            "on": maintenance.is_on(policy.rules()),
            "by_signal": maintenance.is_on_by_signal(),
            "by_file": policy.files.system.maintenance_mode,
        },
        "blocked": app.guard.blocked_count(),
        "reload_refused": reload_refused.as_deref(),
    });
    Ok(success::json(body.to_string()))
}
