//! What only the admin socket has: the state of the instance, and the addresses it blocked by itself.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use http::Method;
use serde_json::json;

use crate::guard::BlockedEntry;
use crate::http::admitted_request::AdmittedRequest;
use crate::http::response::problem::Problem;
use crate::http::response::success;
use crate::http::response::success::Answer;

/// `GET /admin/status`
pub(crate) async fn status(call: &AdmittedRequest) -> Answer {
    let (app, policy) = (&call.app, &call.policy);
    let details = app.store.details().await;
    let maintenance = app.guard.maintenance();
    let refused = app.instance_state.reload_refused.load();
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
        "reload_refused": refused.as_deref(),
    });
    Ok(success::json(body.to_string()))
}

/// `GET`, `POST` and `DELETE /admin/blocked`
pub(crate) async fn blocked(call: &AdmittedRequest) -> Answer {
    let input = call.input().await?;
    let params = call.params(&input)?;
    let guard = &call.app.guard;
    if matches!(call.parts.method, Method::GET | Method::HEAD) {
        let entries: Vec<_> = guard.blocked().iter().map(describe).collect();
        return Ok(success::json(serde_json::Value::from(entries).to_string()));
    }
    let address: Option<IpAddr> = params.text("address").and_then(|text| text.parse().ok());
    let Some(address) = address else {
        return Err(Problem::bad_request("address parameter format error.").because("expected an IP address"));
    };
    let changed = if call.parts.method == Method::DELETE {
        guard.unblock(address)
    } else {
        guard.block(address, "by the operator")
    };
    Ok(success::json(json!({ "changed": changed }).to_string()))
}

fn describe(entry: &BlockedEntry) -> serde_json::Value {
    json!({ "address": entry.address.to_string(), "since": entry.since, "reason": entry.reason })
}
