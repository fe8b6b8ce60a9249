//! Tests of the exact limits of each parameter, and of the answers to invalid values.

use serde_json::{Value, json};

use crate::harness::{KEY, Response, Server, Setup, encode, route};

fn levels(server: &Server) -> Vec<String> {
    server.parsed().into_iter().map(|line| line.level).collect()
}

/// Saves with this level in the query, in the form and in the headers.
fn save_with_level_text(server: &Server, level: &str) -> [Response; 3] {
    let target = format!("{}?api_key={KEY}&message=m", route("save-log"));
    [
        server.get(&format!("{target}&level={}", encode(level))),
        server.post_form(&target, &[("level", level)]),
        server.get_with(&target, &[("LEVEL", level)]),
    ]
}

const NAMES: [(&str, &str); 11] = [
    ("0", "DEBUG"),
    ("1", "INFO"),
    ("2", "WARNING"),
    ("3", "ERROR"),
    ("4", "CRITICAL"),
    ("debug", "DEBUG"),
    ("Info", "INFO"),
    ("WARNING", "WARNING"),
    ("warn", "WARNING"),
    ("eRRor", "ERROR"),
    ("critical", "CRITICAL"),
];

#[test]
fn a_level_is_a_number_or_a_name_from_every_source() {
    let server = Setup::new().start();
    let mut expected = Vec::new();
    for (text, level) in NAMES {
        for response in save_with_level_text(&server, text) {
            response.success();
        }
        server.save_with(&json!({"message": "m", "level": text})).success();
        expected.extend([level; 4]);
    }
    for (number, level) in ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"].into_iter().enumerate() {
        server.save_with(&json!({"message": "m", "level": number})).success();
        expected.push(level);
    }
    assert_eq!(levels(&server), expected);
}

#[test]
fn an_absent_level_is_info() {
    let server = Setup::new().start();
    server.save_with(&json!({"message": "m"})).success();
    server.save_batch(&json!([{"message": "m"}, {"level": null, "message": "m"}])).success();
    assert_eq!(levels(&server), ["INFO", "INFO", "INFO"]);
}

#[test]
fn any_other_level_is_stored_and_kept_in_the_words_of_the_sender() {
    let server = Setup::new().start();
    let mut expected = Vec::new();
    for (text, level) in [
        ("5", "INFO"),
        ("-1", "INFO"),
        ("1.5", "INFO"),
        ("abc", "INFO"),
        ("99999999999999999999", "INFO"),
        ("fatal", "CRITICAL"),
        ("Notice", "INFO"),
        ("trace", "DEBUG"),
        ("40", "WARNING"),
        ("400", "ERROR"),
    ] {
        for response in save_with_level_text(&server, text) {
            response.success();
        }
        server.save_with(&json!({"message": "m", "level": text})).success();
        expected.extend(std::iter::repeat_n((level.to_owned(), format!("level={text}")), 4));
    }
    for level in [json!(5), json!(-1), json!(99), json!(1.5), json!(true), json!([1])] {
        server.save_with(&json!({"message": "m", "level": level})).success();
        server.save_batch(&json!([{"message": "m", "level": level}])).success();
        expected.extend(std::iter::repeat_n(("INFO".to_owned(), format!("level={level}")), 2));
    }
    let stored: Vec<_> =
        server.parsed().into_iter().map(|line| (line.level.clone(), line.shown_fields())).collect();
    assert_eq!(stored, expected);
}

#[test]
fn a_message_is_required() {
    let server = Setup::new().start();
    let names = "message, msg, text, event, log, body, short_message, MESSAGE, @m, m";
    let is_missing_in = |place: &str, response: &Response| {
        let expected =
            format!("message parameter format error. The message is missing: looked for {names} in {place}.");
        assert_eq!(response.problem(422), expected);
    };
    let target = route("save-log");
    for body in [json!({}), json!({"message": null}), json!({"level": "error", "time": 1795410148})] {
        is_missing_in("the JSON body", &server.save_with(&body));
    }
    is_missing_in("the form", &server.post_form(&target, &[("api_key", KEY), ("level", "error")]));
    let in_query = server.get(&format!("{target}?api_key={KEY}&level=error"));
    is_missing_in("the query, and for the header MESSAGE", &in_query);
    assert!(server.messages().is_empty());
}

#[test]
fn a_message_of_any_type_is_its_json_text() {
    let server = Setup::new().start();
    let messages = [json!(true), json!(["m", 1]), json!({"m": {"n": null}}), json!(false), json!({})];
    for message in &messages {
        server.save_with(&json!({"message": message})).success();
        server.save_batch(&json!([{"msg": message}])).success();
    }
    let expected: Vec<String> =
        messages.iter().flat_map(|message| [message.to_string(), message.to_string()]).collect();
    assert_eq!(server.messages(), expected);
}

#[test]
fn numbers_and_the_empty_string_are_messages() {
    let server = Setup::new().start();
    for message in [json!(12345), json!(1.5), json!(0), json!(-7), json!("")] {
        server.save_with(&json!({"message": message})).success();
    }
    server.save_batch(&json!([{"msg": 42}, {"msg": ""}])).success();
    assert_eq!(server.messages(), ["12345", "1.5", "0", "-7", "", "42", ""]);
}

#[test]
fn a_message_may_have_8192_characters_and_not_one_more() {
    let server = Setup::new().start();
    // The limit counts code points, not UTF-8 bytes or UTF-16 units.
    for character in ["a", "é", "あ", "😀", "\n"] {
        let longest = character.repeat(8192);
        let too_long = character.repeat(8193);
        server.save_with(&json!({"message": longest})).success();
        assert_eq!(server.messages().pop(), Some(longest));
        let detail = server.save_with(&json!({"message": too_long})).problem(422);
        assert_eq!(
            detail,
            "message parameter format error. The message has 8193 characters, and at most 8192 are allowed."
        );
        let form = [("api_key", KEY), ("message", too_long.as_str())];
        server.post_form(&route("save-log"), &form).problem(422);
        server.save_batch(&json!([{"msg": too_long}])).problem(422);
    }
    assert_eq!(server.messages().len(), 5);
}

#[test]
fn escaped_astral_characters_count_once() {
    let server = Setup::new().start();
    let headers = [("Content-Type", "application/json"), ("API-KEY", KEY)];
    let body = format!("{{\"message\":\"{}\"}}", "\\ud83d\\ude00".repeat(8192));
    server.request("POST", &route("save-log"), &headers, body.as_bytes()).success();
    let body = format!("{{\"message\":\"{}\"}}", "\\ud83d\\ude00".repeat(8193));
    server.request("POST", &route("save-log"), &headers, body.as_bytes()).problem(422);
    assert_eq!(server.messages(), ["😀".repeat(8192)]);
}

#[test]
fn a_lone_surrogate_becomes_the_replacement_character() {
    let server = Setup::new().start();
    let headers = [("Content-Type", "application/json"), ("API-KEY", KEY)];
    for body in [
        r#"{"message":"a\ud800b"}"#,
        r#"{"message":"a\udc00b"}"#,
        r#"{"msg":"a\uD800b"}"#,
        r#"{"message":"a\ud800\u0062"}"#,
    ] {
        server.request("POST", &route("save-log"), &headers, body.as_bytes()).success();
    }
    let batch = r#"{"logs":[{"msg":"a\udfffb"},{"message":"\ud83d\ude00"}]}"#;
    server.request("POST", &route("save-logs"), &headers, batch.as_bytes()).success();
    let expected = ["a\u{fffd}b", "a\u{fffd}b", "a\u{fffd}b", "a\u{fffd}b", "a\u{fffd}b", "😀"];
    assert_eq!(server.messages(), expected);
    // The writer still works.
    server.assert_alive();
}

#[test]
fn a_lone_surrogate_in_the_key_is_an_unknown_key() {
    let server = Setup::new().start();
    let headers = [("Content-Type", "application/json")];
    let body = br#"{"api_key":"\ud800","message":"m"}"#;
    server.request("POST", &route("save-log"), &headers, body).unauthorized("Unknown API-KEY.");
    server.assert_alive();
}

#[test]
fn a_key_that_is_no_string_is_missing() {
    let server = Setup::new().start();
    for key in [json!(1), json!(true), json!([KEY]), json!({"key": KEY}), json!(""), json!("k".repeat(1025))]
    {
        let response = server.post_json(&route("save-log"), &json!({"api_key": key, "message": "m"}));
        assert!([400, 401].contains(&response.status), "{key}: {response:?}");
        response.problem(response.status);
    }
    server.get(&format!("{}?api_key=&message=m", route("save-log"))).unauthorized("Missing API-KEY.");
    assert!(server.messages().is_empty());
}

#[test]
fn a_key_of_1024_characters_works() {
    let long = "k".repeat(1024);
    let server = Setup::new().key(&long, &json!({})).start();
    server.post_json(&route("save-log"), &json!({"api_key": long, "message": "m"})).success();
}

#[test]
fn a_batch_keeps_its_order() {
    let server = Setup::new().start();
    let logs: Vec<Value> =
        (0..1024).map(|n| json!({"level": n % 5, "message": format!("entry {n}")})).collect();
    server.save_batch(&Value::Array(logs)).success();
    let lines = server.parsed();
    assert_eq!(lines.len(), 1024);
    for (n, line) in lines.iter().enumerate() {
        assert_eq!(line.message, format!("entry {n}"));
        assert_eq!(line.route, "save-logs");
    }
    let seqs: Vec<u64> = lines.iter().map(|line| line.seq).collect();
    assert_eq!(seqs, (1..=1024).collect::<Vec<u64>>());
}

#[test]
fn a_batch_may_have_1024_entries_and_not_one_more() {
    let server = Setup::new().start();
    let entry = json!({"message": "m"});
    server.save_batch(&json!(vec![entry.clone(); 1024])).success();
    let detail = server.save_batch(&json!(vec![entry.clone(); 1025])).problem(422);
    assert!(detail.starts_with("logs parameter format error."), "{detail}");
    let text = json!(vec![entry; 1025]).to_string();
    server.save_batch(&json!(text)).problem(422);
    assert_eq!(server.messages().len(), 1024);
}

#[test]
fn one_bad_entry_refuses_the_batch_and_is_named() {
    let server = Setup::new().start();
    let bad_entries = [
        json!({}),
        json!({"level": 1}),
        json!({"message": null}),
        json!({"message": "x".repeat(8193)}),
        json!("text"),
        json!(1),
        json!(null),
        json!(["m"]),
    ];
    for bad in bad_entries {
        let mut logs = vec![json!({"level": 1, "message": "good"}); 20];
        logs[17] = bad.clone();
        let detail = server.save_batch(&json!(logs)).problem(422);
        assert!(detail.starts_with("logs parameter format error."), "{bad}: {detail}");
        assert!(detail.contains("17"), "the index is not named: {detail}");
    }
    assert!(server.messages().is_empty(), "a refused batch left something");
}

#[test]
fn logs_must_be_a_list() {
    let server = Setup::new().start();
    for logs in [json!(null), json!({}), json!(1), json!(true), json!("nonsense"), json!("{}"), json!("[")] {
        let detail = server.save_batch(&logs).problem(422);
        assert!(detail.starts_with("logs parameter format error."), "{logs}: {detail}");
    }
    server.save_batch(&json!([])).success();
    assert!(server.messages().is_empty());
}

#[test]
fn records_below_the_level_of_the_log_are_filtered() {
    let server = Setup::new().log("level", json!(2)).start();
    for level in 0..5 {
        server.save_with(&json!({"message": format!("level {level}"), "level": level})).success();
    }
    let logs: Vec<Value> = (0..5).map(|n| json!({"level": n, "message": format!("batch {n}")})).collect();
    server.save_batch(&json!(logs)).success();
    assert_eq!(server.messages(), ["level 2", "level 3", "level 4", "batch 2", "batch 3", "batch 4"]);
    let seqs: Vec<u64> = server.parsed().iter().map(|line| line.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6], "only stored records are counted");
}

#[test]
fn accept_json_gets_the_counts() {
    let server = Setup::new().log("level", json!(2)).start();
    let headers = [("Content-Type", "application/json"), ("Accept", "application/json"), ("API-KEY", KEY)];
    let ask = |name: &str, body: Value| {
        let response = server.request("POST", &route(name), &headers, body.to_string().as_bytes());
        assert_eq!(response.status, 200, "{response:?}");
        assert!(response.expect_header("content-type").starts_with("application/json"), "{response:?}");
        let counts = response.json();
        assert!(counts["cursor"].as_str().is_some_and(|cursor| !cursor.is_empty()), "{counts}");
        (counts["saved"].as_u64(), counts["filtered"].as_u64())
    };
    assert_eq!(ask("save-log", json!({"message": "m", "level": 2})), (Some(1), Some(0)));
    assert_eq!(ask("save-log", json!({"message": "m", "level": 1})), (Some(0), Some(1)));
    let logs: Vec<Value> = (0..5).map(|n| json!({"level": n, "message": "m"})).collect();
    assert_eq!(ask("save-logs", json!({"logs": logs})), (Some(3), Some(2)));
    assert_eq!(server.messages().len(), 4);
}
