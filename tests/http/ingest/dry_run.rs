//! Tests of dry runs. They check everything, store nothing, and show the lines.

use serde_json::{Value, json};

use crate::harness::{KEY, Line, Setup, route};

#[test]
fn dry_run_shows_the_lines_and_stores_nothing() {
    let server = Setup::new().start();
    server.save("before");
    let target = format!("{}?dry_run=1&api_key={KEY}", route("save-log"));
    let body = json!({"message": "a\nb", "level": "error", "user": "bob"}).to_string();
    let response = server.request("POST", &target, &[("Content-Type", "application/json")], body.as_bytes());
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.expect_header("content-type"), "application/json");
    let answer = response.json();
    assert_eq!(answer["records"], 1);
    let lines: Vec<&str> = answer["lines"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let [line] = lines[..] else { panic!("{answer}") };
    assert!(
        line.starts_with("[ERROR](")
            && line.ends_with(
                "|save-log|{PID}|2>a\\nb \\| user=bob".replace("{PID}", &server.pid().to_string()).as_str()
            ),
        "{line}"
    );
    assert_eq!(server.messages(), ["before"]);
    // The next record takes the number that the dry run showed.
    server.save("after");
    assert_eq!(server.parsed()[1].seq, 2);
}

#[test]
fn dry_run_counts_all_records_and_shows_a_hundred() {
    let server = Setup::new().log("level", json!(1)).start();
    let target = format!("{}?api_key={KEY}&dry_run=true", route("save-logs"));
    let body: String = (0..250).map(|n| format!("{{\"message\":\"{n}\",\"level\":{}}}\n", n % 5)).collect();
    let answer = server.request("POST", &target, &[], body.as_bytes()).json();
    // Every fifth record is below the level of the log.
    assert_eq!(answer["records"], 200);
    let lines = answer["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 100);
    assert_eq!(Line::parse(lines[0].as_str().unwrap()).message, "1");
    assert_eq!(Line::parse(lines[99].as_str().unwrap()).seq, 100);
    assert!(server.messages().is_empty());
    let json = Setup::new().log("format", json!("json")).start();
    let answer = json.request("POST", &target, &[], b"one\ntwo\n").json();
    let line: Value = serde_json::from_str(answer["lines"][1].as_str().unwrap()).unwrap();
    assert_eq!((line["message"].as_str(), line["seq"].as_u64()), (Some("two"), Some(2)));
}

#[test]
fn dry_run_spends_no_quota_and_runs_all_checks() {
    let server = Setup::new()
        .key("two", &json!({"rate": "2 / hour", "allowed_path": ["/moca-file-log/save-log"]}))
        .start();
    let dry = format!("{}?dry_run=1", route("save-log"));
    let body = json!({"message": "m"}).to_string();
    let headers = [("API-KEY", "two"), ("Content-Type", "application/json")];
    for _ in 0..5 {
        assert_eq!(server.request("POST", &dry, &headers, body.as_bytes()).status, 200);
        let in_body = json!({"api_key": "two", "message": "m"});
        assert_eq!(server.post_json(&dry, &in_body).status, 200);
    }
    for status in [200, 200, 429] {
        assert_eq!(server.request("POST", &route("save-log"), &headers, body.as_bytes()).status, status);
    }
    server.request("POST", &dry, &[], b"x").unauthorized("Missing API-KEY.");
    server.request("POST", &dry, &[("API-KEY", "nobody")], b"x").unauthorized("Unknown API-KEY.");
    let elsewhere = format!("{}?dry_run=1", route("save-logs"));
    server.request("POST", &elsewhere, &[("API-KEY", "two")], b"x").problem(403);
    server.request("POST", &dry, &headers, b"{}").problem(422);
    server.request("POST", &dry, &headers, b"{").problem(400);
    server.request("POST", &dry, &[("API-KEY", KEY), ("Content-Type", "image/png")], b"x").problem(415);
    assert_eq!(server.messages().len(), 2);
    // Any other value is no dry run, and the parameter is no field.
    let wet = format!("{}?dry_run=0&message=stored&api_key={KEY}", route("save-log"));
    server.get(&wet).success();
    assert!(server.log_lines()[2].ends_with(">stored"));
}
