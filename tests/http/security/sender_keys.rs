//! Tests of the places where senders of other systems put their key: each is read on the routes that store
//! records, and no secret of one is written anywhere.

use data_encoding::BASE64;
use serde_json::json;

use crate::harness::{KEY, Server, Setup, encode, route};

fn event(server: &Server, target: &str, headers: &[(&str, &str)]) -> u16 {
    server.request("POST", target, headers, br#"{"event":"a"}"#).status
}

/// The prefix of a target, its query, and a header.
type Place = (String, String, Option<(&'static str, String)>);

/// Returns the places of a key.
fn places(key: &str) -> Vec<Place> {
    let pair = |id: &str| BASE64.encode(format!("{id}:{key}").as_bytes());
    let header = |name, value: String| (String::new(), String::new(), Some((name, value)));
    let query = |name: &str| (String::new(), format!("?{name}={}", encode(key)), None);
    vec![
        header("Authorization", format!("Splunk {key}")),
        header("Authorization", format!("splunk {key}")),
        header("Authorization", format!("ApiKey {}", pair("id"))),
        header("Authorization", format!("ApiKey {key}")),
        header("Authorization", format!("Basic {}", pair("user"))),
        header("Authorization", format!("Bearer {key}")),
        header("X-Seq-ApiKey", key.to_owned()),
        header("DD-API-KEY", key.to_owned()),
        header("API-KEY", key.to_owned()),
        header("X-API-Key", key.to_owned()),
        query("apiKey"),
        query("dd-api-key"),
        query("token"),
        query("x-api-key"),
        query("api_key"),
        (format!("/k/{}", encode(key)), String::new(), None),
    ]
}

#[test]
fn each_place_of_a_key_is_read_where_records_are_stored() {
    let server = Setup::new().start();
    for (path, body, success) in [
        ("/services/collector/event".to_owned(), &br#"{"event":"a"}"#[..], 200),
        ("/api/v2/logs".to_owned(), br#"{"message":"a"}"#, 202),
        ("/ingest/clef".to_owned(), br#"{"@m":"a"}"#, 201),
        (route("save-log"), br#"{"message":"a"}"#, 200),
        ("/moca-file-log/save-logs".to_owned(), br#"[{"message":"a"}]"#, 200),
    ] {
        for (key, status) in [(KEY, success), ("s3cret", 401)] {
            for (prefix, query, header) in places(key) {
                let headers: Vec<(&str, &str)> =
                    header.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let target = format!("{prefix}{path}{query}");
                let answer = server.request("POST", &target, &headers, body);
                assert_eq!(answer.status, status, "{target} {headers:?} {answer:?}");
            }
        }
        assert_eq!(server.request("POST", &path, &[], body).status, 401, "{path}");
    }
    let native = format!("/k/{KEY}{}?message=get", route("save-log"));
    server.get(&native).success();
    let fields = server.parsed().iter().map(|line| line.fields.len()).sum::<usize>();
    assert_eq!(fields, 0, "no key becomes a field");
}

#[test]
fn places_of_the_product_come_first_and_others_open_no_route_for_reading() {
    let server = Setup::new().start();
    let target = "/services/collector/event";
    assert_eq!(event(&server, &format!("{target}?token=wrong"), &[("API-KEY", KEY)]), 200);
    assert_eq!(event(&server, &format!("{target}?token={KEY}"), &[("API-KEY", "wrong")]), 401);
    assert_eq!(event(&server, &format!("/k/wrong{target}"), &[("X-Seq-ApiKey", KEY)]), 200);
    assert_eq!(event(&server, &format!("/k/{KEY}{target}?token=other"), &[]), 200);
    // On the routes of the product, another parameter may have such a name.
    let body = json!({"api_key": KEY, "message": "a"});
    server.post_json(&format!("{}?token=other", route("save-log")), &body).success();
    for query in ["token", "apiKey", "x-api-key", "dd-api-key"] {
        assert_eq!(server.get(&format!("{}?{query}={KEY}", route("details"))).status, 401, "{query}");
    }
    assert_eq!(server.get_with(&route("details"), &[("DD-API-KEY", KEY)]).status, 401);
    for path in [route("details"), "/status".to_owned(), "/nothing".to_owned()] {
        let answer = server.get(&format!("/k/{KEY}{path}"));
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.text().contains(KEY), "{answer:?}");
    }
}

#[test]
fn allowed_path_sees_the_path_with_and_without_the_key() {
    let server = Setup::new()
        .key("plain", &json!({"status": true, "allowed_path": ["/services/collector"]}))
        .key("keyed", &json!({"status": true, "allowed_path": ["/k/keyed"]}))
        .key("other", &json!({"status": true, "allowed_path": ["/moca-file-log"]}))
        .start();
    for (key, status) in [("plain", 200), ("keyed", 200), ("other", 403)] {
        assert_eq!(event(&server, &format!("/k/{key}/services/collector/event"), &[]), status, "{key}");
    }
    let header = |key| event(&server, "/services/collector/event", &[("Authorization", key)]);
    assert_eq!((header("Splunk plain"), header("Splunk keyed")), (200, 403));
}

#[test]
fn dialects_refuse_a_key_in_their_own_form() {
    let server = Setup::new().key("off", &json!({"status": false})).start();
    let post = |target: &str, headers: &[(&str, &str)]| server.request("POST", target, headers, b"{}");
    let target = "/services/collector/event";
    for (headers, status, code) in [
        (&[][..], 401, 2),
        (&[("Authorization", "Other x")][..], 401, 3),
        (&[("Authorization", "Splunk wrong")][..], 401, 4),
        (&[("Authorization", "Splunk off")][..], 403, 4),
    ] {
        let answer = post(target, headers);
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (status, Some(code)), "{headers:?}");
    }
    let answer = post("/ingest/clef", &[("X-Seq-ApiKey", "wrong")]);
    assert_eq!((answer.status, &answer.json()["Error"]), (401, &json!("Unknown API-KEY.")));
    let answer = post("/v1/input/wrong", &[]);
    assert_eq!((answer.status, &answer.json()["errors"][0]["status"]), (401, &json!("401")));
    assert_eq!(post(&format!("/v1/input/{KEY}"), &[]).status, 202);
}

#[test]
fn questions_before_records_need_no_key() {
    let server = Setup::new().start();
    for target in
        ["/services/collector/event/1.0", "/services/collector", "/k/wrong/services/collector/event"]
    {
        assert_eq!(server.request("OPTIONS", target, &[], b"").status, 200, "{target}");
    }
    assert_eq!(server.get("/services/collector/health").json()["code"], 17);
    assert_eq!(server.get("/api/v1/validate").status, 200);
    let ack = server.request("POST", "/services/collector/ack", &[], b"{}");
    assert_eq!((ack.status, &ack.json()["code"]), (400, &json!(14)));
    let page = server.get_with("/", &[("Accept", "text/html,*/*")]);
    assert_eq!((page.status, page.header("location")), (302, Some("/moca-file-log/")));
}

#[test]
fn no_secret_of_a_sender_is_written() {
    let mut server = Setup::new()
        .server("access_log", json!(true))
        .server("debug", json!(true))
        .key("s3cret-known", &json!({"status": true, "name": "known", "allowed_path": ["/nothing"]}))
        .start();
    let mut sent = 0;
    for key in ["s3cret", "s3cret-known"] {
        for (prefix, query, header) in places(key) {
            let headers: Vec<(&str, &str)> =
                header.iter().map(|(name, value)| (*name, value.as_str())).collect();
            for path in ["/services/collector/event", "/nowhere", "/v1/input"] {
                let target = format!("{prefix}{path}{query}");
                let answer = server.request("POST", &target, &headers, b"{}");
                assert!(!answer.text().contains("s3cret"), "{target} {answer:?}");
                sent += 1;
            }
            let target = format!("{prefix}/v1/input/{key}{query}");
            let answer = server.request("POST", &target, &headers, b"{}");
            assert!(!answer.text().contains("s3cret"), "{target} {answer:?}");
            sent += 1;
        }
    }
    let lines = server.access_lines(sent).join("\n");
    assert!(!lines.contains("s3cret"), "{lines}");
    server.stop();
    let journal = server.stderr();
    assert!(!journal.contains("s3cret"), "{journal}");
    assert!(!server.log_lines().join("\n").contains("s3cret"));
}
