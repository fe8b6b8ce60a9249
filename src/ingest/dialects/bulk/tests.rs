//! Tests of the bulk API of Elasticsearch.

use http::HeaderMap;
use http::header::ACCEPT;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ingest::body::memory::Unlimited;
use crate::ingest::body::received::{BodyTexts, ReceivedBody};
use crate::ingest::dialect::RefusalCause;
use crate::ingest::entry::read_rules::ReadRules;
use crate::record::{Entry, Level};

fn shown(entry: &Entry<'_>) -> String {
    let at = entry.at.map(|at| format!(" at={}", String::from_utf8(at.rfc3339().to_vec()).unwrap()));
    let fields = entry.fields.iter().map(|field| format!(" {}={}", field.name(), field.value()));
    let fields: String = at.into_iter().chain(fields).collect();
    let bar = if fields.is_empty() { "" } else { " |" };
    format!("{} {}{bar}{fields}", entry.level.as_str(), entry.message)
}

fn answered(path: &str, query: Option<&str>, body: &[u8]) -> Result<(Vec<String>, String), IngestError> {
    let headers = HeaderMap::new();
    let texts = BodyTexts::default();
    let body = ReceivedBody::new(&headers, body, &texts, &Unlimited);
    let head = RequestHead { route: &ROUTES[0], path, query, headers: &headers };
    let request = IngestRequest { head, body, rules: ReadRules::default() };
    let batch = Bulk.entries(&request, Params::without_body(None, &headers))?;
    let stored = batch.entries(Level::Debug).iter().map(shown).collect();
    let reply = batch.prepared.unwrap_or_default();
    Ok((stored, String::from_utf8(reply.to_vec()).unwrap()))
}

fn read(body: &str) -> (Vec<String>, Value) {
    let (stored, reply) = answered("/_bulk", None, body.as_bytes()).unwrap();
    (stored, serde_json::from_str(&reply).unwrap())
}

fn statuses(reply: &Value) -> Vec<(String, u64)> {
    let items = reply["items"].as_array().unwrap().iter();
    let of = |item: &Value| {
        let (name, item) = item.as_object().unwrap().iter().next().unwrap();
        (name.clone(), item["status"].as_u64().unwrap())
    };
    items.map(of).collect()
}

#[test]
fn documents_are_stored_with_their_index() {
    let body = "{\"create\":{\"_index\":\"logs-app\",\"_id\":\"7\"}}\n\
        {\"@timestamp\":\"2026-11-23T05:02:28.100Z\",\"message\":\"one\",\"log\":{\"level\":\"warn\"},\"n\":1}\n\
        { \"index\" : { \"_index\": \"a\\\"b\" } }\r\n\
        {\"log\":\"two\",\"index\":\"mine\"}\r\n\
        \n\
        {\"index\":{}}\n\
        {\"message\":\"three\",\"level\":\"error\"}";
    let (stored, reply) = read(body);
    assert_eq!(
        stored,
        [
            "WARNING one | at=2026-11-23T05:02:28.100000Z n=1 index=logs-app",
            "INFO two | index=mine bulk.index=a\"b",
            "ERROR three",
        ]
    );
    assert_eq!(reply["errors"], false);
    assert_eq!(reply["items"][0], json!({"create": {"_index": "logs-app", "_id": "7", "status": 201}}));
    assert_eq!(reply["items"][1]["index"]["_index"], "a\"b");
    let ids: Vec<_> = (1..3).map(|item| reply["items"][item]["index"]["_id"].as_str().unwrap()).collect();
    assert!(ids.iter().all(|id| id.len() == 20) && ids[0] != ids[1], "{ids:?}");
    let (stored, reply) = answered("/lo%67s/_bulk", None, body.as_bytes()).unwrap();
    assert_eq!(stored[2], "ERROR three | index=logs");
    assert!(reply.starts_with("{\"took\":0,\"errors\":false,\"items\":[{\"create\":{"), "{reply}");
}

#[test]
fn other_actions_and_broken_lines_are_refused_in_their_items() {
    let (stored, reply) = read(
        "{\"delete\":{\"_index\":\"x\",\"_id\":\"1\"}}\n\
         {\"update\":{\"_id\":\"1\"}}\n{\"doc\":{\"a\":1}}\n\
         {\"index\":{}}\n{\"message\":\"one\"\n\
         {\"index\":{}}\n[1]\n\
         nonsense\n{\"message\":\"of nonsense\"}\n\
         {\"upsert\":{}}\n{\"message\":\"of upsert\"}\n\
         nonsense\n\
         {\"create\":{}}\n{\"message\":\"stored\"}\n\
         {\"create\":{}}\n{\"message\":\"x\",\"n\":NaN}\n\
         {\"create\":{}}\n{}\n\
         {\"create\":{}}\n",
    );
    assert_eq!(stored, ["INFO stored", "INFO x | n=NaN", "INFO {}"]);
    let expected = [
        ("delete", 400),
        ("update", 400),
        ("index", 400),
        ("index", 400),
        ("index", 400),
        ("index", 400),
        ("index", 400),
        ("create", 201),
        ("create", 201),
        ("create", 201),
        ("create", 400),
    ];
    assert_eq!(statuses(&reply), expected.map(|(name, status)| (name.to_owned(), status)));
    assert_eq!(reply["errors"], true);
    assert_eq!(reply["items"][2]["index"]["error"]["type"], "document_parsing_exception");
    assert_eq!(reply["items"][0]["delete"]["_id"], "1");
}

#[test]
fn body_without_any_action_is_refused() {
    for body in ["", "\n \n", "hello", "{\"message\":\"x\"}\n", "[]", "{}"] {
        let error = answered("/_bulk", None, body.as_bytes()).unwrap_err();
        assert_eq!(error.status(), StatusCode::BAD_REQUEST, "{body:?}");
    }
}

#[test]
fn filter_path_leaves_members_out() {
    let body = b"{\"create\":{}}\n{\"message\":\"one\"}\n{\"delete\":{}}\n";
    let filtered = |query| answered("/_bulk", Some(query), body).unwrap().1;
    let beats = filtered("filter_path=errors%2Citems.%2A.error%2Citems.%2A.status");
    let error = "{\"type\":\"illegal_argument_exception\",\"reason\":\"a log only grows: expected one of [create, index]\"}";
    assert_eq!(
        beats,
        format!(
            "{{\"errors\":true,\"items\":[{{\"create\":{{\"status\":201}}}},{{\"delete\":{{\"status\":400,\"error\":{error}}}}}]}}"
        )
    );
    assert_eq!(filtered("filter_path=errors"), "{\"errors\":true}");
    assert_eq!(filtered("filter_path=items.create.status"), "{\"items\":[{\"create\":{\"status\":201}}]}");
}

#[test]
fn long_names_are_cut_in_the_answer() {
    let long = "é".repeat(4000);
    let body = format!("{{\"create\":{{\"_id\":\"{long}\"}}}}\n{{\"message\":\"x\"}}\n");
    let (_, reply) = answered(&format!("/{long}/_bulk"), None, body.as_bytes()).unwrap();
    let reply: Value = serde_json::from_str(&reply).unwrap();
    assert_eq!(reply["items"][0]["create"]["_index"].as_str().unwrap().len(), 254);
    assert_eq!(reply["items"][0]["create"]["_id"].as_str().unwrap().len(), 512);
}

#[test]
fn bytes_that_are_no_text_are_replaced_in_their_record_only() {
    let body = b"{\"index\":{}}\n{\"message\":\"a\xff\"}\n{\"index\":{}}\n{\"message\":\"fine\"}\n";
    let (stored, _) = answered("/_bulk", None, body).unwrap();
    assert_eq!(stored, ["INFO a\u{fffd} | utf8=replaced", "INFO fine"]);
}

#[test]
fn probes_are_answered_as_elasticsearch_does() {
    let mut headers = HeaderMap::new();
    let mut ask = |path: &str, accept: &'static str| {
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        let route = ROUTES.iter().find(|route| route.path == path).unwrap();
        Bulk.probe(&RequestHead { route, path, query: None, headers: &headers })
    };
    for route in ROUTES.iter().filter(|route| route.takes == Takes::Nothing) {
        let reply = ask(route.path, "application/vnd.elasticsearch+json; compatible-with=8");
        assert_eq!(reply.headers()["x-elastic-product"], "Elasticsearch", "{}", route.path);
        assert_eq!(reply.headers()["content-type"], "application/vnd.elasticsearch+json;compatible-with=8");
        serde_json::from_slice::<Value>(reply.body()).unwrap();
    }
    let banner: Value = serde_json::from_slice(ask("/", "*/*").body()).unwrap();
    assert!(banner["version"]["number"].as_str().unwrap().starts_with("8."));
    assert_eq!(banner["tagline"], "You Know, for Search");
    let license: Value = serde_json::from_slice(ask("/_license", "").body()).unwrap();
    assert_eq!(license["license"]["status"], "active");
}

#[test]
fn refusals_have_the_form_of_elasticsearch() {
    let headers = HeaderMap::new();
    let head = RequestHead { route: &ROUTES[0], path: "/_bulk", query: None, headers: &headers };
    for (status, cause, expected) in [
        (401, RefusalCause::UnknownKey, "security_exception"),
        (403, RefusalCause::KeyRefused, "security_exception"),
        (413, RefusalCause::TooLarge, "content_too_long_exception"),
        (429, RefusalCause::TooManyRequests, "es_rejected_execution_exception"),
        (503, RefusalCause::Unavailable, "unavailable_shards_exception"),
        (400, RefusalCause::Malformed, "parse_exception"),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        let refusal = RefusedRequest {
            status,
            cause,
            code: None,
            retry_after: None,
            detail: "a \"detail\"",
            reason: Some("why"),
        };
        let reply = Bulk.refuse(&head, &refusal).unwrap();
        assert_eq!(reply.status(), status);
        assert_eq!(reply.headers()["x-elastic-product"], "Elasticsearch");
        let body: Value = serde_json::from_slice(reply.body()).unwrap();
        let error = json!({"type": expected, "reason": "a \"detail\" why"});
        assert_eq!(body["error"]["root_cause"], json!([error]));
        assert_eq!(body["error"]["type"], error["type"]);
        assert_eq!(body["error"]["reason"], error["reason"]);
        assert_eq!(body["status"], status.as_u16());
    }
}

proptest! {
    #[test]
    fn any_documents_come_back_in_their_order(documents in prop::collection::vec((".{0,12}", "[a-z]{1,6}", prop::option::of(".{1,6}")), 1..8)) {
        let lines: Vec<String> = documents.iter().map(|(message, index, id)| {
            format!("{}\n{}\n", json!({"create": {"_index": index, "_id": id}}), json!({"message": message}))
        }).collect();
        let (stored, reply) = read(&lines.concat());
        let expected: Vec<_> = documents.iter().map(|(message, index, _)| format!("INFO {message} | index={index}")).collect();
        prop_assert_eq!(stored, expected);
        for ((_, index, id), item) in documents.iter().zip(reply["items"].as_array().unwrap()) {
            prop_assert_eq!(item["create"]["_index"].as_str(), Some(index.as_str()));
            prop_assert!(id.is_none() || item["create"]["_id"].as_str() == id.as_deref());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, near in "(\\{\"(create|index|update|delete|x)\":\\{?(\"_id\":[1\"]{0,3})?\\}?\\}?\n|\\{\"message\":\"x\"\\}\n|\n|x|\\{){0,12}") {
        for body in [&bytes[..], near.as_bytes()] {
            if let Ok((stored, reply)) = answered("/_bulk", None, body) {
                let reply: Value = serde_json::from_str(&reply).unwrap();
                let ok = statuses(&reply).iter().filter(|(_, status)| *status == 201).count();
                prop_assert_eq!(stored.len(), ok);
            }
        }
    }
}
