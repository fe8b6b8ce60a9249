//! Tests of `mocactl status` with its table and its JSON.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::installation::{Installation, entry};
use crate::instance::{Instance, answer};

fn live(records: u64) -> Value {
    json!({
        "name": "a", "version": "2.0.0", "pid": 4711, "uptime_seconds": 60, "connections": 3, "records": records,
        "addresses": ["unix:/run/moca-file-log/a.sock", "http://127.0.0.1:5999"], "size": 1_234_567, "count": 98765,
        "maintenance": {"on": true, "by_signal": false, "by_file": true}, "blocked": 2,
        "reload_refused": "system.json:1:2: no", "something": "new",
    })
}

fn shown(states: &[(&str, &str, &str)]) -> String {
    let blocks = states.iter().map(|(service, sub, socket)| {
        format!(
            "Id=s\nActiveState={service}\nSubState={sub}\n\nId=x\nActiveState={socket}\nSubState=listening\n"
        )
    });
    blocks.collect::<Vec<_>>().join("\n")
}

fn four() -> Installation {
    Installation::new(&json!({
        "a": entry(5700, "a.log"), "b": entry(5701, "b.log"), "ç 日": entry(5702, "c.log"),
        "d": {"host": "::1", "port": 5703, "use_ipv6": true, "file": "d.log"},
    }))
}

#[test]
fn each_log_has_a_row() {
    let installation = four();
    installation.systemctl_shows(&[&shown(&[
        ("active", "running", "active"),
        ("inactive", "dead", "active"),
        ("failed", "failed", "failed"),
        ("activating", "auto-restart", "active"),
    ])]);
    let count = AtomicU64::new(0);
    let answers = move |_: &_| answer(200, &live(count.fetch_add(100, Ordering::Relaxed)).to_string());
    let instance = Instance::listen(&installation.path("run/a.sock"), answers);
    let sleeping = Instance::listen(&installation.path("run/b.sock"), |_| answer(500, ""));
    installation.stub_ends_with("systemctl", 3);
    let output = installation.run(&["status"]);
    assert_eq!(output.status, 3, "as systemctl status says");
    let rows: Vec<Vec<&str>> = output.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["LOG", "STATE", "ADDRESS"]);
    let expected =
        ["a", "running", "http://127.0.0.1:5999", "98,765", "1.2", "MB", "on", "(system.json)", "2"];
    let mut first = rows[1].clone();
    let rate: f64 = first.remove(3).parse().unwrap();
    assert!(rate > 50.0 && rate < 201.0, "{rate}");
    assert_eq!(first, expected);
    assert_eq!(rows[2][..4], ["b", "waiting", "http://127.0.0.1:5701", "-"]);
    assert_eq!(rows[3][..4], ["d", "failed", "http://[::1]:5703", "-"]);
    assert_eq!(rows[4][..5], ["ç", "日", "restarting", "http://127.0.0.1:5702", "-"]);
    assert!(
        output.err.contains("the changed configuration was refused")
            && output.err.contains("system.json:1:2")
    );
    assert!(!output.out.contains('\u{1b}'), "no colours but on a terminal");
    assert_eq!(instance.asked().len(), 2);
    assert!(sleeping.asked().is_empty(), "who waits for a request is not woken up");
    let call = installation.calls("systemctl").pop().unwrap();
    assert_eq!(call[..3], ["status", "--no-pager", "--lines=5"]);
    assert_eq!(
        call[4..],
        [
            "moca-file-log@a.service",
            "moca-file-log@b.service",
            "moca-file-log@d.service",
            "moca-file-log@\\xc3\\xa7\\x20\\xe6\\x97\\xa5.service"
        ]
    );

    let output = installation.run(&["status", "--table"]);
    assert_eq!((output.status, output.out.lines().count()), (3, 5));
    assert_eq!(installation.calls("systemctl").len(), 1);
    let output = installation.run(&["status", "--json"]);
    assert_eq!(output.status, 3);
    let rows = output.json();
    assert_eq!((&rows[0]["state"], &rows[0]["live"]["size"]), (&json!("running"), &json!(1_234_567)));
    assert_eq!((&rows[1]["state"], &rows[1]["live"]), (&json!("waiting"), &Value::Null));
    let addresses: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["address"].as_str().unwrap()).collect();
    let expected =
        ["http://127.0.0.1:5999", "http://127.0.0.1:5701", "http://[::1]:5703", "http://127.0.0.1:5702"];
    assert_eq!(addresses, expected, "as in the table");
    installation.write("server.json", r#"{"ssl": {"cert": "c.pem", "key": "k.pem"}}"#);
    let rows = installation.run(&["status", "--json"]).json();
    assert_eq!(rows[1]["address"], "https://127.0.0.1:5701");
}

#[test]
fn a_running_instance_without_an_answer_is_reported() {
    let installation = Installation::of_one();
    installation.systemctl_shows(&[&shown(&[("active", "running", "active")])]);
    let output = installation.run(&["status"]);
    assert!(
        output.status == 0 && output.err.contains("no process listens on its admin socket"),
        "{output:?}"
    );
    let rows = installation.run(&["status", "--json"]).json();
    assert!(rows[0]["error"].as_str().unwrap().contains("no process listens"), "{rows}");
}

#[test]
fn a_server_that_systemd_did_not_start_is_running() {
    let installation = Installation::of_one();
    for state in ["inactive", "failed"] {
        installation.systemctl_shows(&[&shown(&[(state, "dead", "inactive")])]);
        let word = if state == "inactive" { "stopped" } else { "failed" };
        assert_eq!(installation.run(&["status", "--json"]).json()[0]["state"], word);
    }
    let _instance =
        Instance::listen(&installation.path("run/sample1.sock"), |_| answer(200, &live(1).to_string()));
    assert_eq!(installation.run(&["status", "--json"]).json()[0]["state"], "running");
}
