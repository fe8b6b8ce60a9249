//! Tests that every way a request can take runs the checks in the same order: the fast path, the
//! slow path, HTTP/2, a key in the body, and `mocactl key explain`.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::frames::{self, Frames};
use crate::harness::{Conn, Server, Setup, route};

/// The addresses of clients, with the refusal that each one gets.
const CLIENTS: [(&str, Option<&str>); 4] = [
    ("127.0.0.1", None),
    // Blocked, and outside the whitelist of the maintenance.
    ("127.0.0.66", Some("403 Your access was blocked by ip filter.")),
    ("127.0.0.3", Some("403 Your access was blocked by ip filter.")),
    ("127.0.0.77", Some("503 MocaSystem is currently undergoing maintenance.")),
];

/// The faults that a key may have, in the order of the checks, with the refusal of each.
const FAULTS: [&str; 6] = [
    "403 Your API-KEY is not online.",
    "403 Your API-KEY can't use from this ip address. (127.0.0.1)",
    "403 Your API-KEY can't access to this path.",
    "403 Missing required header.",
    "403 Missing required argument.",
    "429 Too many requests.",
];

/// Returns the options of the key with these faults, one bit each.
fn key_options(faults: usize) -> Value {
    let has = |fault: usize| faults & (1 << fault) != 0;
    json!({
        "status": !has(0),
        "ip": if has(1) { "10.0.0.0/8" } else { "*" },
        "allowed_path": [if has(2) { "/elsewhere" } else { "/moca-file-log/sample1" }],
        "required": {
            "headers": if has(3) { json!({"x-app": "web"}) } else { json!({}) },
            "args": if has(4) { json!({"n": 1}) } else { json!({}) },
        },
        "rate": if has(5) { "0/minute" } else { "*" },
    })
}

fn setup() -> Setup {
    let keys = (0..1 << FAULTS.len())
        .fold(Setup::new(), |setup, faults| setup.key(&format!("key-{faults}"), &key_options(faults)));
    keys.blacklist(json!(["127.0.0.66", "127.0.0.3", "192.0.2.66", "192.0.2.3"]))
        .system("maintenance_mode", json!(true))
        .system("maintenance_mode_whitelist", json!(["127.0.0.0/26", "192.0.2.0/26"]))
}

/// Names a way, with the headers and the body of its request.
type Way<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

/// Returns the first refusal of a request, as status and detail. `None`: the request is admitted.
fn expected(client: Option<&'static str>, faults: usize) -> Option<&'static str> {
    client.or_else(|| FAULTS.get(faults.trailing_zeros() as usize).copied())
}

/// Returns the first refusal as the answer tells it.
fn refusal_of(status: u16, body: &[u8]) -> Option<String> {
    if status == 200 {
        return None;
    }
    let problem: Value = serde_json::from_slice(body).expect("a problem document");
    Some(format!("{status} {}", problem["detail"].as_str().expect("a detail")))
}

#[test]
fn the_first_refusal_is_the_same_by_every_way_over_http_1() {
    let server = setup().start();
    let json_type = ("Content-Type", "application/json");
    for (client, refusal) in CLIENTS {
        let mut conn = Conn::open_from(client.parse().unwrap(), server.address()).unwrap();
        for faults in 0..1 << FAULTS.len() {
            let key = format!("key-{faults}");
            let in_body = json!({"message": "m", "api_key": key}).to_string();
            let ways: [Way<'_>; 5] = [
                ("fast path", &[json_type, ("API-KEY", &key)], r#"{"message":"m"}"#),
                ("slow path", &[json_type, ("API-KEY", &key), ("X-Detour", "a")], r#"{"message":"m"}"#),
                ("fast path, key in the body", &[json_type], &in_body),
                ("slow path, key in the body", &[json_type, ("X-Detour", "a")], &in_body),
                ("both", &[json_type, ("API-KEY", &key)], &in_body),
            ];
            for (way, headers, body) in ways {
                let answer = conn.request("POST", &route("save-log"), headers, body.as_bytes());
                let refused = refusal_of(answer.status, &answer.body);
                assert_eq!(refused.as_deref(), expected(refusal, faults), "{way} {client} {faults:06b}");
            }
        }
    }
    assert_eq!(server.messages().len(), 5);
}

#[test]
fn the_first_refusal_is_the_same_over_http_2_and_in_explanations() {
    let server = setup().posed().tls().start();
    for (client, refusal) in CLIENTS {
        let client = &reported(client);
        for faults in 0..1 << FAULTS.len() {
            // The harness reads the status of the first answer of a connection only.
            let mut frames = Frames::open(server.address(), &[]);
            let key = format!("key-{faults}");
            let target = format!("{}?message=m", route("save-log"));
            let headers = [("x-real-ip", client.as_str()), ("api-key", &*key)];
            frames.request(1, "GET", &target, &headers, true).unwrap();
            let status = frames.status().unwrap().1;
            let body = frames.receive_one_of(&[frames::DATA]).unwrap().payload;
            let refused = refusal_of(status, &body);
            // The reported address stands in the refusal.
            let expected = expected(refusal, faults).map(reported);
            assert_eq!(refused, expected, "HTTP/2 {client} {faults:06b}");
            let explained = explanation(&server, client, &key);
            assert_eq!(explained, expected, "explained {client} {faults:06b}");
        }
    }
}

/// Returns a text with addresses that a proxy may report in place of loopback addresses.
fn reported(text: &str) -> String {
    text.replace("127.0.0.", "192.0.2.")
}

/// Returns the first refusal as `mocactl key explain` tells it.
fn explanation(server: &Server, client: &str, key: &str) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mocactl"));
    for (option, folder) in [("--config-dir", "config"), ("--state-dir", "state")] {
        command.arg(option).arg(server.root_dir().join(folder));
    }
    command.args(["key", "explain", "--json", "--ip", client, "--key", key, "--path", "save-log"]);
    let output = command.output().unwrap();
    let explained: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    if explained["admitted"] == true {
        return None;
    }
    let text = explained["steps"].as_array().unwrap().last().unwrap()["text"].as_str().unwrap();
    // The remedy stands in the last parentheses.
    Some(text[..text.rfind(" (").unwrap()].to_owned())
}
