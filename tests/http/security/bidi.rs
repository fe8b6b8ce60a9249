//! Tests of bidirectional controls, which change the order in which a terminal shows a line. They
//! are escaped everywhere but in the message itself.

use serde_json::{Value, json};

use crate::harness::{Server, Setup, route};

const CONTROLS: &str =
    "\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
const ESCAPED: &str =
    r"\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";

fn name() -> String {
    format!("a{CONTROLS}b")
}

fn has_control(text: &str) -> bool {
    text.chars().any(|c| CONTROLS.contains(c))
}

fn save(server: &Server) {
    let body = json!({"api_key": "k", "message": CONTROLS}).to_string();
    let headers = [("Content-Type", "application/json")];
    server.request("POST", &route("save-log"), &headers, body.as_bytes()).success();
}

#[test]
fn names_of_keys_are_escaped_and_messages_are_not() {
    let server = Setup::new().key("k", &json!({"name": name()})).start();
    save(&server);
    let lines = server.log_lines();
    let (origin, message) = lines[0].split_once('>').unwrap();
    assert!(origin.contains(&format!("|a{ESCAPED}b|")) && !has_control(origin), "{origin:?}");
    assert_eq!(message, CONTROLS);
}

#[test]
fn names_in_json_lines_are_escaped_too() {
    let server = Setup::new().log("format", json!("json")).key("k", &json!({"name": name()})).start();
    save(&server);
    let line = server.log_lines().remove(0);
    assert_eq!(line.matches(CONTROLS).count(), 1, "{line:?}");
    let record: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&record["key"], &record["message"]), (&json!(name()), &json!(CONTROLS)));
    // The server reads its own line.
    let latest = server.root_get("get-latest-logs?count=1");
    assert!(latest.text().contains("save-log"), "{latest:?}");
}

#[test]
fn fields_of_the_access_log_are_escaped() {
    let server = Setup::new().server("access_log", json!(true)).key("k", &json!({"name": name()})).start();
    let target = format!("/status?x={CONTROLS}");
    server.get_with(&target, &[("User-Agent", CONTROLS), ("Referer", CONTROLS)]);
    let target = format!("{}?message=m&x={CONTROLS}", route("save-log"));
    server.get_with(&target, &[("User-Agent", CONTROLS), ("API-KEY", "k")]);
    let lines = server.access_lines(2);
    assert!(lines.iter().all(|line| !has_control(line)), "{lines:?}");
    assert!(lines[0].ends_with(&format!("\"{ESCAPED}\" \"{ESCAPED}\"")), "{lines:?}");
    assert!(lines[1].contains(&format!(" - a{ESCAPED}b [")), "{lines:?}");
}

#[test]
fn texts_in_the_journal_are_escaped() {
    let server = Setup::new()
        .server("debug", json!(true))
        .key("k", &json!({"name": name(), "allowed_path": ["/other"]}))
        .start();
    let target = format!("{}?message=m&api_key=k", route("save-log"));
    server.get_with(&target, &[]).problem(403);
    server.get_with(&format!("/moca-file-log/{CONTROLS}"), &[("API-KEY", "k")]);
    crate::harness::eventually("the refusal is explained", std::time::Duration::from_secs(5), || {
        server.stderr().contains(&format!("a{ESCAPED}b"))
    });
    assert!(!has_control(&server.stderr()), "{}", server.stderr());
}
