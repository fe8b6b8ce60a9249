//! Tests of `mocactl block`.

use serde_json::json;

use crate::installation::{Installation, entry};
use crate::instance::{Instance, RecordedRequest, answer, problem};

#[test]
fn addresses_are_listed_blocked_and_unblocked() {
    let both = json!({"a b": entry(5700, "a.log"), "c": entry(5701, "c.log")});
    let installation = Installation::new(&both);
    let listen = |name: &str| {
        Instance::listen(&installation.path("run").join(format!("{name}.sock")), |asked| {
            match asked.method.as_str() {
                "GET" => answer(
                    200,
                    r#"[{"address":"2001:db8::1","since":1700000000,"reason":"5 unknown\nkeys"}]"#,
                ),
                "POST" => answer(200, r#"{"changed":true}"#),
                "DELETE" if asked.target.contains("192") => answer(200, r#"{"changed":false}"#),
                "DELETE" => answer(200, r#"{"changed":true}"#),
                _ => problem(405, "Method not allowed."),
            }
        })
    };
    let (a, c) = (listen("a b"), listen("c"));
    let output = installation.run(&["block", "list"]).ok();
    assert!(output.contains("2001:db8::1") && output.contains("2023-11-14 22:13:20 UTC"), "{output}");
    assert_eq!(output.lines().count(), 3, "{output}");
    let listed = installation.run(&["block", "list", "a b", "--json"]).json();
    assert_eq!(listed[0]["log"], "a b");
    assert_eq!(listed[0]["reason"], "5 unknown\nkeys");

    let output = installation.run(&["block", "add", "::ffff:192.0.2.7", "a b"]).ok();
    assert!(output.contains("a b: ::ffff:192.0.2.7 is blocked"), "{output}");
    let asked = a.asked().pop().unwrap();
    assert_eq!((&*asked.method, &*asked.target), ("POST", "/admin/blocked"));
    assert_eq!(asked.body, r#"{"address":"::ffff:192.0.2.7"}"#);
    let output = installation.run(&["block", "remove", "2001:db8::1"]).ok();
    assert_eq!(output.lines().count(), 2, "{output}");
    let target = "/admin/blocked?address=2001%3Adb8%3A%3A1".to_owned();
    assert_eq!(
        c.asked().pop().unwrap(),
        RecordedRequest { method: "DELETE".into(), target, body: String::new() }
    );
    let output = installation.run(&["block", "remove", "192.0.2.7", "c"]).ok();
    assert!(output.contains("was not blocked"), "{output}");
    installation.run(&["block", "add", "not-an-address"]).failed(64);
}

#[test]
fn networks_of_ipv6_are_listed_and_removed_as_such() {
    let installation = Installation::new(&json!({"a": entry(5700, "a.log")}));
    let instance = Instance::listen(&installation.path("run").join("a.sock"), |asked| {
        match (asked.method.as_str(), asked.target.contains("%2F64")) {
            ("GET", _) => {
                answer(200, r#"[{"address":"2001:db8::/64","since":1700000000,"reason":"a flood"}]"#)
            }
            ("DELETE", true) => answer(200, r#"{"changed":true}"#),
            ("DELETE", false) => answer(200, r#"{"changed":false,"blocked_by":"2001:db8::/64"}"#),
            _ => answer(200, r#"{"changed":true}"#),
        }
    });
    let output = installation.run(&["block", "list"]).ok();
    assert!(output.contains("2001:db8::/64"), "{output}");
    let output = installation.run(&["block", "remove", "2001:db8::7"]).ok();
    assert!(output.contains("blocked with 2001:db8::/64: remove that"), "{output}");
    let output = installation.run(&["block", "remove", "2001:db8::/64"]).ok();
    assert!(output.contains("a: 2001:db8::/64 is let in again"), "{output}");
    assert_eq!(instance.asked().pop().unwrap().target, "/admin/blocked?address=2001%3Adb8%3A%3A%2F64");
    let output = installation.run(&["block", "add", "2001:db8::/64"]).ok();
    assert!(output.contains("a: 2001:db8::/64 is blocked"), "{output}");
    for network in ["2001:db8::/48", "192.0.2.0/24"] {
        installation.run(&["block", "add", network]).failed(64);
    }
}
