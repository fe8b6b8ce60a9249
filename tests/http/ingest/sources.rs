//! Tests of the sources of parameters, and of their precedence.

use serde_json::json;

use crate::harness::{KEY, Setup, encode, route};

const MULTIPART: [(&str, &str); 1] = [("Content-Type", "multipart/form-data; boundary=xxBOUNDARYxx")];

fn multipart(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut body = String::new();
    for (name, value) in parts {
        body.push_str("--xxBOUNDARYxx\r\n");
        body.push_str(&format!("Content-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
    }
    body.push_str("--xxBOUNDARYxx--\r\n");
    body.into_bytes()
}

#[test]
fn every_source_can_carry_every_parameter() {
    let server = Setup::new().start();
    let target = route("save-log");
    let query = format!("{target}?api_key={KEY}&level=2&message={}", encode("from the query: a=b&c + ü"));
    server.get(&query).success();
    server.post_json(&target, &json!({"api_key": KEY, "level": 2, "message": "from json ü"})).success();
    let form = [("api_key", KEY), ("level", "2"), ("message", "from the form: a=b&c + ü")];
    server.post_form(&target, &form).success();
    let body = multipart(&[("api_key", KEY), ("level", "2"), ("message", "from multipart ü")]);
    server.request("POST", &target, &MULTIPART, &body).success();
    let headers = [("API-KEY", KEY), ("LEVEL", "2"), ("MESSAGE", "from the headers")];
    server.get_with(&target, &headers).success();
    let lines = server.parsed();
    let messages: Vec<&str> = lines.iter().map(|line| line.message.as_str()).collect();
    let expected = [
        "from the query: a=b&c + ü",
        "from json ü",
        "from the form: a=b&c + ü",
        "from multipart ü",
        "from the headers",
    ];
    assert_eq!(messages, expected);
    assert!(lines.iter().all(|line| line.level == "WARNING"), "{lines:?}");
}

#[test]
fn a_plus_is_a_space_in_queries_and_forms() {
    let server = Setup::new().start();
    server.get(&format!("{}?api_key={KEY}&message=a+b%2Bc", route("save-log"))).success();
    let form = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")];
    let body = format!("api_key={KEY}&message=d+e%2Bf");
    server.request("POST", &route("save-log"), &form, body.as_bytes()).success();
    assert_eq!(server.messages(), ["a b+c", "d e+f"]);
}

#[test]
fn sources_have_the_documented_precedence() {
    let server = Setup::new().start();
    let json_type = ("Content-Type", "application/json");
    let form_type = ("Content-Type", "application/x-www-form-urlencoded");
    let header = ("MESSAGE", "header");
    let with_query = format!("{}?api_key={KEY}&message=query", route("save-log"));
    let without = format!("{}?api_key={KEY}", route("save-log"));
    let in_json = br#"{"message": "json"}"#;
    server.request("POST", &with_query, &[json_type, header], in_json).success();
    server.request("POST", &with_query, &[form_type, header], b"message=form").success();
    server.request("POST", &without, &[form_type, header], b"message=form").success();
    server.request("POST", &without, &[header], b"").success();
    assert_eq!(server.messages(), ["json", "query", "form", "header"]);
}

#[test]
fn the_key_of_the_source_with_precedence_decides() {
    let server = Setup::new().start();
    let body = json!({"api_key": "wrong", "message": "m"});
    let target = format!("{}?api_key={KEY}", route("save-log"));
    server.post_json(&target, &body).unauthorized("Unknown API-KEY.");
    let target = format!("{}?api_key=wrong&message=m", route("save-log"));
    server.get_with(&target, &[("API-KEY", KEY)]).unauthorized("Unknown API-KEY.");
    let target = format!("{}?api_key={KEY}&message=stored", route("save-log"));
    server.get_with(&target, &[("API-KEY", "wrong")]).success();
    assert_eq!(server.messages(), ["stored"]);
}

#[test]
fn bearer_and_x_api_key_carry_the_key() {
    let server = Setup::new().start();
    let target = format!("{}?message=m", route("save-log"));
    server.get_with(&target, &[("Authorization", &format!("Bearer {KEY}"))]).success();
    server.get_with(&target, &[("authorization", &format!("bearer {KEY}"))]).success();
    server.get_with(&target, &[("X-API-Key", KEY)]).success();
    server.get_with(&target, &[("x-api-key", KEY)]).success();
    server.get_with(&target, &[("api-key", KEY)]).success();
    assert_eq!(server.messages().len(), 5);
    server.get_with(&target, &[("Authorization", "Bearer wrong")]).unauthorized("Unknown API-KEY.");
    server.get_with(&target, &[("X-API-Key", "wrong")]).unauthorized("Unknown API-KEY.");
    let basic = [("Authorization", "Basic dGVzdC1rZXk6")];
    server.get_with(&target, &basic).success();
    let unknown = [("Authorization", "Basic d3Jvbmc6")];
    server.get_with(&target, &unknown).unauthorized("Unknown API-KEY.");
    let malformed = [("Authorization", "Basic ?")];
    server.get_with(&target, &malformed).unauthorized("Missing API-KEY.");
}

#[test]
fn cookies_are_ignored() {
    let server = Setup::new().start();
    let target = format!("{}?message=m", route("save-log"));
    let cookie = format!("api_key={KEY}; API-KEY={KEY}");
    server.get_with(&target, &[("Cookie", &cookie)]).unauthorized("Missing API-KEY.");
    let target = format!("{}?api_key={KEY}", route("save-log"));
    server.get_with(&target, &[("Cookie", "message=m")]).problem(422);
    // A malformed cookie is ignored too.
    server.get_with(&format!("{target}&message=m"), &[("Cookie", "a@b=c; =; \"")]).success();
}

#[test]
fn null_in_json_counts_as_absent() {
    let server = Setup::new().start();
    let target = format!("{}?api_key={KEY}&message=query&level=3", route("save-log"));
    let nulls = json!({"api_key": null, "message": null, "level": null});
    server.post_json(&target, &nulls).success();
    let line = server.parsed().remove(0);
    assert_eq!((line.message.as_str(), line.level.as_str()), ("query", "ERROR"));
}

#[test]
fn message_wins_over_its_alias() {
    let server = Setup::new().start();
    server.save_with(&json!({"msg": "alias"})).success();
    server.save_with(&json!({"message": "name", "msg": "alias"})).success();
    server.save_with(&json!({"message": null, "msg": "alias again"})).success();
    server.get(&format!("{}?api_key={KEY}&msg=in+the+query", route("save-log"))).success();
    server.post_form(&route("save-log"), &[("api_key", KEY), ("msg", "in the form")]).success();
    assert_eq!(server.messages(), ["alias", "name", "alias again", "in the query", "in the form"]);
}

#[test]
fn json_needs_no_content_type() {
    let server = Setup::new().start();
    let body = json!({"api_key": KEY, "message": "bare"}).to_string();
    server.request("POST", &route("save-log"), &[], body.as_bytes()).success();
    for content_type in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json"] {
        let headers = [("Content-Type", content_type)];
        server.request("POST", &route("save-log"), &headers, body.as_bytes()).success();
    }
    assert_eq!(server.messages(), ["bare", "bare", "bare", "bare"]);
}

#[test]
fn malformed_json_is_refused() {
    let server = Setup::new().start();
    let headers = [("Content-Type", "application/json"), ("API-KEY", KEY)];
    let target = format!("{}?message=from+the+query", route("save-log"));
    let bodies: [&[u8]; 6] = [
        b"{",
        b"{\"level\": 1,}",
        b"{'message': 'm'}",
        b"{\"message\": \"m\"} trailing",
        b"nonsense",
        b"{\"message\": \"raw \n line end\"}",
    ];
    for body in bodies {
        let response = server.request("POST", &target, &headers, body);
        assert_eq!(response.status, 400, "{}: {response:?}", String::from_utf8_lossy(body));
        response.problem(400);
    }
    assert!(server.messages().is_empty(), "malformed JSON was taken for an empty object");
}

#[test]
fn json_other_than_an_object_is_refused() {
    let server = Setup::new().start();
    let headers = [("Content-Type", "application/json"), ("API-KEY", KEY)];
    let target = format!("{}?message=from+the+query", route("save-log"));
    for body in ["1", "\"text\"", "true", "null"] {
        server.request("POST", &target, &headers, body.as_bytes()).problem(400);
    }
    for body in ["[]", "[{\"message\":\"m\"}]"] {
        server.request("POST", &target, &headers, body.as_bytes()).problem(422);
    }
    assert!(server.messages().is_empty());
}

#[test]
fn too_deeply_nested_json_is_refused() {
    let server = Setup::new().start();
    let headers = [("Content-Type", "application/json"), ("API-KEY", KEY)];
    let body = format!("{{\"message\":\"m\",\"x\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    let response = server.request("POST", &route("save-log"), &headers, body.as_bytes());
    assert!([200, 400].contains(&response.status), "{response:?}");
    server.assert_alive();
}

#[test]
fn the_first_of_repeated_form_values_counts() {
    let server = Setup::new().start();
    server.post_form(&route("save-log"), &[("api_key", KEY), ("message", "a"), ("message", "b")]).success();
    assert_eq!(server.messages(), ["a"]);
}

#[test]
fn a_batch_is_a_list_or_its_json_text() {
    let server = Setup::new().start();
    let target = route("save-logs");
    let text = r#"[{"level": 2, "msg": "one"}, {"message": "two"}]"#;
    server.post_json(&target, &json!({"api_key": KEY, "logs": [{"msg": "list"}]})).success();
    server.post_json(&target, &json!({"api_key": KEY, "logs": text})).success();
    server.get(&format!("{target}?api_key={KEY}&logs={}", encode(text))).success();
    server.post_form(&target, &[("api_key", KEY), ("logs", text)]).success();
    let body = multipart(&[("api_key", KEY), ("logs", text)]);
    server.request("POST", &target, &MULTIPART, &body).success();
    assert_eq!(server.messages(), ["list", "one", "two", "one", "two", "one", "two", "one", "two"]);
}
