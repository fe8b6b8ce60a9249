//! Tests of `mocactl refusals` with a real server that runs without systemd.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Server, Setup, route};
use crate::installation::CommandOutput;

fn command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mocactl"));
    let places = [
        ("--config-dir", server.config_path("")),
        ("--log-dir", server.log_path().parent().expect("a directory").to_owned()),
        ("--state-dir", server.state_dir()),
        ("--run-dir", server.run_dir()),
    ];
    for (option, place) in places {
        command.arg(option).arg(place);
    }
    command.arg("refusals").args(arguments).stdin(Stdio::null()).env("PATH", "/nowhere");
    command
}

fn run(server: &Server, arguments: &[&str]) -> CommandOutput {
    CommandOutput::of(&command(server, arguments).output().expect("run mocactl"))
}

fn refuse(server: &Server, key: &str) {
    server.get_with(&route("save-log"), &[("API-KEY", key)]);
}

#[test]
fn the_latest_refusals_are_printed() {
    let server = Setup::new()
        .key("off", &json!({"status": false, "name": "shop"}))
        .key("on", &json!({"name": "no message"}))
        .start();
    let none = run(&server, &[]);
    assert_eq!((none.status, none.out.as_str()), (0, ""), "{none:?}");
    assert_eq!(run(&server, &["--json"]).ok().trim(), "[]");
    for key in ["off", "secret-key"] {
        refuse(&server, key);
    }
    let table = run(&server, &["sample1"]).ok();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 3, "{table}");
    let heading: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(heading, ["TIME", "CLIENT", "KEY", "METHOD", "ROUTE", "STATUS", "REASON"]);
    assert!(lines[1].contains("127.0.0.1") && lines[1].contains("shop"), "{table}");
    assert!(lines[1].ends_with("403  Your API-KEY is not online."), "{table}");
    assert!(lines[2].ends_with("401  Unknown API-KEY.") && !table.contains("secret"), "{table}");
    let all: Value = serde_json::from_str(&run(&server, &["--json"]).ok()).unwrap();
    let shown = |n: usize, member: &str| all[n][member].clone();
    assert_eq!(shown(0, "key"), "shop");
    assert_eq!((shown(1, "key"), shown(1, "status")), (Value::Null, json!(401)));
    assert_eq!(shown(1, "route"), "save-log");
    assert_eq!(all[0].as_object().unwrap().len(), 7);
    assert_eq!(run(&server, &["no-such-log"]).status, 66);
}

/// Starts to follow, and returns the lines of the output.
fn follow(server: &Server, arguments: &[&str]) -> (std::process::Child, Receiver<(Instant, String)>) {
    let mut child = command(server, arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in output.lines() {
            if sender.send((Instant::now(), line.unwrap())).is_err() {
                return;
            }
        }
    });
    (child, lines)
}

#[test]
fn new_refusals_are_followed_within_a_second_and_over_a_restart() {
    const LIMIT: Duration = Duration::from_secs(20);
    let mut server = Setup::new().key("off", &json!({"status": false, "name": "shop"})).start();
    refuse(&server, "first");
    let (mut text, of_text) = follow(&server, &["--follow"]);
    let (mut json, of_json) = follow(&server, &["--follow", "--json"]);
    assert!(of_text.recv_timeout(LIMIT).unwrap().1.starts_with("TIME"));
    assert!(of_text.recv_timeout(LIMIT).unwrap().1.ends_with("401  Unknown API-KEY."));
    let first: Value = serde_json::from_str(&of_json.recv_timeout(LIMIT).unwrap().1).unwrap();
    assert_eq!((&first["key"], &first["status"]), (&Value::Null, &json!(401)));
    for n in 0..3 {
        if n == 2 {
            server.restart();
        }
        let refused = Instant::now();
        refuse(&server, "off");
        for lines in [&of_text, &of_json] {
            let (at, line) = lines.recv_timeout(LIMIT).unwrap();
            assert!(line.contains("shop") && line.contains("Your API-KEY is not online."), "{line}");
            // While the server restarts, the command asks once a second.
            let limit = Duration::from_secs(if n == 2 { 4 } else { 1 }) * crate::harness::slowness();
            assert!(at - refused < limit, "{:?}", at - refused);
        }
    }
    assert!(of_text.try_recv().is_err() && of_json.try_recv().is_err(), "each refusal is printed once");
    for child in [&mut text, &mut json] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    server.save("still served");
    assert_eq!(server.messages(), ["still served"]);
}
