//! Serves `/admin/blocked`, the list of blocked addresses, on the admin socket.

use futures_util::FutureExt;
use http::Method;
use serde_json::json;

use crate::guard::{Access, BlockedAddress, BlockedEntry, NotBlockable};
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

/// Answers `/admin/blocked`. GET lists the blocked addresses, POST blocks an address or a /64
/// of IPv6, and DELETE removes an entry. The answer to a DELETE without an entry names the entry that
/// blocks the address.
async fn blocked(request: &AdmittedRequest) -> Answer {
    let input = request.input().await?;
    let params = request.params(&input)?;
    let guard = &request.app.guard;
    if matches!(request.parts.method, Method::GET | Method::HEAD) {
        let entries: Vec<_> = guard.blocked().iter().map(describe).collect();
        return Ok(success::json(serde_json::Value::from(entries).to_string()));
    }
    let address: Option<BlockedAddress> = params.text("address").and_then(|text| text.parse().ok());
    let Some(address) = address else {
        let problem = Problem::bad_request("address parameter format error.");
        return Err(problem.because(NotBlockable.to_string()));
    };
    if request.parts.method != Method::DELETE {
        return Ok(success::json(json!({ "changed": guard.block(address, "by the operator") }).to_string()));
    }
    let changed = guard.unblock(address);
    let mut answer = json!({ "changed": changed });
    if let Some(entry) = guard.blocking_entry(address) {
        answer["blocked_by"] = json!(entry.address.to_string());
    }
    Ok(success::json(answer.to_string()))
}

fn describe(entry: &BlockedEntry) -> serde_json::Value {
    json!({ "address": entry.address.to_string(), "since": entry.since, "reason": entry.reason })
}
