//! `details`: size and settings of the log.

use std::io::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::{Durability, LogEntry};
use crate::http::admitted_request::AdmittedRequest;
use crate::http::response::headers::keep_private;
use crate::http::response::success::{self, Answer};
use crate::record::LineFormat;
use crate::store::Details;

/// Size and settings of the log; the first eight names in the order that clients of the seed know.
pub(crate) async fn details(call: &Arc<AdmittedRequest>) -> Answer {
    call.authorize_operator().await?;
    let found = call.app.store.details().await;
    let mut response = success::json(describe(call.app.name.as_str(), &call.policy.log, &found));
    keep_private(response.headers_mut());
    Ok(response)
}

fn describe(name: &str, log: &LogEntry, found: &Details) -> Vec<u8> {
    // Two decimals of a mebibyte, as ever.
    let mebibytes = (found.size as f64 / 1024.0 / 1024.0 * 100.0).round() / 100.0;
    let format = match log.format {
        LineFormat::Text => "text",
        LineFormat::Json => "json",
    };
    let durability = match log.durability {
        Durability::Disk => "disk",
        Durability::Os => "os",
    };
    let fields: [(&str, Value); 16] = [
        ("name", json!(name)),
        ("host", json!(log.host)),
        ("port", json!(log.port)),
        ("use_ipv6", json!(log.use_ipv6)),
        ("file", json!(log.file.to_string_lossy())),
        ("count", json!(found.count)),
        ("size", json!(found.size)),
        ("size(MB)", json!(mebibytes)),
        ("level", json!(log.level as u8)),
        ("format", json!(format)),
        ("durability", json!(durability)),
        ("oldest", json!(found.oldest)),
        ("newest", json!(found.newest)),
        ("counting", json!(found.counting)),
        ("size_on_disk", json!(found.size_on_disk)),
        ("segments", json!(found.segments)),
    ];
    let mut body = Vec::with_capacity(384);
    for (index, (name, value)) in fields.iter().enumerate() {
        let begin = if index == 0 { '{' } else { ',' };
        // Writing into a vector can't fail.
        drop(write!(body, "{begin}{}:{value}", json!(name)));
    }
    body.push(b'}');
    body
}
