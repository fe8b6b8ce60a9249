//! Answers what Beats, Logstash, Fluentd and the official clients ask before they send.

use http::header::{ACCEPT, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::ingest::dialect::{Reply, RequestHead, reply};

/// The version is the last one that has the API in this form. Beats refuse to send to a server that is older
/// than they are.
const BANNER: &str = concat!(
    r#"{"name":"moca-file-log","cluster_name":"moca-file-log","cluster_uuid":"bW9jYS1maWxlLWxvZy1ub2Q","#,
    r#""version":{"number":"8.19.99","build_flavor":"default","build_type":"deb","#,
    r#""build_hash":"0000000000000000000000000000000000000000","build_date":"2025-07-23T22:05:56.000000000Z","#,
    r#""build_snapshot":false,"lucene_version":"9.12.2","minimum_wire_compatibility_version":"7.17.0","#,
    r#""minimum_index_compatibility_version":"7.0.0"},"tagline":"You Know, for Search"}"#
);

const LICENSE: &str = concat!(
    r#"{"license":{"status":"active","uid":"cbff45e7-c553-41f7-ae4f-9205eabd80c4","type":"basic","#,
    r#""issue_date":"2020-01-01T00:00:00.000Z","issue_date_in_millis":1577836800000,"#,
    r#""expiry_date_in_millis":4000000000000,"max_nodes":1000,"issued_to":"moca-file-log","#,
    r#""issuer":"elasticsearch","start_date_in_millis":-1}}"#
);

const XPACK: &str = concat!(
    r#"{"build":{"hash":"0000000000000000000000000000000000000000","date":"2025-07-23T22:05:56.000000000Z"},"#,
    r#""license":{"uid":"cbff45e7-c553-41f7-ae4f-9205eabd80c4","type":"basic","mode":"basic","status":"active","#,
    r#""expiry_date_in_millis":4000000000000},"#,
    r#""features":{"ilm":{"available":true,"enabled":true},"security":{"available":true,"enabled":true}},"#,
    r#""tagline":"You know, for X"}"#
);

const HEALTH: &str = concat!(
    r#"{"cluster_name":"moca-file-log","status":"green","timed_out":false,"number_of_nodes":1,"#,
    r#""number_of_data_nodes":1,"active_primary_shards":1,"active_shards":1,"relocating_shards":0,"#,
    r#""initializing_shards":0,"unassigned_shards":0,"delayed_unassigned_shards":0,"#,
    r#""number_of_pending_tasks":0,"number_of_in_flight_fetch":0,"task_max_waiting_in_queue_millis":0,"#,
    r#""active_shards_percent_as_number":100.0}"#
);

/// The media type of a client that names the version of the API in its own.
const VENDOR_TYPE: &str = "application/vnd.elasticsearch+json";

/// Answers a probe.
pub(super) fn answer(head: &RequestHead<'_>) -> Reply {
    let body = match head.route.path {
        "/" => BANNER,
        "/_license" => LICENSE,
        "/_xpack" => XPACK,
        "/_cluster/health/**" => HEALTH,
        _ => "{}",
    };
    reply(StatusCode::OK, json_type(head.headers), body)
}

/// Returns the media type of an answer in JSON. A client that names a version of the API gets that one.
pub(super) fn json_type(headers: &HeaderMap) -> HeaderValue {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let vendor = accept.strip_prefix(VENDOR_TYPE).map(str::trim_start);
    match vendor.and_then(|rest| rest.strip_prefix(';')).map(str::trim_start) {
        Some("compatible-with=7") => {
            HeaderValue::from_static("application/vnd.elasticsearch+json;compatible-with=7")
        }
        Some("compatible-with=8") => {
            HeaderValue::from_static("application/vnd.elasticsearch+json;compatible-with=8")
        }
        Some("compatible-with=9") => {
            HeaderValue::from_static("application/vnd.elasticsearch+json;compatible-with=9")
        }
        _ => HeaderValue::from_static("application/json"),
    }
}
