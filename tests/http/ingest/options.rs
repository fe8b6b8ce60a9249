//! Tests of the options that say what is kept of a record: `max_message`, `long_messages`, `max_batch`,
//! `fields` and `drop_fields` of a log, and `levels` of a key.

use serde_json::{Value, json};

use super::records::records;
use crate::harness::{KEY, Server, Setup, eventually, route};

const SOON: std::time::Duration = std::time::Duration::from_secs(10);

fn set(server: &Server, option: &str, value: Value) {
    server.set("log.json", &format!("/sample1/{option}"), value);
}

#[test]
fn max_message_limits_each_record_and_applies_live() {
    let server = Setup::new().log("max_message", json!(5)).start();
    server.save_with(&json!({"message": "ééééé"})).success();
    let too_long = "message parameter format error. The message has 6 characters, and at most 5 are allowed.";
    server.save_with(&json!({"message": "123456"})).refused(422, too_long);
    server.save_with(&json!({"text": "123456", "x": 1})).refused(422, too_long);
    server.post_form(&route("save-log"), &[("api_key", KEY), ("message", "123456")]).refused(422, too_long);
    server.get(&format!("{}?api_key={KEY}&message=123456", route("save-log"))).refused(422, too_long);
    let detail = server.save_batch(&json!([{"msg": "1"}, {"msg": "123456"}])).problem(422);
    assert_eq!(
        detail,
        "logs parameter format error. entry 1: The message has 6 characters, and at most 5 are allowed"
    );
    assert_eq!(server.messages(), ["ééééé"]);
    set(&server, "max_message", json!(1_048_576));
    let long = "x".repeat(1_048_576);
    eventually("the new limit is in force", SOON, || {
        server.save_with(&json!({"message": long})).status == 200
    });
    server.save_with(&json!({"message": format!("{long}x")})).problem(422);
}

#[test]
fn long_messages_are_cut_where_the_log_says_so() {
    let server = Setup::new().log("max_message", json!(5)).log("long_messages", json!("cut")).start();
    server.save_with(&json!({"message": "ééééééé"})).success();
    server.save_with(&json!({"message": "12345", "x": 1})).success();
    server.save_with(&json!({"message": "\n\n\n\n\n\n", "x": 1})).success();
    server.post_form(&route("save-log"), &[("api_key", KEY), ("message", "123456")]).success();
    server.save_batch(&json!([{"msg": "1"}, {"msg": "1234567"}])).success();
    let expected = [
        "INFO ééééé | cut=7",
        "INFO 12345 | x=1",
        "INFO \n\n\n\n\n | x=1 cut=6",
        "INFO 12345 | cut=6",
        "INFO 1",
        "INFO 12345 | cut=7",
    ];
    assert_eq!(records(&server), expected);
}

#[test]
fn max_batch_limits_the_entries_of_logs_and_applies_live() {
    let server = Setup::new().log("max_batch", json!(2)).start();
    server.save_batch(&json!([{"msg": "1"}, {"msg": "2"}])).success();
    let three = json!([{"msg": "1"}, {"msg": "2"}, {"msg": "3"}]);
    let detail = server.save_batch(&three).problem(422);
    assert_eq!(detail, "logs parameter format error. more than 2 entries");
    set(&server, "max_batch", json!(3));
    eventually("the new limit is in force", SOON, || server.save_batch(&three).status == 200);
    assert_eq!(server.messages().len(), 5);
}

#[test]
fn fields_can_be_left_out_live() {
    let server = Setup::new().log("fields", json!(false)).start();
    let record = json!({"message": "m", "level": "fatal", "time": 1_795_410_148, "user": "bob"});
    server.save_with(&record).success();
    server.save_batch(&json!([record])).success();
    server.save_with(&json!({"user": "bob"})).problem(422);
    assert_eq!(records(&server), ["CRITICAL m", "CRITICAL m"]);
    set(&server, "fields", json!(true));
    eventually("fields are kept", SOON, || {
        server.save_with(&record).success();
        records(&server)
            .last()
            .is_some_and(|last| last.ends_with("at=2026-11-23T05:02:28.000000Z level=fatal user=bob"))
    });
}

#[test]
fn dropped_fields_are_left_out_with_all_below_them() {
    let server = Setup::new().log("drop_fields", json!(["password", "http.request.headers"])).start();
    let record = json!({
        "message": "m", "password": "secret", "passwords": 2,
        "http": {"request": {"headers": {"authorization": "secret"}, "method": "GET"}},
        "http.request.headers.cookie": "secret",
    });
    server.save_with(&record).success();
    server.save_batch(&json!([record])).success();
    let form = [("api_key", KEY), ("message", "m"), ("password", "secret"), ("a", "b")];
    server.post_form(&route("save-log"), &form).success();
    let in_json = "INFO m | http.request.method=GET passwords=2";
    assert_eq!(records(&server), [in_json, in_json, "INFO m | a=b"]);
    set(&server, "drop_fields", json!([]));
    eventually("nothing is dropped", SOON, || {
        server.post_form(&route("save-log"), &form).success();
        records(&server).last().is_some_and(|last| last == "INFO m | password=secret a=b")
    });
}

#[test]
fn levels_of_a_key_fix_the_scale_of_numbers() {
    let scales = ["auto", "pino", "python", "syslog", "monolog"];
    let setup = scales
        .iter()
        .fold(Setup::new(), |setup, scale| setup.key(scale, &json!({"status": true, "levels": scale})));
    let server = setup.key("plain", &json!({"status": true})).start();
    let numbers = [3, 20, 40, 300];
    let save = |key: &str, in_head: bool, body: &Value| {
        let mut body = body.clone();
        let headers: &[(&str, &str)] = if in_head { &[("API-KEY", key)] } else { &[] };
        if !in_head {
            body["api_key"] = json!(key);
        }
        let name = if body["logs"].is_null() { "save-log" } else { "save-logs" };
        let headers = [headers, &[("Content-Type", "application/json")]].concat();
        server.request("POST", &route(name), &headers, body.to_string().as_bytes()).success();
    };
    for key in scales.iter().chain(&["plain"]) {
        for number in numbers {
            save(key, true, &json!({"message": key, "level": number}));
        }
        for in_head in [true, false] {
            let logs: Vec<Value> =
                numbers.iter().map(|number| json!({"msg": key, "level": number})).collect();
            save(key, in_head, &json!({"logs": logs}));
        }
    }
    let levels: Vec<String> = server.parsed().into_iter().map(|line| line.level).collect();
    let expected = [
        ["ERROR", "DEBUG", "WARNING", "WARNING"],
        ["ERROR", "DEBUG", "WARNING", "CRITICAL"],
        ["ERROR", "INFO", "ERROR", "CRITICAL"],
        ["ERROR", "INFO", "INFO", "INFO"],
        ["ERROR", "DEBUG", "DEBUG", "WARNING"],
        ["ERROR", "DEBUG", "WARNING", "WARNING"],
    ];
    for (index, levels) in levels.chunks(12).enumerate() {
        assert_eq!(levels, [expected[index]; 3].concat(), "{index}");
    }
    assert_eq!(levels.len(), 72);
    save("syslog", true, &json!({"message": "m", "level": 0}));
    assert_eq!(records(&server).last().unwrap(), "CRITICAL m");
}
