//! Serves the routes of the admin socket. They give the state of the instance and manage the
//! blocked addresses.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use http::Method;
use serde_json::json;

use crate::guard::BlockedEntry;
use crate::http::admitted_request::AdmittedRequest;
use crate::http::response::problem::Problem;
use crate::http::response::success::{self, Answer};

/// Answers `GET /admin/status` with the state of the instance.
pub(crate) async fn status(request: &AdmittedRequest) -> Answer {
    let (app, policy) = (&request.app, &request.policy);
    let details = app.store.details().await;
    let maintenance = app.guard.maintenance();
    let reload_refused = app.instance_state.reload_refused.load();
    let body = json!({
        "name": app.name.as_str(),
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "addresses": app.addresses(),
        "uptime_seconds": app.instance_state.started.elapsed().as_secs(),
        "connections": app.instance_state.connections.load(Ordering::Relaxed),
        "records": app.store.stored(),
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

/// Answers `/admin/blocked`. GET lists the blocked addresses, POST blocks one, and DELETE unblocks
/// one.
pub(crate) async fn blocked(request: &AdmittedRequest) -> Answer {
    let input = request.input().await?;
    let params = request.params(&input)?;
    let guard = &request.app.guard;
    if matches!(request.parts.method, Method::GET | Method::HEAD) {
        let entries: Vec<_> = guard.blocked().iter().map(describe).collect();
        return Ok(success::json(serde_json::Value::from(entries).to_string()));
    }
    let address: Option<IpAddr> = params.text("address").and_then(|text| text.parse().ok());
    let Some(address) = address else {
        return Err(Problem::bad_request("address parameter format error.").because("expected an IP address"));
    };
    let changed = if request.parts.method == Method::DELETE {
        guard.unblock(address)
    } else {
        guard.block(address, "by the operator")
    };
    Ok(success::json(json!({ "changed": changed }).to_string()))
}

fn describe(entry: &BlockedEntry) -> serde_json::Value {
    json!({ "address": entry.address.to_string(), "since": entry.since, "reason": entry.reason })
}
