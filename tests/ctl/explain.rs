//! Tests that `mocactl key explain` agrees with the service.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{Response, Server, Setup, encode};
use crate::installation::{CommandOutput, Installation};

fn explain(server: &Server, arguments: &[&str]) -> (i32, Value) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mocactl"));
    for (option, folder) in [("--config-dir", "config"), ("--state-dir", "state")] {
        command.arg(option).arg(server.root_dir().join(folder));
    }
    command.args(["key", "explain", "--json", "--ip", "127.0.0.1"]).args(arguments);
    let output = CommandOutput::of(&command.output().unwrap());
    (output.status, output.json())
}

fn ask(server: &Server, key: Option<&str>, path: &str, headers: &[&str], arguments: &[&str]) -> Response {
    let mut query = String::from("?message=m");
    for argument in arguments {
        let (name, value) = argument.split_once('=').unwrap();
        query.push_str(&format!("&{}={}", encode(name), encode(value)));
    }
    let mut all: Vec<(&str, &str)> = headers.iter().map(|header| header.split_once(':').unwrap()).collect();
    all.extend(key.map(|key| ("API-KEY", key)));
    server.get_with(&format!("{path}{query}"), &all)
}

/// Checks that the text of the refusing step contains the detail of the answer, or that an admitted
/// request gets the status 200.
fn agree(server: &Server, key: Option<&str>, path: &str, headers: &[&str], arguments: &[&str]) {
    let mut flags = vec!["--path", path];
    if let Some(key) = key {
        flags.extend(["--key", key]);
    }
    headers.iter().for_each(|header| flags.extend(["--header", header]));
    arguments.iter().for_each(|argument| flags.extend(["--arg", argument]));
    let (status, explained) = explain(server, &flags);
    let answer = ask(server, key, path, headers, arguments);
    let what = format!("{key:?} {path} {headers:?} {arguments:?}: {explained:#} {answer:?}");
    assert_eq!(explained["admitted"], answer.status == 200, "{what}");
    assert_eq!(status, if answer.status == 200 { 0 } else { 77 }, "{what}");
    if answer.status != 200 {
        let last = explained["steps"].as_array().unwrap().last().unwrap();
        let text = last["text"].as_str().unwrap();
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(text.starts_with(&format!("{} {detail}", answer.status)), "{what}");
        assert_eq!(last["verdict"], "refuses");
    }
}

#[test]
fn the_explanation_agrees_with_the_answer_of_the_service() {
    let server = Setup::new()
        .key("off", &json!({"status": false}))
        .key("elsewhere", &json!({"ip": ["10.0.0.0/8"]}))
        .key("here", &json!({"ip": ["10.0.0.0/8", "127.0.0.0/8"]}))
        .key("narrow", &json!({"allowed_path": ["/moca-file-log/sample1/save-log"]}))
        .key("never", &json!({"rate": "0/minute"}))
        .key("header", &json!({"required": {"headers": {"x-app": "web"}, "args": {}}}))
        .key("argument", &json!({"required": {"headers": {}, "args": {"n": 1, "any": null}}}))
        .key("-dash", &json!({}))
        .system("dos_detect", json!(0))
        .start();
    let long = "/moca-file-log/sample1/save-log";
    for key in [
        None,
        Some("unknown"),
        Some("test-key"),
        Some("off"),
        Some("elsewhere"),
        Some("here"),
        Some("narrow"),
        Some("never"),
        Some("header"),
        Some("argument"),
        Some("-dash"),
    ] {
        agree(&server, key, long, &[], &[]);
        agree(&server, key, "/moca-file-log/save-log/", &[], &[]);
    }
    agree(&server, Some("header"), long, &["X-App:web"], &[]);
    agree(&server, Some("header"), long, &["X-App:other"], &[]);
    agree(&server, Some("argument"), long, &[], &["n=1", "any=x"]);
    agree(&server, Some("argument"), long, &[], &["n=2", "any=x"]);
    agree(&server, Some("argument"), long, &[], &["n=1", "any="]);
    agree(&server, Some("argument"), long, &[], &["n=1", "n=2", "any=x"]);
    server.set("system.json", "/force_headers", json!({"x-proxy": null}));
    crate::harness::eventually("reloaded", std::time::Duration::from_secs(5), || {
        ask(&server, Some("test-key"), long, &[], &[]).status == 403
    });
    agree(&server, Some("test-key"), long, &[], &[]);
    agree(&server, Some("test-key"), long, &["x-proxy:1"], &[]);
    server.set("system.json", "/maintenance_mode", json!(true));
    server.wait_for_status(503);
    agree(&server, Some("test-key"), long, &["x-proxy:1"], &[]);
    server.edit("ip_blacklist.json", "[\"127.0.0.1\"]");
    crate::harness::eventually("blocked", std::time::Duration::from_secs(5), || {
        ask(&server, Some("test-key"), long, &["x-proxy:1"], &[]).status == 403
    });
    agree(&server, Some("test-key"), long, &["x-proxy:1"], &[]);
}

#[test]
fn each_step_is_explained_in_words() {
    let installation = Installation::of_one();
    installation.write(
        "api_key.json",
        &json!([
            {"key": "k", "name": "web", "status": true, "rate": "5/minute", "delay": 1,
             "allowed_path": ["/other", "/moca-file-log/sample1"], "ip": "192.0.2.0/24", "levels": "syslog"},
        ])
        .to_string(),
    );
    let run = |arguments: &[&str]| installation.run(&[&["key", "explain"], arguments].concat());
    let output = run(&["--key", "k", "--ip", "192.0.2.9", "--path", "save-log"]).ok();
    for words in [
        "it is \"web\"",
        "/moca-file-log/sample1 is the first",
        "at most 5 in 60 s",
        "waits 1 s",
        "levels that are numbers are those of syslog",
        "is admitted",
    ] {
        assert!(output.contains(words), "{words}: {output}");
    }
    let output = run(&["--key", "k", "--ip", "192.0.2.9", "--path", "/moca-file-log/sample1/details"]).ok();
    assert!(output.contains("details needs it as well"), "{output}");
    installation.write("system.json", "{}");
    let output = run(&["--key", "k", "--ip", "192.0.2.9", "--path", "details"]);
    assert!(
        output.status == 77 && output.out.contains("403 Invalid root password. (none is configured"),
        "{output:?}"
    );
    let output = run(&["--key", "k", "--ip", "192.0.3.9", "--path", "save-log"]);
    let refused = "403 Your API-KEY can't use from this ip address. (192.0.3.9)";
    assert!(output.status == 77 && output.out.contains(refused), "{output:?}");
    assert!(!output.out.contains("allowed_path"), "the steps end with the refusal");
    let piped = ["key", "explain", "--key", "-", "--ip", "192.0.2.9", "--path", "save-log"];
    installation.run_with(&piped, "k\n").ok();
    run(&["--key", "k", "--ip", "192.0.2.9", "--path", "/moca-file-log/other/save-log"]).failed(66);
    let output = run(&["--key", "k", "--ip", "192.0.2.9", "--path", "/a/b/c"]);
    assert!(output.status == 77 && output.out.contains("404 Requested URL /a/b/c not found"), "{output:?}");
    run(&["--key", "k", "--ip", "x", "--path", "save-log"]).failed(64);
}

#[test]
fn the_state_of_the_service_counts_and_does_not_change() {
    let installation = Installation::of_one();
    let state = installation.path("state");
    let blocked = state.join("sample1.blocked.json");
    std::fs::write(&blocked, r#"[{"address":"192.0.2.9","since":1,"reason":"x"}]"#).unwrap();
    let run = |ip: &str| {
        installation.run(&["key", "explain", "--key", "test-key", "--ip", ip, "--path", "save-log"])
    };
    assert!(run("192.0.2.9").out.contains("blocked by ip filter"));
    run("192.0.2.10").ok();
    installation.systemctl_shows(&["ActiveState=inactive\n"]);
    installation.run(&["turn-off"]).ok();
    let output = run("192.0.2.10");
    assert!(output.status == 77 && output.out.contains("503 MocaSystem"), "{output:?}");
    std::fs::write(&blocked, "broken").unwrap();
    run("192.0.2.10");
    assert_eq!(std::fs::read_to_string(&blocked).unwrap(), "broken");
}

/// A request of the matrix, by the numbers of its parts.
type Numbers = (usize, usize, usize, usize, usize, usize);

const ROUTES: [&str; 15] = [
    "save-log",
    "save-logs",
    "details",
    "get-logs",
    "get-latest-logs",
    "download-logs",
    "clear-logs",
    "tail",
    "openapi.json",
    "",
    "metrics",
    "status",
    "admin/status",
    "nothing",
    "*",
];
const FORMS: [&str; 9] = [
    "/moca-file-log/ROUTE",
    "/moca-file-log/sample1/ROUTE",
    "/moca-file-log/ROUTE/",
    "/moca-file-log/sample1/ROUTE/",
    "/moca-file-log/%73ample1/ROUTE",
    "/moca-file-log//ROUTE",
    "/moca-file-log/other/ROUTE",
    "/ROUTE",
    "/moca%2Dfile-log/ROUTE",
];
const METHODS: [&str; 6] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE"];
const KEYS: [Option<&str>; 9] = [
    None,
    Some("unknown"),
    Some("test-key"),
    Some("off"),
    Some("elsewhere"),
    Some("narrow"),
    Some("never"),
    Some("header"),
    Some("argument"),
];
const PLACES: [&str; 4] = ["API-KEY", "query", "Authorization", "X-API-Key"];
const CLIENTS: [&str; 5] = ["192.0.2.1", "192.0.2.66", "10.1.2.3", "::1", "2001:db8::66"];

/// Sends one request of the matrix, and checks that the explanation agrees with the answer.
fn explain_like_the_answer(server: &Server, numbers: Numbers) {
    let (route, form, method, key, place, client) = numbers;
    let (method, client) = (METHODS[method], CLIENTS[client]);
    let is_stream = ROUTES[route] == "tail" && ["GET", "POST"].contains(&method);
    // A tail does not end.
    let method = if is_stream { "HEAD" } else { method };
    let path = FORMS[form].replace("ROUTE", ROUTES[route]);
    let mut query = "message=m&logs=%5B%7B%22message%22%3A%22m%22%7D%5D&n=1".to_owned();
    let bearer = KEYS[key].map(|key| format!("Bearer {key}"));
    let mut headers = vec![("X-Real-IP", client), ("ROOT-PASS", crate::harness::ROOT)];
    // A reported loopback address counts as the peer.
    let counted = if client == "::1" { "127.0.0.1" } else { client };
    let (ip, log) = (["--ip", counted], ["--log", "sample1"]);
    let mut flags = vec!["--method", method];
    flags.extend(ip.into_iter().chain(log));
    let field = match (KEYS[key], PLACES[place]) {
        (None, _) => None,
        (Some(key), "query") => {
            query.push_str(&format!("&api_key={key}"));
            None
        }
        (Some(_), "Authorization") => Some(("Authorization", bearer.as_deref().unwrap())),
        (Some(key), name) => Some((name, key)),
    };
    headers.extend(field);
    let field = field.map(|(name, value)| format!("{name}:{value}"));
    if let Some(field) = &field {
        flags.extend(["--header", field]);
    }
    let target = format!("{path}?{query}");
    flags.extend(["--path", &target, "--arg", "n=1"]);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mocactl"));
    for (option, folder) in [("--config-dir", "config"), ("--state-dir", "state")] {
        command.arg(option).arg(server.root_dir().join(folder));
    }
    let output =
        CommandOutput::of(&command.args(["key", "explain", "--json"]).args(&flags).output().unwrap());
    let answer = server.request(method, &target, &headers, b"");
    let what = format!("{method} {target} {flags:?}: {output:?} {answer:?}");
    let explained = output.json();
    assert_eq!(explained["admitted"], answer.status == 200, "{what}");
    if answer.status == 200 {
        return;
    }
    let text = explained["steps"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap();
    let document = if method == "HEAD" { json!({"detail": ""}) } else { answer.json() };
    // The root answers in the form of Elasticsearch.
    let detail = document["detail"].as_str().or_else(|| document["error"]["reason"].as_str()).unwrap();
    assert!(text.starts_with(&format!("{} {detail}", answer.status)), "{what}");
}

#[test]
fn any_request_is_explained_as_the_service_answers_it() {
    let server = Setup::new()
        .posed()
        .key("off", &json!({"status": false}))
        .key("elsewhere", &json!({"ip": ["10.0.0.0/8"]}))
        .key("narrow", &json!({"allowed_path": ["/moca-file-log/sample1/save-log", "/metrics"]}))
        .key("never", &json!({"rate": "0/minute"}))
        .key("header", &json!({"required": {"headers": {"x-app": "web"}, "args": {}}}))
        .key("argument", &json!({"required": {"headers": {}, "args": {"n": 1}}}))
        .blacklist(json!(["192.0.2.66", "2001:db8::/64"]))
        .start();
    // Each route once in each form, then any request.
    for route in 0..ROUTES.len() {
        for form in 0..FORMS.len() {
            explain_like_the_answer(&server, (route, form, form % 3, 2, form % PLACES.len(), 0));
        }
    }
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    let any =
        (0..ROUTES.len(), 0..FORMS.len(), 0..METHODS.len(), 0..KEYS.len(), 0..PLACES.len(), 0..CLIENTS.len());
    let outcome = runner.run(&any, |numbers| {
        explain_like_the_answer(&server, numbers);
        Ok(())
    });
    outcome.unwrap();
}
