//! Tests of keys that come as `Authorization: Basic USER:PASSWORD`, by every way that a request takes.

use std::process::Command;

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::harness::frames::Frames;
use crate::harness::{Follow, KEY, ROOT, Response, Server, Setup, encode, route};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()))
}

fn setup() -> Setup {
    Setup::new()
        .key("other", &json!({"status": true, "name": "the other"}))
        .key("off", &json!({"status": false}))
        .key("schlüssel", &json!({"status": true, "name": "umlaut"}))
}

/// User, password, and the refusal of a request that stores a record. `None`: it is stored.
const SENDERS: [(&str, &str, Option<&str>); 16] = [
    ("anybody", KEY, None),
    ("", KEY, None),
    (KEY, "", None),
    (KEY, "no key", None),
    (KEY, ROOT, None),
    ("other", KEY, None),
    (KEY, "other", None),
    ("no key", "schlüssel", None),
    ("schlüssel", "x:y", None),
    ("off", KEY, None),
    (KEY, "off", Some("403 Your API-KEY is not online.")),
    ("off", "", Some("403 Your API-KEY is not online.")),
    ("no key", "no key", Some("401 Unknown API-KEY.")),
    ("no key", "", Some("401 Unknown API-KEY.")),
    ("", "no key", Some("401 Unknown API-KEY.")),
    ("", "", Some("401 Missing API-KEY.")),
];

/// Returns the refusal of an answer as status and detail.
fn refusal(answer: &Response) -> Option<String> {
    let problem = || format!("{} {}", answer.status, answer.json()["detail"].as_str().unwrap());
    let refusal = (answer.status != 200).then(problem);
    let challenge = answer.header("www-authenticate");
    assert_eq!(challenge, (answer.status == 401).then_some("Bearer realm=\"MocaFileLog\""), "{answer:?}");
    refusal
}

fn save(server: &Server, headers: &[(&str, &str)], body: &Value) -> Response {
    let headers = [&[JSON], headers].concat();
    server.connect().request("POST", &route("save-log"), &headers, body.to_string().as_bytes())
}

#[test]
fn a_sender_names_its_key_as_password_or_as_user() {
    let server = setup().start();
    for (user, password, expected) in SENDERS {
        let value = basic(user, password);
        let answer = save(&server, &[("Authorization", &value)], &json!({"message": "json"}));
        assert_eq!(refusal(&answer).as_deref(), expected, "{user}:{password}");
        let target = format!("{}?message=query", route("save-log"));
        let answer = server.get_with(&target, &[("authorization", &value)]);
        assert_eq!(refusal(&answer).as_deref(), expected, "{user}:{password}");
        let target = format!("{}?logs={}", route("save-logs"), encode(r#"[{"message":"batch"}]"#));
        let answer = server.get_with(&target, &[("authorization", &value)]);
        assert_eq!(refusal(&answer).as_deref(), expected, "{user}:{password}");
    }
    let keys: Vec<String> = server.parsed().into_iter().map(|line| line.key).collect();
    assert_eq!(keys.len(), 30);
    assert!(keys[15..18].iter().all(|key| key == keys.first().unwrap()), "the password comes first");
    assert!(keys[18..21].iter().all(|key| key == "the other"), "the password comes first");
    assert!(keys[21..27].iter().all(|key| key == "umlaut"), "{keys:?}");
}

#[test]
fn the_same_decision_over_http_2_and_in_explanations() {
    let server = setup().tls().start();
    for (user, password, expected) in SENDERS {
        let value = basic(user, password);
        let mut frames = Frames::open(server.address(), &[]);
        let target = format!("{}?message=m", route("save-log"));
        frames.request(1, "GET", &target, &[("authorization", &value)], true).unwrap();
        let status = expected.map_or("200", |expected| &expected[..3]);
        assert_eq!(frames.status().unwrap().1.to_string(), status, "{user}:{password}");
        let header = format!("Authorization: {value}");
        let steps = explain(&server, &["--path", "save-log", "--header", &header]);
        let refused = steps.last().filter(|step| step["verdict"] == "refuses");
        let text = refused.map(|step| step["text"].as_str().unwrap().to_owned());
        match expected {
            None => assert_eq!(text, None, "{user}:{password}"),
            Some(expected) => {
                assert!(text.is_some_and(|text| text.starts_with(expected)), "{user}:{password}");
            }
        }
        assert!(!json!(steps).to_string().contains(&value[6..]));
    }
}

fn explain(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mocactl"));
    for (option, folder) in [("--config-dir", "config"), ("--state-dir", "state")] {
        command.arg(option).arg(server.root_dir().join(folder));
    }
    let output =
        command.args(["key", "explain", "--json", "--ip", "127.0.0.1"]).args(arguments).output().unwrap();
    let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    explained["steps"].as_array().unwrap().clone()
}

#[test]
fn a_reader_names_its_key_as_user_and_the_root_password_as_password() {
    let server = setup().start();
    server.save("stored");
    let targets = ["details", "get-logs", "get-latest-logs", "download-logs"]
        .map(route)
        .into_iter()
        .chain(["/metrics".into()]);
    for target in targets {
        for (user, password, expected) in [
            (KEY, ROOT, None),
            (ROOT, KEY, Some("401 Unknown API-KEY.")),
            (KEY, KEY, Some("403 Invalid root password.")),
            (KEY, "", Some("403 Invalid root password.")),
            ("", ROOT, Some("401 Missing API-KEY.")),
            ("off", ROOT, Some("403 Your API-KEY is not online.")),
        ] {
            let answer = server.get_with(&target, &[("Authorization", &basic(user, password))]);
            assert_eq!(refusal(&answer).as_deref(), expected, "{target} {user}:{password}");
        }
    }
    let follow = |user, password| {
        let tail = format!("{}?lines=1", route("tail"));
        Follow::on(server.connect(), &tail, &[("Authorization", &basic(user, password))])
    };
    assert!(follow(KEY, ROOT).is_ok());
    assert_eq!(follow(ROOT, KEY).err().unwrap().status, 401);
    assert_eq!(follow(KEY, "wrong").err().unwrap().status, 403);
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    for (user, password, status) in [(KEY, ROOT, 101), (KEY, "wrong", 403), (ROOT, KEY, 401)] {
        let mut conn = server.connect();
        let value = basic(user, password);
        let headers = [&upgrade[..], &[("Authorization", value.as_str())]].concat();
        conn.send("GET", &route("tail"), &headers, b"").unwrap();
        assert_eq!(conn.read_head().unwrap().status, status, "{user}:{password}");
    }
    let cleared = server.request("POST", &route("clear-logs"), &[("Authorization", &basic(KEY, ROOT))], b"");
    cleared.success();
    assert!(server.messages().is_empty());
}

#[test]
fn basic_comes_after_every_other_source() {
    let server = setup().start();
    let (right, wrong) = (basic("x", KEY), basic("x", "no key"));
    let named: [(&str, &str); 2] = [("API-KEY", "other"), ("X-API-Key", "other")];
    for header in named {
        for value in [&right, &wrong] {
            let answer = save(&server, &[header, ("Authorization", value)], &json!({"message": "m"}));
            assert_eq!(refusal(&answer), None);
        }
    }
    let target = format!("{}?message=m&api_key=other", route("save-log"));
    assert_eq!(refusal(&server.get_with(&target, &[("Authorization", &wrong)])), None);
    // The key in the body decides, and a key in the head must be valid too.
    let body = json!({"message": "m", "api_key": "other"});
    assert_eq!(refusal(&save(&server, &[("Authorization", &right)], &body)), None);
    assert!(server.parsed().iter().all(|line| line.key == "the other"));
    assert_eq!(
        refusal(&save(&server, &[("Authorization", &wrong)], &body)).as_deref(),
        Some("401 Unknown API-KEY.")
    );
    let unknown = json!({"message": "m", "api_key": "no key"});
    assert_eq!(
        refusal(&save(&server, &[("Authorization", &right)], &unknown)).as_deref(),
        Some("401 Unknown API-KEY.")
    );
    // Each of key and root password comes from its own first source.
    let reader = basic("no key", ROOT);
    let headers = [("API-KEY", "other"), ("Authorization", reader.as_str())];
    assert_eq!(refusal(&server.get_with(&route("get-logs"), &headers)), None);
    let reader = basic("other", "wrong");
    let headers = [("ROOT-PASS", ROOT), ("Authorization", reader.as_str())];
    assert_eq!(refusal(&server.get_with(&route("get-logs"), &headers)), None);
    let reader = basic("", ROOT);
    let body = json!({"api_key": "other"}).to_string();
    let answer =
        server.request("POST", &route("get-logs"), &[("Authorization", &reader), JSON], body.as_bytes());
    assert_eq!(refusal(&answer), None);
}

#[test]
fn malformed_values_hold_no_key() {
    let server = setup().start();
    let encoded = BASE64.encode(format!("x:{KEY}").as_bytes());
    for (value, status) in [
        (format!("basic {encoded}"), 200),
        (format!("BASIC   {}", encoded.trim_end_matches('=')), 200),
        (format!("Basic {}", BASE64.encode(KEY.as_bytes())), 200),
        ("Basic c2NobPxzc2VsOg==".to_owned(), 200),
        ("Basic".to_owned(), 401),
        ("Basic ".to_owned(), 401),
        (format!("Basic x:{KEY}"), 401),
        (format!("Basic {encoded}!"), 401),
        (format!("Basic{encoded}"), 401),
        (format!("Digest {encoded}"), 401),
        (format!("Basic {}", BASE64.encode(format!("x:{}", "k".repeat(1025)).as_bytes())), 401),
    ] {
        let answer = save(&server, &[("Authorization", &value)], &json!({"message": "m"}));
        assert_eq!((answer.status, refusal(&answer).is_none()), (status, status == 200), "{value}");
    }
}

#[test]
fn an_unknown_key_is_refused_before_the_body_is_read() {
    let server = setup().start();
    let mut conn = server.connect();
    let value = basic("no key", "no key");
    let headers =
        [JSON, ("Authorization", value.as_str()), ("Content-Length", "100000"), ("Expect", "100-continue")];
    conn.send("POST", &route("save-log"), &headers, b"").unwrap();
    assert_eq!(conn.read_head().unwrap().status, 401);
}

#[test]
fn no_part_of_it_stands_in_a_log() {
    let mut server = setup().server("debug", json!(true)).server("access_log", json!(true)).start();
    let values = [basic("secret-user", "secret-word"), basic(KEY, ROOT), basic("secret-user", KEY)];
    for value in &values {
        save(&server, &[("Authorization", value)], &json!({"message": "m"}));
        server.get_with(&route("get-logs"), &[("Authorization", value)]);
        server.get_with("/nothing", &[("Authorization", value)]);
        server.get_with(&format!("http://secret-user:secret-word@a{}", route("save-log")), &[]);
    }
    let lines = server.access_lines(12).join("\n");
    server.stop();
    let logs = [lines, server.stderr(), server.log_lines().join("\n")];
    for secret in
        ["secret-user", "secret-word", KEY, ROOT].into_iter().chain(values.iter().map(|value| &value[6..]))
    {
        assert!(logs.iter().all(|log| !log.contains(secret)), "{secret}: {logs:#?}");
    }
}
