//! Serves `/admin/blocked`, the list of blocked addresses, on the admin socket.

use std::net::IpAddr;

use futures_util::FutureExt;
use http::Method;
use serde_json::json;

use crate::guard::{Access, BlockedEntry};
use crate::http::admitted_request::AdmittedRequest;
use crate::http::response::methods::Methods;
use crate::http::response::problem::Problem;
use crate::http::response::success::{self, Answer};
use crate::http::route::{Place, Route, RouteFilter, named};

/// Describes `/admin/blocked`.
pub(crate) static ROUTE: Route = Route {
    name: "blocked",
    place: Place::Admin,
    methods: Methods::WITH_DELETE,
    access: Access::AdminSocket,
    handler: |request| async move { blocked(&request).await }.boxed(),
    endpoint: None,
    openapi: None,
};

/// Matches the path behind `/admin`.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

/// Answers `/admin/blocked`. GET lists the blocked addresses, POST blocks one, and DELETE unblocks
/// one.
async fn blocked(request: &AdmittedRequest) -> Answer {
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
