//! Tests of Elasticsearch's bulk API and of what its clients ask before they send.

use std::io::Write;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{KEY, Response, Server, Setup};
use crate::ingest::records::records;

const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const TWO: &str = "{\"create\":{\"_index\":\"logs-app\",\"_id\":\"7\"}}\n\
    {\"@timestamp\":\"2026-11-23T05:02:28.100Z\",\"message\":\"one\",\"log\":{\"level\":\"warn\"}}\n\
    {\"index\":{}}\n\
    {\"message\":\"two\",\"n\":1}\n";
const STORED: [&str; 2] = ["WARNING one | at=2026-11-23T05:02:28.100000Z index=logs-app", "INFO two | n=1"];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn send(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let key = format!("ApiKey {KEY}");
    let headers: Vec<_> = headers.iter().copied().chain([("Authorization", key.as_str())]).collect();
    server.request(method, path, &headers, body)
}

/// Checks that the answer is one of Elasticsearch, and returns its body.
fn of_elasticsearch(response: &Response, status: u16) -> Value {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.expect_header("x-elastic-product"), "Elasticsearch");
    response.json()
}

/// Checks a refusal in the form of Elasticsearch.
fn refused(response: &Response, status: u16, kind: &str) {
    let body = of_elasticsearch(response, status);
    assert_eq!((&body["status"], &body["error"]["type"]), (&json!(status), &json!(kind)), "{body}");
    assert_eq!(body["error"]["root_cause"][0]["type"], kind);
    assert!(!body["error"]["reason"].as_str().unwrap().is_empty());
}

#[test]
fn documents_are_stored_and_answered_one_by_one() {
    let server = Setup::new().start();
    let response = send(&server, "POST", "/_bulk", &[NDJSON], TWO.as_bytes());
    let answer = of_elasticsearch(&response, 200);
    assert!(response.text().contains("\"errors\":false,\"items\":["), "{}", response.text());
    assert!(answer["took"].is_u64());
    let first = json!({"create": {"_index": "logs-app", "_id": "7", "status": 201}});
    assert_eq!(answer["items"][0], first);
    assert_eq!(answer["items"][1]["index"]["status"], 201);
    assert!(!answer["items"][1]["index"]["_id"].as_str().unwrap().is_empty());
    // The same document again is no error, because some clients would repeat it without end.
    of_elasticsearch(&send(&server, "PUT", "/_bulk/", &[NDJSON], TWO.as_bytes()), 200);
    let coded = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    of_elasticsearch(&send(&server, "POST", "/_bulk", &coded, &gzip(TWO.as_bytes())), 200);
    assert_eq!(records(&server), [&STORED[..]; 3].concat());
    assert_eq!(server.parsed()[0].route, "bulk");
}

#[test]
fn index_of_the_path_counts_where_an_action_names_none() {
    let server = Setup::new().start();
    let answer = of_elasticsearch(&send(&server, "POST", "/my-index/_bulk", &[], TWO.as_bytes()), 200);
    assert_eq!(answer["items"][1]["index"]["_index"], "my-index");
    assert_eq!(records(&server), [STORED[0], "INFO two | n=1 index=my-index"]);
}

#[test]
fn other_actions_and_broken_documents_are_refused_and_the_rest_is_stored() {
    let server = Setup::new().start();
    let body = "{\"delete\":{\"_id\":\"1\"}}\n{\"update\":{\"_id\":\"1\"}}\n{\"doc\":{}}\n\
        {\"index\":{}}\n{broken\n{\"index\":{}}\n{\"message\":\"fine\"}\n";
    let answer = of_elasticsearch(&send(&server, "POST", "/_bulk", &[NDJSON], body.as_bytes()), 200);
    assert_eq!(answer["errors"], true);
    let status = |item: usize, name: &str| answer["items"][item][name]["status"].as_u64();
    let expected = [Some(400), Some(400), Some(400), Some(201)];
    assert_eq!([status(0, "delete"), status(1, "update"), status(2, "index"), status(3, "index")], expected);
    assert!(answer["items"][2]["index"]["error"]["reason"].is_string());
    assert_eq!(records(&server), ["INFO fine"]);
}

#[test]
fn refusals_have_the_form_of_elasticsearch() {
    let server = Setup::new()
        .key("few", &json!({"rate": "1/hour"}))
        .key("elsewhere", &json!({"allowed_path": ["/moca-file-log/save-log"]}))
        .http("request_max_size = 2000")
        .start();
    let with_key = |key: &str| {
        let key = format!("ApiKey {key}");
        server.request("POST", "/_bulk", &[NDJSON, ("Authorization", &key)], TWO.as_bytes())
    };
    refused(&server.request("POST", "/_bulk", &[NDJSON], TWO.as_bytes()), 401, "security_exception");
    refused(&with_key("unknown"), 401, "security_exception");
    refused(&with_key("elsewhere"), 403, "security_exception");
    of_elasticsearch(&with_key("few"), 200);
    let limited = with_key("few");
    refused(&limited, 429, "es_rejected_execution_exception");
    assert!(limited.retry_after() > 0);
    refused(&send(&server, "POST", "/_bulk", &[], &[b' '; 2001]), 413, "content_too_long_exception");
    let coded = [NDJSON, ("Content-Encoding", "gzip")];
    let bomb = send(&server, "POST", "/_bulk", &coded, &gzip(&vec![b'\n'; 1_000_000]));
    refused(&bomb, 413, "content_too_long_exception");
    refused(&send(&server, "POST", "/_bulk", &[], b"no actions\n"), 400, "parse_exception");
    refused(&send(&server, "POST", "/_bulk", &[], b""), 400, "parse_exception");
    of_elasticsearch(&send(&server, "GET", "/_bulk", &[], b""), 405);
    server.signal(Signal::SIGUSR1);
    server.wait_for_status(503);
    let maintained = with_key(KEY);
    refused(&maintained, 503, "unavailable_shards_exception");
    assert!(maintained.retry_after() > 0);
}

#[test]
fn key_may_be_the_secret_of_an_api_key_of_elasticsearch() {
    let server = Setup::new().start();
    let encoded = data_encoding::BASE64.encode(format!("id:{KEY}").as_bytes());
    let headers = [NDJSON, ("Authorization", &*format!("ApiKey {encoded}"))];
    of_elasticsearch(&server.request("POST", "/_bulk", &headers, TWO.as_bytes()), 200);
    let path = format!("/k/{KEY}/logs/_bulk");
    of_elasticsearch(&server.request("POST", &path, &[NDJSON], TWO.as_bytes()), 200);
    assert_eq!(records(&server).len(), 4);
}

#[test]
fn probes_are_answered_without_a_key() {
    let server = Setup::new().start();
    let banner = of_elasticsearch(&server.get("/"), 200);
    assert!(banner["version"]["number"].as_str().unwrap().starts_with("8."));
    assert_eq!(banner["tagline"], "You Know, for Search");
    let head = server.request("HEAD", "/", &[], b"");
    assert_eq!((head.status, head.expect_header("x-elastic-product")), (200, "Elasticsearch"));
    let license = of_elasticsearch(&server.get("/_license?human=false"), 200);
    assert_eq!(license["license"]["status"], "active");
    assert_eq!(of_elasticsearch(&server.get("/_cluster/health"), 200)["status"], "green");
    assert!(of_elasticsearch(&server.get("/_xpack"), 200)["license"].is_object());
    for path in [
        "/_ilm/policy",
        "/_ilm/policy/filebeat",
        "/_index_template/filebeat-8.19.0",
        "/_data_stream/filebeat-8.19.0",
        "/_ingest/pipeline/filebeat-8.19.0-x",
        "/_nodes/http",
        "/_nodes",
    ] {
        assert_eq!(of_elasticsearch(&server.get(path), 200), json!({}), "{path}");
        let put = server.request("PUT", path, &[("Content-Type", "application/json")], b"{\"policy\":{}}");
        assert_eq!(of_elasticsearch(&put, 200), json!({}), "{path}");
        assert_eq!(server.request("HEAD", path, &[], b"").status, 200, "{path}");
    }
    assert_eq!(server.get("/_search").status, 404);
}

#[test]
fn browser_that_opens_the_root_is_sent_to_the_page() {
    let server = Setup::new().start();
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = server.get_with("/", &[("Accept", accept)]);
    assert!((300..400).contains(&page.status), "{page:?}");
    assert_eq!(page.expect_header("location"), "/moca-file-log/");
}

/// The requests of Filebeat 8 in its order: `libbeat/esleg/eslegclient`, `libbeat/licenser`,
/// `libbeat/idxmgmt` and `libbeat/outputs/elasticsearch`.
#[test]
fn conversation_of_filebeat_is_served() {
    let server = Setup::new().start();
    let mut connection = server.connect();
    let key = format!("ApiKey {}", data_encoding::BASE64.encode(format!("beat:{KEY}").as_bytes()));
    let headers = [
        ("User-Agent", "Elastic-filebeat/8.19.0 (linux; amd64)"),
        ("Accept", "application/json"),
        ("Authorization", key.as_str()),
        ("Content-Type", "application/json"),
    ];
    let setup: [(&str, &str, &[u8]); 8] = [
        ("GET", "/", b""),
        ("GET", "/_license?human=false", b""),
        ("GET", "/_ilm/policy/filebeat", b""),
        ("PUT", "/_ilm/policy/filebeat", b"{\"policy\":{\"phases\":{}}}"),
        ("GET", "/_index_template/filebeat-8.19.0", b""),
        ("PUT", "/_index_template/filebeat-8.19.0", b"{\"index_patterns\":[\"filebeat-8.19.0\"]}"),
        ("GET", "/_data_stream/filebeat-8.19.0", b""),
        ("PUT", "/_data_stream/filebeat-8.19.0", b""),
    ];
    for (method, path, body) in setup {
        let response = connection.request(method, path, &headers, body);
        of_elasticsearch(&response, 200);
    }
    let event = json!({
        "@timestamp": "2026-11-23T05:02:28.100Z",
        "message": "a line",
        "log": {"offset": 0, "file": {"path": "/var/log/a.log"}},
        "host": {"name": "h"},
        "agent": {"type": "filebeat", "version": "8.19.0"},
    });
    let body = format!("{{\"create\":{{\"_index\":\"filebeat-8.19.0\"}}}}\n{event}\n");
    let path = "/_bulk?filter_path=errors%2Citems.%2A.error%2Citems.%2A.status";
    let response = connection.request("POST", path, &headers, body.as_bytes());
    assert_eq!(response.text(), "{\"errors\":false,\"items\":[{\"create\":{\"status\":201}}]}");
    let line = &server.parsed()[0];
    assert_eq!((line.message.as_str(), line.field("log.file.path")), ("a line", Some("/var/log/a.log")));
    assert_eq!(line.field("index"), Some("filebeat-8.19.0"));
}

/// The requests of Logstash 8 (`logstash-output-elasticsearch`), Fluent Bit (`plugins/out_es`) and
/// Vector (`src/sinks/elasticsearch`).
#[test]
fn conversations_of_other_shippers_are_served() {
    let server = Setup::new().start();
    let logstash = [("User-Agent", "logstash/8.19.0"), ("Content-Type", "application/json")];
    for (method, path) in [
        ("HEAD", "/"),
        ("GET", "/"),
        ("GET", "/_xpack"),
        ("GET", "/_license"),
        ("HEAD", "/_index_template/ecs-logstash"),
        ("PUT", "/_index_template/ecs-logstash"),
    ] {
        assert_eq!(send(&server, method, path, &logstash, b"").status, 200, "{method} {path}");
    }
    let body = "{\"index\":{\"_id\":null,\"_index\":\"logstash\",\"routing\":null}}\n{\"message\":\"of logstash\",\"@version\":\"1\"}\n";
    let path = "/_bulk?filter_path=errors,items.*.error,items.*.status";
    let answer = of_elasticsearch(&send(&server, "POST", path, &logstash, body.as_bytes()), 200);
    assert_eq!(answer, json!({"errors": false, "items": [{"index": {"status": 201}}]}));
    let fluent_bit = [("User-Agent", "Fluent-Bit"), NDJSON];
    let body = "{\"create\":{\"_index\":\"fluent-bit\"}}\n{\"@timestamp\":\"2026-11-23T05:02:28.100Z\",\"log\":\"of fluent bit\"}\n";
    let response =
        send(&server, "POST", "/_bulk/?filter_path=errors,items.*.error", &fluent_bit, body.as_bytes());
    assert_eq!(response.text(), "{\"errors\":false}");
    let response = send(&server, "POST", "/_bulk", &fluent_bit, body.as_bytes());
    assert!(response.text().contains("\"errors\":false,\"items\":["), "{}", response.text());
    of_elasticsearch(&server.get("/_cluster/health"), 200);
    let expected = "INFO of fluent bit | at=2026-11-23T05:02:28.100000Z index=fluent-bit";
    assert_eq!(records(&server), ["INFO of logstash | @version=1 index=logstash", expected, expected]);
}
