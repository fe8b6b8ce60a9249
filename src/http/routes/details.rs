//! Serves `details`, which gives the size and the settings of the log.

use crate::guard::Access;
use crate::http::response::methods::Methods;
use crate::http::route::{Place, Route, RouteFilter, named};
use futures_util::FutureExt;
use std::io::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::{Durability, LogEntry};
use crate::http::admitted_request::AdmittedRequest;
use crate::http::response::headers::keep_private;
use crate::http::response::success::{self, Answer};
use crate::record::LineFormat;
use crate::store::Details;

/// Describes `details`.
pub(crate) static ROUTE: Route = Route {
    name: "details",
    place: Place::OfLog,
    methods: Methods::USUAL,
    access: Access::KeyAndRootPassword,
    handler: |request| async move { details(&request).await }.boxed(),
    endpoint: None,
    openapi: Some(include_str!("openapi/details.json")),
};

/// Matches the path of `details`.
pub(crate) fn route() -> impl RouteFilter {
    named(&ROUTE)
}

/// Answers with the size and the settings of the log. The first eight names keep the order of
/// version 1.
async fn details(request: &Arc<AdmittedRequest>) -> Answer {
    request.authorize_operator().await?;
    let details = request.app.store.details().await;
    let mut response = success::json(describe(request.app.name.as_str(), &request.policy.log, &details));
    keep_private(response.headers_mut());
    Ok(response)
}

fn describe(name: &str, log: &LogEntry, details: &Details) -> Vec<u8> {
    // Mebibytes with two decimals, as in version 1.
    let mebibytes = (details.size as f64 / 1024.0 / 1024.0 * 100.0).round() / 100.0;
    let format = match log.format {
        LineFormat::Text => "text",
        LineFormat::Json => "json",
    };
    let durability = match log.durability {
        Durability::Disk => "disk",
        Durability::Os => "os",
    };
    let fields: [(&str, Value); 17] = [
        ("name", json!(name)),
        ("host", json!(log.host)),
        ("port", json!(log.port)),
        ("use_ipv6", json!(log.use_ipv6)),
        ("file", json!(log.file.to_string_lossy())),
        ("count", json!(details.count)),
        ("size", json!(details.size)),
        ("size(MB)", json!(mebibytes)),
        ("level", json!(log.level as u8)),
        ("format", json!(format)),
        ("durability", json!(durability)),
        ("oldest", json!(details.oldest)),
        ("newest", json!(details.newest)),
        ("counting", json!(details.counting)),
        ("size_on_disk", json!(details.size_on_disk)),
        ("segments", json!(details.segments)),
        ("foreign", json!(details.foreign)),
    ];
    let mut body = Vec::with_capacity(384);
    for (index, (name, value)) in fields.iter().enumerate() {
        let separator = if index == 0 { '{' } else { ',' };
        // Writing into a vector cannot fail.
        drop(write!(body, "{separator}{}:{value}", json!(name)));
    }
    body.push(b'}');
    body
}
