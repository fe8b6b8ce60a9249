//! Tests of `mocactl get`, `tail` and `clear-logs`, through the admin socket.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, Setup};
use crate::installation::{CommandOutput, Installation, entry};
use crate::instance::{Instance, answer, chunked, problem};

fn line(number: usize) -> String {
    format!(
        "[INFO](2026-11-23 05:02:29.{number:06}+00:00)<203.0.113.7|web|save-log|4711|{number}>message {number}\n"
    )
}

fn text(count: usize) -> String {
    (1..=count).map(line).collect()
}

/// Starts a fake instance that answers as the service does, with this content, which the test can
/// change.
fn log(installation: &Installation, content: &str) -> (Instance, Arc<Mutex<String>>) {
    let shared = Arc::new(Mutex::new(content.to_owned()));
    let file = Arc::clone(&shared);
    let instance = Instance::listen(&installation.path("run/sample1.sock"), move |asked| {
        let mut text = file.lock().unwrap();
        match asked.target.as_str() {
            "/moca-file-log/get-logs" | "/moca-file-log/get-latest-logs" => chunked(&text),
            "/moca-file-log/clear-logs" if asked.method == "POST" => {
                text.clear();
                answer(200, "success.")
            }
            _ => problem(404, "Not found."),
        }
    });
    (instance, shared)
}

#[test]
fn get_requests_the_selection_and_prints_the_reply() {
    let installation = Installation::of_one();
    let (instance, _shared) = log(&installation, &text(5000));
    assert_eq!(installation.run(&["get"]).ok(), text(5000));
    assert_eq!(installation.run(&["get", "-n", "0"]).ok(), "", "nothing is asked for");
    let latest = ["get", "sample1", "-n", "3", "--json"];
    installation.run(&latest).ok();
    let all = [
        "get",
        "--since",
        "yesterday 03:00",
        "--until",
        "15m",
        "--level",
        "warn",
        "--contains",
        "a \"b\"",
        "--contains=--c",
        "--regex",
        "^x\\d",
        "--client",
        "10.0.0.0/8",
        "--client",
        "local",
        "--key",
        "web",
        "--limit",
        "7",
        "--order",
        "desc",
        "--cursor",
        "C",
        "--output",
        "json",
    ];
    installation.run(&all).ok();
    let asked: Vec<(String, Value)> = instance
        .asked()
        .into_iter()
        .map(|asked| {
            (format!("{} {}", asked.method, asked.target), serde_json::from_str(&asked.body).unwrap())
        })
        .collect();
    let expected = [
        ("POST /moca-file-log/get-logs", json!({"output": "text"})),
        ("POST /moca-file-log/get-latest-logs", json!({"output": "ndjson", "limit": 3, "order": "asc"})),
        (
            "POST /moca-file-log/get-logs",
            json!({
                "since": "yesterday 03:00", "until": "15m", "level": "warn", "contains": ["a \"b\"", "--c"], "regex": "^x\\d",
                "client": ["10.0.0.0/8", "local"], "key": ["web"], "limit": 7, "order": "desc", "cursor": "C", "output": "json",
            }),
        ),
    ];
    assert_eq!(asked, expected.map(|(target, body)| (target.to_owned(), body)));
}

#[test]
fn an_empty_selection_of_a_log_with_foreign_lines_is_explained() {
    let setup = Setup::new();
    let path = setup.log_path();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "Nov 23 05:02:29 host app: payment refused\n").unwrap();
    let (server, installation) = served_with(setup);
    let note = "1 of its lines are not records";
    for arguments in [&["get", "--level", "error"][..], &["get", "--since", "1h", "--output", "json"]] {
        let output = installation.run(arguments);
        assert!(output.status == 0 && output.err.contains(note), "{arguments:?}: {output:?}");
    }
    // Nothing is explained where something is found, and where nothing was selected.
    for arguments in [&["get", "--contains", "payment"][..], &["get"], &["get", "-n", "3"]] {
        let output = installation.run(arguments);
        assert!(output.err.is_empty() && output.out.contains("payment"), "{arguments:?}: {output:?}");
    }
    let following = Following::start(&installation, &["tail", "--level", "error"]);
    assert!(following.complaints.recv_timeout(Duration::from_secs(10)).unwrap().contains(note));
    server.save_with(&json!({"message": "something", "level": 3})).success();
    following.expect(&format!("{}\n", server.log_lines()[1]));
    let output = installation.run(&["get", "--level", "critical"]);
    assert!(output.err.contains(note), "{output:?}");
    std::fs::write(&path, "").unwrap();
    server.save("ours");
    let output = installation.run(&["get", "--level", "error"]);
    assert!(output.err.is_empty() && output.out.is_empty(), "{output:?}");
}

#[test]
fn get_prints_the_reason_of_a_refusal_and_the_oldest_cursor() {
    let installation = Installation::of_one();
    let _instance = Instance::listen(&installation.path("run/sample1.sock"), |asked| {
        if asked.body.contains("cursor") {
            return answer(410, r#"{"status": 410, "detail": "Gone.", "oldest": "OLDEST"}"#);
        }
        answer(
            400,
            r#"{"status": 400, "detail": "since parameter format error.", "reason": "expected a time"}"#,
        )
    });
    let output = installation.run(&["get", "--since", "soon"]);
    assert_eq!(output.status, 64, "{output:?}");
    assert!(output.err.contains("since parameter format error. expected a time"), "{output:?}");
    let output = installation.run(&["get", "--cursor", "C"]);
    assert_eq!(output.status, 66, "{output:?}");
    assert!(output.err.contains("OLDEST"), "{output:?}");
    for wrong in
        [&["--limit", "0"][..], &["--order", "up"], &["--output", "xml"], &["-n", "1", "--limit", "2"]]
    {
        assert_eq!(installation.run(&[&["get"], wrong].concat()).status, 64, "{wrong:?}");
    }
}

struct Following {
    child: Child,
    lines: Receiver<String>,
    complaints: Receiver<String>,
}

impl Following {
    fn start(installation: &Installation, arguments: &[&str]) -> Self {
        let mut command = installation.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = receive(child.stdout.take().unwrap());
        let complaints = receive(child.stderr.take().unwrap());
        Self { child, lines, complaints }
    }

    fn expect(&self, expected: &str) {
        let heard = self.lines.recv_timeout(Duration::from_secs(10)).expect("a line");
        assert_eq!(format!("{heard}\n"), expected);
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn receive(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Starts a server, and makes an installation that uses the admin socket of this server.
fn served() -> (Server, Installation) {
    served_with(Setup::new())
}

fn served_with(setup: Setup) -> (Server, Installation) {
    let server = setup.with_admin_socket().start();
    let installation = Installation::of_one();
    std::os::unix::fs::symlink(server.admin_socket(), installation.path("run/sample1.sock")).unwrap();
    (server, installation)
}

#[test]
fn tail_prints_the_latest_records_and_new_ones() {
    let (server, installation) = served();
    (1..=20).for_each(|number| server.save(&format!("message {number}")));
    let following = Following::start(&installation, &["tail"]);
    let lines = server.log_lines();
    lines[10..].iter().for_each(|line| following.expect(&format!("{line}\n")));
    for number in 21..=60 {
        server.save(&format!("message {number}"));
    }
    server.log_lines()[20..].iter().for_each(|line| following.expect(&format!("{line}\n")));
    server.root_get("clear-logs").success();
    server.save("after the clear");
    following.expect(&format!("{}\n", server.log_lines()[0]));
    assert!(following.lines.recv_timeout(Duration::from_millis(300)).is_err(), "nothing twice");
    assert!(following.complaints.try_recv().is_err(), "nothing to complain of");
}

#[test]
fn tail_prints_lines_that_another_program_appends() {
    let (server, installation) = served();
    server.save("ours");
    let following = Following::start(&installation, &["tail"]);
    following.expect(&format!("{}\n", server.log_lines()[0]));
    let objects = Following::start(&installation, &["tail", "--json", "--contains", "bob"]);
    for number in 1..=2 {
        let line = format!("{} \\| user=bob\n", line(number).trim_end());
        let mut file = std::fs::OpenOptions::new().append(true).open(server.log_path()).unwrap();
        file.write_all(line.as_bytes()).unwrap();
        following.expect(&line);
    }
    let object: Value =
        serde_json::from_str(&objects.lines.recv_timeout(Duration::from_secs(10)).unwrap()).unwrap();
    assert_eq!(object["fields"], json!({"user": "bob"}));
}

#[test]
fn tail_prints_the_selected_records() {
    let (server, installation) = served();
    server.save_with(&json!({"message": "an old error", "level": "error"})).success();
    server.save("nothing");
    let errors = Following::start(&installation, &["tail", "--level", "error", "--json"]);
    let since = Following::start(&installation, &["tail", "--since", "1h", "--contains", "thing"]);
    let none = Following::start(&installation, &["tail", "-n", "0", "--regex", "^some"]);
    let object = |following: &Following| -> Value {
        serde_json::from_str(&following.lines.recv_timeout(Duration::from_secs(10)).unwrap()).unwrap()
    };
    assert_eq!(object(&errors)["message"], "an old error");
    since.expect(&format!("{}\n", server.log_lines()[1]));
    std::thread::sleep(Duration::from_millis(300));
    server.save_with(&json!({"message": "something new", "level": "critical"})).success();
    assert_eq!(object(&errors)["message"], "something new");
    let line = format!("{}\n", server.log_lines()[2]);
    since.expect(&line);
    none.expect(&line);
    for (arguments, word) in
        [(&["tail", "--regex", "("][..], "regex"), (&["tail", "--since", "soon"], "since")]
    {
        assert!(installation.run(arguments).failed(64).contains(word), "{arguments:?}");
    }
    installation.run(&["tail", "--since", "1h", "-n", "3"]).failed(64);
}

#[test]
fn tail_loses_nothing_over_restarts_and_kills() {
    let (mut server, installation) = served();
    let following = Following::start(&installation, &["tail", "-n", "100"]);
    let mut sent = Vec::new();
    for round in 0..6 {
        for number in 0..50 {
            let message = format!("{round} {number}");
            server.save(&message);
            sent.push(message);
        }
        if round % 2 == 0 {
            server.kill9();
        } else {
            assert!(server.stop().success());
        }
        server.respawn();
    }
    for message in &sent {
        let line = following.lines.recv_timeout(Duration::from_secs(20)).expect("a line");
        assert!(line.ends_with(&format!(">{message}")), "{line} instead of {message}");
    }
    assert!(following.lines.recv_timeout(Duration::from_millis(300)).is_err(), "nothing twice");
}

#[test]
fn tail_reports_that_the_log_was_cleared() {
    let (mut server, installation) = served();
    server.save("first");
    let following = Following::start(&installation, &["tail"]);
    following.expect(&format!("{}\n", server.log_lines()[0]));
    let socket = installation.path("run/sample1.sock");
    let away = installation.path("run/away");
    std::fs::rename(&socket, &away).unwrap();
    assert!(server.stop().success());
    server.respawn();
    assert!(following.complaints.recv().unwrap().contains("waiting for it"));
    server.save("never seen");
    server.root_get("clear-logs").success();
    server.save("what is left");
    std::fs::rename(&away, &socket).unwrap();
    assert!(following.complaints.recv().unwrap().contains("cleared or rotated"));
    following.expect(&format!("{}\n", server.log_lines()[0]));

    let mut command = installation.command(&["tail"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(child.wait().unwrap().success(), "tail notices the closed pipe without a new line");
}

#[test]
fn clear_logs_asks_for_confirmation() {
    let two = json!({"sample1": entry(5700, "a.log"), "other": entry(5701, "b.log")});
    let installation = Installation::new(&two);
    let (_instance, shared) = log(&installation, &text(3));
    let error = installation.run_with(&["clear-logs", "sample1"], "y\n").failed(64);
    assert!(error.contains("--yes"), "{error}");
    assert_eq!(*shared.lock().unwrap(), text(3));
    installation.run(&["clear-logs", "sample1", "--yes"]).ok();
    assert_eq!(*shared.lock().unwrap(), "");
    // The other logs are cleared as well. The exit status is that of the failure.
    shared.lock().unwrap().push('x');
    let output = installation.run(&["clear-logs", "--all", "-y"]);
    assert!(
        output.out.contains("sample1: every line is removed") && output.err.contains("other"),
        "{output:?}"
    );
    assert_eq!((output.status, &**shared.lock().unwrap()), (69, ""));
}

#[test]
fn the_reason_of_the_instance_is_printed() {
    for (code, detail, status) in [
        (403, "This socket is for root and the service's group.", 77),
        (404, "Not found.", 66),
        (429, "Too many requests.", 75),
        (503, "The disk is full.\u{1b}[2J\n", 75),
    ] {
        let installation = Installation::of_one();
        let _instance =
            Instance::listen(&installation.path("run/sample1.sock"), move |_| problem(code, detail));
        for arguments in
            [&["get"][..], &["get", "-n", "3"], &["tail"], &["clear-logs", "--all"], &["block", "list"]]
        {
            let error = installation.run(arguments).failed(status);
            let words = detail.split('\u{1b}').next().unwrap();
            assert!(error.contains(words) && !error.contains('\u{1b}'), "{error}");
        }
    }
}

#[test]
fn malformed_and_cut_replies_are_errors() {
    for (bytes, status) in [
        (&b""[..], 75),
        (b"SSH-2.0-x\r\n", 75),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", 75),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 75),
    ] {
        let installation = Installation::of_one();
        let _instance = Instance::listen(&installation.path("run/sample1.sock"), move |_| bytes.to_vec());
        let error = installation.run(&["get"]).failed(status);
        assert!(error.contains("sample1: talking to"), "{error}");
    }
}

#[test]
fn an_absent_instance_is_an_error() {
    let installation = Installation::of_one();
    for arguments in [&["get"][..], &["tail"], &["clear-logs", "--all"], &["block", "list"]] {
        let error = installation.run(arguments).failed(69);
        assert!(error.contains(" run sample1`"), "{error}");
    }
    let two = Installation::new(&json!({"a": entry(5700, "a.log"), "b": entry(5701, "b.log")}));
    let error = CommandOutput::failed(two.run(&["get"]), 64);
    assert!(error.contains("Name one of a, b"), "{error}");
}
