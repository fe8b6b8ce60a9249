//! Compares the OpenAPI document with the server. Every documented operation answers as documented,
//! every documented success occurs, and answers and headers have the documented form.
//!
//! `tests/api` does the same with thousands of generated requests.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::harness::{KEY, ROOT, Response, Server, Setup, encode, route};

const AUTH: [(&str, &str); 2] = [("API-KEY", KEY), ("ROOT-PASS", ROOT)];

/// Holds the document. Its methods resolve references.
struct Document(Value);

impl Document {
    fn of(server: &Server) -> Self {
        let response = server.get(&route("openapi.json"));
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.expect_header("content-type"), "application/json");
        Self(response.json())
    }

    fn follow<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').expect("a reference into this document");
                self.0.pointer(pointer).unwrap_or_else(|| panic!("a dangling reference: {reference}"))
            }
            None => value,
        }
    }

    fn object(&self, pointer: &str) -> &Map<String, Value> {
        self.0.pointer(pointer).and_then(Value::as_object).unwrap_or_else(|| panic!("no object at {pointer}"))
    }

    /// Returns the path in the document, the URLs, the method and the description of every
    /// operation.
    fn operations(&self) -> Vec<(String, Vec<String>, String, &Value)> {
        let mut operations = Vec::new();
        for (path, item) in self.object("/paths") {
            let servers = item.get("servers").unwrap_or_else(|| &self.0["servers"]);
            let urls: Vec<String> = servers
                .as_array()
                .unwrap()
                .iter()
                .map(|server| {
                    let name = server["variables"]["name"]["default"].as_str().unwrap_or_default();
                    let base = server["url"].as_str().unwrap().replace("{name}", name);
                    format!("{}{path}", base.trim_end_matches('/'))
                })
                .collect();
            for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| *name != "servers")
            {
                operations.push((path.clone(), urls.clone(), method.to_uppercase(), operation));
            }
        }
        operations
    }

    /// Panics when the operation does not document the answer.
    fn check(&self, what: &str, method: &str, operation: &Value, response: &Response) {
        let documented = &operation["responses"][response.status.to_string()];
        assert!(documented.is_object(), "undocumented: {what}: {response:?}");
        let documented = self.follow(documented);
        for (name, header) in documented["headers"].as_object().into_iter().flatten() {
            let header = self.follow(header);
            match response.header(name) {
                Some(value) => {
                    let number = value.parse::<u64>().map(Value::from).ok();
                    let value = number
                        .filter(|_| header["schema"]["type"] == "integer")
                        .unwrap_or_else(|| json!(value));
                    self.valid(&header["schema"], &value)
                        .unwrap_or_else(|why| panic!("{what}: {name}: {why}"));
                }
                None => assert!(header["required"] != true, "{what}: no {name}: {response:?}"),
            }
        }
        let contents = documented["content"].as_object();
        if method == "HEAD" || contents.is_none() {
            assert!(response.body.is_empty(), "a body that is not documented: {what}: {response:?}");
            return;
        }
        let sent = response.expect_header("content-type");
        let essence = sent.split(';').next().unwrap();
        let content = contents.unwrap().get(essence);
        let content = content.unwrap_or_else(|| panic!("undocumented type: {what}: {response:?}"));
        let is_json = essence.ends_with("/json") || essence.ends_with("+json");
        let body = if is_json { response.json() } else { json!(response.text()) };
        self.valid(&content["schema"], &body).unwrap_or_else(|why| panic!("{what}: {why}: {response:?}"));
    }

    /// Validates a value by the part of JSON Schema that the document uses. Schemathesis checks
    /// patterns.
    fn valid(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = self.follow(schema);
        for (keyword, wanted) in schema.as_object().expect("a schema") {
            let length = || value.as_str().map(|text| text.chars().count() as u64);
            let fits = match keyword.as_str() {
                "description" | "examples" | "pattern" | "propertyNames" => true,
                "type" => match wanted {
                    Value::Array(types) => types.iter().any(|wanted| has_type(value, wanted)),
                    wanted => has_type(value, wanted),
                },
                "const" => value == wanted,
                "anyOf" => wanted.as_array().unwrap().iter().any(|schema| self.valid(schema, value).is_ok()),
                "enum" => wanted.as_array().unwrap().contains(value),
                "minLength" => length().is_none_or(|length| length >= wanted.as_u64().unwrap()),
                "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
                "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
                "minProperties" => {
                    value.as_object().is_none_or(|object| object.len() as u64 >= wanted.as_u64().unwrap())
                }
                "maxItems" => {
                    value.as_array().is_none_or(|list| list.len() as u64 <= wanted.as_u64().unwrap())
                }
                "items" => {
                    value.as_array().into_iter().flatten().try_for_each(|item| self.valid(wanted, item))?;
                    true
                }
                "required" => {
                    wanted.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some())
                }
                "properties" => {
                    for (name, schema) in wanted.as_object().unwrap() {
                        if let Some(member) = value.get(name) {
                            self.valid(schema, member).map_err(|why| format!("{name}: {why}"))?;
                        }
                    }
                    true
                }
                "additionalProperties" => {
                    let known = &schema["properties"];
                    let mut others = value.as_object().into_iter().flatten();
                    others.all(|(name, member)| {
                        known.get(name).is_some() || *wanted != false && self.valid(wanted, member).is_ok()
                    })
                }
                other => panic!("a keyword that this test does not know: {other}"),
            };
            if !fits {
                return Err(format!("{value} breaks {keyword}: {wanted}"));
            }
        }
        Ok(())
    }
}

fn has_type(value: &Value, wanted: &Value) -> bool {
    match wanted.as_str().unwrap() {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("unknown type {other}"),
    }
}

/// Holds target, headers and body.
type Request = (String, Vec<(&'static str, String)>, Vec<u8>);

/// Returns requests that together cause every documented answer.
fn requests(url: &str, method: &str) -> Vec<Request> {
    let auth = || AUTH.map(|(name, value)| (name, value.to_owned())).to_vec();
    let and = |name: &'static str, value: &str| {
        let mut headers = auth();
        headers.push((name, value.to_owned()));
        headers
    };
    let good = format!("{url}?message=m&level=3&logs={}", encode(r#"[{"msg":"m"}]"#));
    let mut requests = vec![
        (good.clone(), auth(), vec![]),
        (good.clone(), and("Accept", "application/json"), vec![]),
        (url.to_owned(), auth(), vec![]),
        (url.to_owned(), vec![], vec![]),
        (url.to_owned(), vec![("API-KEY", "unknown".to_owned())], vec![]),
        (url.to_owned(), vec![("API-KEY", KEY.to_owned())], vec![]),
        (url.to_owned(), vec![("API-KEY", "limited".to_owned()), ("ROOT-PASS", ROOT.to_owned())], vec![]),
        (format!("{good}&level=no"), auth(), vec![]),
        (format!("{url}?level=no&message=m&logs=no"), auth(), vec![]),
        (format!("{url}?output=json&message=m&logs=no"), auth(), vec![]),
        (format!("{url}?output=ndjson&limit=1&message=m&logs=no"), auth(), vec![]),
        (format!("{url}?output=text&order=desc&message=m&logs=no"), auth(), vec![]),
        (format!("{url}?cursor=no&message=m&logs=no"), auth(), vec![]),
        (url.to_owned(), and("Range", "bytes=0-1"), vec![]),
        (url.to_owned(), and("Range", "bytes=999999-"), vec![]),
        (url.to_owned(), and("If-None-Match", "*"), vec![]),
        (url.to_owned(), and("Filler", &"x".repeat(20_000)), vec![]),
        (format!("{url}?{}", "x".repeat(20_000)), auth(), vec![]),
    ];
    if method == "POST" || method == "PUT" {
        requests.push((format!("{url}?dry_run=1"), and("Content-Type", "text/plain"), b"text".to_vec()));
        // A record of each format.
        let record = br#"{"message":"m","event":"m","@mt":"m","short_message":"m"}"#;
        for target in [url.to_owned(), format!("{url}?dry_run=1")] {
            requests.push((target, and("Content-Type", "application/json"), record.to_vec()));
        }
        requests.push((url.to_owned(), and("Content-Type", "image/png"), b"text".to_vec()));
        requests.push((good.clone(), and("Content-Encoding", "compress"), b"m".to_vec()));
        requests.push((good.clone(), and("Transfer-Encoding", "gzip, chunked"), b"0\r\n\r\n".to_vec()));
        requests.push((good.clone(), auth(), vec![b'x'; 2000]));
        requests.push((good, and("Content-Type", "application/json"), b"{".to_vec()));
    }
    requests
}

#[test]
fn every_operation_answers_as_documented() {
    let server =
        Setup::new().key("limited", &json!({"rate": "1/hour"})).http("request_max_size = 1000").start();
    let document = Document::of(&server);
    let mut seen = BTreeSet::new();
    for (path, urls, method, operation) in document.operations() {
        for url in urls {
            for (mut target, headers, body) in requests(&url, &method) {
                server.save("a record");
                if path == "/tail" {
                    // Without a limit the stream would not end.
                    let separator = if target.contains('?') { '&' } else { '?' };
                    target = format!("{}{separator}lines=1&limit=1", target.replace("level=3", "level=1"));
                }
                let headers: Vec<(&str, &str)> =
                    headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let response = server.request(&method, &target, &headers, &body);
                let shown: String = target.chars().take(100).collect();
                document.check(&format!("{method} {shown} {headers:.60?}"), &method, operation, &response);
                seen.insert((path.clone(), method.clone(), response.status));
            }
        }
        for (status, _) in operation["responses"].as_object().unwrap() {
            let status: u16 = status.parse().unwrap();
            if status < 400 {
                assert!(
                    seen.contains(&(path.clone(), method.clone(), status)),
                    "{method} {path} is never {status}"
                );
            }
        }
    }
    let statuses: BTreeSet<u16> = seen.into_iter().map(|(_, _, status)| status).collect();
    for status in [400, 401, 403, 413, 414, 415, 416, 429, 431, 501] {
        assert!(statuses.contains(&status), "{status}: {statuses:?}");
    }
}

#[test]
fn other_methods_other_names_and_maintenance_are_documented() {
    let server = Setup::new().start();
    let maintained = Setup::new().system("maintenance_mode", json!(true)).start();
    let document = Document::of(&server);
    for (path, urls, method, operation) in document.operations() {
        for url in urls {
            for other in ["PUT", "PATCH", "DELETE", "TRACE"] {
                // The routes that store take a file as curl sends it.
                if other == "PUT" && path.starts_with("/save-log") {
                    continue;
                }
                let response = server.request(other, &url, &AUTH, b"");
                assert_eq!(response.status, 405);
                document.check(&format!("{other} {url}"), other, operation, &response);
            }
            let response = maintained.request(&method, &url, &AUTH, b"");
            assert_eq!(response.status, 503, "{method} {url}");
            document.check(&format!("{method} {url} in maintenance"), &method, operation, &response);
        }
        if path != "/status" {
            let response = server.request(&method, &format!("/moca-file-log/another{path}"), &AUTH, b"");
            assert_eq!(response.status, 404);
            document.check(&format!("{method} {path} of another log"), &method, operation, &response);
        }
    }
}

#[test]
fn every_reference_resolves_and_every_component_is_used() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = Document::of(&Setup::new().start());
    let mut found = BTreeSet::new();
    references(&document.0, &mut found);
    let mut defined = BTreeSet::new();
    for (kind, entries) in
        document.object("/components").iter().filter(|(kind, _)| *kind != "securitySchemes")
    {
        defined.extend(entries.as_object().unwrap().keys().map(|name| format!("#/components/{kind}/{name}")));
    }
    assert_eq!(found, defined);
    let schemes = document.object("/components/securitySchemes");
    let mut ids = BTreeSet::new();
    for (path, _, method, operation) in document.operations() {
        for scheme in
            operation["security"].as_array().unwrap().iter().flat_map(|all| all.as_object().unwrap().keys())
        {
            assert!(schemes.contains_key(scheme), "{method} {path}: {scheme}");
        }
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
    }
}

#[test]
fn the_document_needs_no_key_and_no_forced_header() {
    let server = Setup::new()
        .system("force_headers", json!({"X-Team": "red"}))
        .system("referer", json!({"force": true, "allowed_referer": []}))
        .start();
    let get = server.get(&route("openapi.json"));
    assert_eq!(get.status, 200);
    let etag = get.expect_header("etag").to_owned();
    let mut conn = server.connect();
    let again = conn.request("GET", "/moca-file-log/sample1/openapi.json/", &[("If-None-Match", &etag)], b"");
    assert_eq!((again.status, again.body.len()), (304, 0), "{again:?}");
    assert_eq!(again.expect_header("etag"), etag);
    assert_eq!(conn.request("GET", &route("openapi.json"), &[("If-None-Match", "\"x\"")], b"").status, 200);
    let blocked = Setup::new().blacklist(json!(["127.0.0.1"])).start();
    blocked.get(&route("openapi.json")).refused(403, "Your access was blocked by ip filter.");
}
