//! Tests of the calls of systemctl, argument by argument.

use serde_json::json;

use crate::installation::{HOSTILE, Installation, entry, hostile};

fn units(escaped: &str) -> [String; 3] {
    [
        format!("moca-file-log@{escaped}.socket"),
        format!("moca-file-log-admin@{escaped}.socket"),
        format!("moca-file-log@{escaped}.service"),
    ]
}

#[test]
fn any_name_is_one_argument_without_a_shell() {
    let installation = hostile();
    for (name, escaped) in HOSTILE {
        for (verb, expected) in
            [("start", &units(escaped)[..]), ("stop", &units(escaped)), ("restart", &units(escaped)[2..])]
        {
            installation.run(&[verb, "--", name]).ok();
            let call = installation.calls("systemctl").pop().unwrap();
            assert_eq!(call[..2], [verb, "--"], "{name}");
            assert_eq!(call[2..], *expected, "{name}");
        }
    }
    assert!(!installation.root().join("pwned").exists() && !installation.root().join("b").exists());
}

#[test]
fn without_a_name_all_enabled_logs_are_selected() {
    let mut off = entry(5702, "c.log");
    off["status"] = json!(false);
    let installation =
        Installation::new(&json!({"b": entry(5701, "b.log"), "a": entry(5700, "a.log"), "c": off}));
    installation.run(&["restart"]).ok();
    let expected = ["restart", "--", "moca-file-log@a.service", "moca-file-log@b.service"];
    assert_eq!(installation.calls("systemctl"), [expected]);
    installation.run(&["restart", "b", "b"]).ok();
    assert_eq!(installation.calls("systemctl")[1], ["restart", "--", "moca-file-log@b.service"]);
    let error = installation.run(&["start", "c"]).failed(78);
    assert!(error.contains("switched off"), "{error}");
    assert_eq!(installation.calls("systemctl").len(), 2);
}

#[test]
fn commands_end_with_the_status_of_systemctl() {
    let installation = Installation::of_one();
    installation.stub_ends_with("systemctl", 5);
    for verb in ["start", "stop", "restart"] {
        assert_eq!(installation.run(&[verb]).status, 5, "{verb}");
    }
    installation.stub("systemctl", "kill -TERM $$");
    assert_eq!(installation.run(&["start"]).status, 143);
}

#[test]
fn unknown_logs_and_units_are_errors() {
    let installation = Installation::of_one();
    for verb in ["start", "restart", "status", "turn-off", "turn-on", "clear-logs", "get", "tail"] {
        let error = installation.run(&[verb, "other"]).failed(66);
        assert!(error.contains("unknown log \"other\"") && error.contains("sample1"), "{verb}: {error}");
    }
    for verb in ["start", "stop"] {
        installation.run(&[verb, "a/b"]).failed(64);
    }
    assert_eq!(installation.calls("systemctl"), [[""; 0]; 0]);
    // A log that was removed from the file may still run.
    installation.run(&["stop", "removed"]).ok();
    installation.write("log.json", "{\"a\": ");
    let error = installation.run(&["start"]).failed(78);
    assert!(error.contains("log.json:1:"), "{error}");
    installation.run(&["stop", "sample1"]).ok();
    std::fs::remove_file(installation.config("log.json")).unwrap();
    installation.run(&["start"]).failed(66);
    installation.run(&["no-such-command"]).failed(64);
    installation.run(&[]).failed(64);
}

#[test]
fn without_systemctl_the_error_says_so() {
    let installation = Installation::of_one();
    let mut command = installation.command(&["start"]);
    let output = crate::installation::CommandOutput::of(&command.env("PATH", "/nowhere").output().unwrap());
    assert!(output.failed(69).contains("`systemctl` is not in PATH"));
}

#[test]
fn a_mistake_in_another_file_does_not_keep_a_log_from_stopping() {
    let installation = Installation::of_one();
    installation.write("api_key.json", "[{]");
    installation.run(&["restart"]).ok();
}

#[test]
fn apply_changes_nothing_with_an_invalid_file() {
    let installation = Installation::of_one();
    installation.write("system.json", "{\"dos_detect\": \"x\"}");
    let error = installation.run(&["apply"]).failed(78);
    assert!(error.contains("system.json:1:") && error.contains("dos_detect"), "{error}");
    assert!(installation.calls("systemctl").is_empty());
    installation.write("system.json", "{}");
    installation.run(&["apply"]).ok();
    let started = [
        "moca-file-log@sample1.socket",
        "moca-file-log-admin@sample1.socket",
        "moca-file-log@sample1.service",
    ];
    let start = [&["start", "--"][..], &started].concat();
    assert_eq!(installation.calls("systemctl"), [vec!["daemon-reload"], start]);
    // A second apply changes no unit.
    installation.run(&["apply"]).ok();
    assert_eq!(installation.calls("systemctl").last().unwrap(), &["daemon-reload"]);
}

#[test]
fn the_sockets_in_listen_have_units_of_their_own() {
    let installation = Installation::of_one();
    let log = |listen: &str| {
        let head = r#"{"sample1": {"host": "127.0.0.1", "port": 5700, "file": "a", "listen": "#;
        installation.write("log.json", &format!("{head}{listen}}}}}"));
    };
    installation.write("api_key.json", r#"[{"key": "k", "name": "devices", "status": true}]"#);
    log(r#"[{"type": "syslog", "on": "udp://127.0.0.1:5514", "key": "devices"}]"#);
    let error = {
        installation.write("api_key.json", r#"[{"key": "k", "name": "other", "status": true}]"#);
        installation.run(&["apply"]).failed(78)
    };
    assert!(error.contains("sample1.listen[0].key: no key has the name `devices`"), "{error}");
    installation.write("api_key.json", r#"[{"key": "k", "name": "devices", "status": true}]"#);
    installation.run(&["apply"]).ok();
    let [socket, admin, datagram, stream, service] = [
        "@sample1.socket",
        "-admin@sample1.socket",
        "-datagram@sample1.socket",
        "-stream@sample1.socket",
        "@sample1.service",
    ]
    .map(|unit| format!("moca-file-log{unit}"));
    let call = |verb: &str, units: &[&String]| {
        let mut call = vec![verb.to_owned(), "--".to_owned()];
        call.extend(units.iter().map(|unit| (*unit).clone()));
        call
    };
    let last = || installation.calls("systemctl").last().unwrap().clone();
    assert_eq!(last(), call("start", &[&socket, &admin, &datagram, &service]));
    installation.run(&["stop"]).ok();
    assert_eq!(last(), call("stop", &[&socket, &admin, &datagram, &service]));
    // The socket of HTTP stays open.
    log(r#"[{"type": "syslog", "on": "tcp://127.0.0.1:5514", "key": "devices"}]"#);
    installation.run(&["apply"]).ok();
    let calls = installation.calls("systemctl");
    let expected = [call("stop", &[&datagram]), call("start", &[&stream]), call("restart", &[&service])];
    assert_eq!(calls[calls.len() - 3..], expected);
    // Another key is no matter of units.
    installation.write("api_key.json", r#"[{"key": "k", "name": "others", "status": true}]"#);
    log(r#"[{"type": "syslog", "on": "tcp://127.0.0.1:5514", "key": "others"}]"#);
    installation.run(&["apply"]).ok();
    assert_eq!(last(), ["daemon-reload"]);
}

#[test]
fn apply_if_edited_applies_only_edits_since_the_last_apply() {
    let installation = Installation::of_one();
    let applied = || installation.calls("systemctl").len();
    // No earlier apply is recorded.
    installation.run(&["apply", "--if-edited"]).ok();
    assert_eq!(applied(), 0);
    installation.run(&["apply"]).ok();
    let before = applied();
    installation.run(&["apply", "--if-edited"]).ok();
    installation.write("http.toml", "");
    installation.run(&["apply", "--if-edited"]).ok();
    assert_eq!(applied(), before);
    installation.write("log.json", r#"{"a": {"host": "127.0.0.1", "port": 1, "file": "a"}}"#);
    installation.run(&["apply", "--if-edited"]).ok();
    let moved = applied();
    assert!(moved > before);
    installation.run(&["apply", "--if-edited"]).ok();
    assert_eq!(applied(), moved);
    // A refused file is refused once, and not again at each call.
    installation.write("log.json", "{");
    installation.run(&["apply", "--if-edited"]).failed(78);
    installation.run(&["apply", "--if-edited"]).ok();
    installation.write("log.json", "{}");
    installation.run(&["apply", "--if-edited"]).ok();
    assert!(applied() > moved);
}

#[test]
fn apply_restarts_only_changed_logs() {
    let installation = Installation::of_one();
    let log = |port: u16, file: &str| format!(r#"{{"host": "127.0.0.1", "port": {port}, "file": "{file}"}}"#);
    installation.write(
        "log.json",
        &format!(r#"{{"a": {}, "b": {}, "c": {}}}"#, log(1, "a"), log(2, "b"), log(3, "c")),
    );
    installation.run(&["apply"]).ok();
    let before = installation.calls("systemctl").len();
    installation.write(
        "log.json",
        &format!(r#"{{"a": {}, "b": {}, "d": {}}}"#, log(1, "a"), log(5, "b"), log(6, "d")),
    );
    installation.run(&["apply"]).ok();
    let calls = installation.calls("systemctl").split_off(before);
    assert_eq!(calls[0], ["daemon-reload"]);
    assert_eq!(calls[1][..2], ["stop", "--"]);
    assert!(
        calls[1].contains(&"moca-file-log@c.service".to_owned())
            && calls[1].contains(&"moca-file-log@b.socket".to_owned())
    );
    assert_eq!(calls[2][..2], ["start", "--"]);
    assert!(
        calls[2].contains(&"moca-file-log@d.socket".to_owned())
            && calls[2].contains(&"moca-file-log@b.service".to_owned())
    );
    assert!(calls.iter().flatten().all(|word| !word.contains("@a.")), "a goes on: {calls:?}");
}
