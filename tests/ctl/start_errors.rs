//! Tests that `mocactl check` finds everything that the server, `mocactl apply` and the generator
//! refuse. Each case asks the real program that refuses it.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Pair, free_port};
use crate::installation::{CommandOutput, Installation};

/// The program that refuses a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Server,
    /// `mocactl apply` and the generator, which have the same rules.
    Units,
}

/// A configuration that is refused.
struct Case {
    by: By,
    /// A part of the finding.
    words: &'static str,
    /// Options of the log `a`, besides its host, port and file.
    log: Value,
    arrange: fn(&Installation),
}

fn nothing(_: &Installation) {}

fn case(by: By, words: &'static str, log: Value, arrange: fn(&Installation)) -> Case {
    Case { by, words, log, arrange }
}

fn invalid_files() -> Vec<Case> {
    let broken = |file: &'static str, arrange: fn(&Installation)| case(By::Server, file, json!({}), arrange);
    vec![
        broken("log.json:", |i| i.write("log.json", "{")),
        broken("log.json: the file is missing", |i| fs::remove_file(i.config("log.json")).unwrap()),
        broken("log.json", |i| fs::write(i.config("log.json"), b"{\"a\": \"\xff\"}").unwrap()),
        broken("api_key.json:", |i| i.write("api_key.json", "[{\"key\": 5}]")),
        broken("system.json:", |i| i.write("system.json", "{\"dos_detect\": \"x\"}")),
        broken("server.json:", |i| i.write("server.json", "[]")),
        broken("ip_blacklist.json:", |i| i.write("ip_blacklist.json", "[\"x\"]")),
        broken("http.toml:", |i| i.write("http.toml", "workers = 0\n")),
        broken("http.toml", |i| fs::create_dir(i.config("http.toml")).unwrap()),
        case(By::Server, "level", json!({"level": "loud"}), nothing),
        case(By::Server, "rotate", json!({"rotate": {"max_size": "much"}}), nothing),
        case(By::Server, "port", json!({"port": 0}), nothing),
        case(By::Server, "use_ipv6", json!({"use_ipv6": true}), nothing),
    ]
}

fn certificates() -> Vec<Case> {
    fn with(i: &Installation, cert: &str, key: &str) {
        Pair::new().write(&i.config("tls"));
        i.write("server.json", &json!({"ssl": {"cert": cert, "key": key}}).to_string());
    }
    let pair = |words, arrange: fn(&Installation)| case(By::Server, words, json!({}), arrange);
    vec![
        pair("cannot be read", |i| with(i, "none.pem", "tls/key.pem")),
        pair("holds no private key", |i| with(i, "tls/cert.pem", "tls/cert.pem")),
        pair("not the private key", |i| {
            with(i, "tls/cert.pem", "other/key.pem");
            Pair::new().write(&i.config("other"));
        }),
        pair("ssl", |i| i.write("server.json", r#"{"ssl": {"cert": "tls/cert.pem"}}"#)),
    ]
}

fn files() -> Vec<Case> {
    let file = |words, arrange: fn(&Installation)| case(By::Server, words, json!({}), arrange);
    vec![
        file("not a regular file", |i| fs::create_dir(i.path("logs/a.log")).unwrap()),
        file("not a regular file", |i| {
            let made = Command::new("mkfifo").arg(i.path("logs/a.log")).status().unwrap();
            assert!(made.success());
        }),
        file("not a regular file", |i| symlink("/dev/null", i.path("logs/a.log")).unwrap()),
        file("not a regular file", |i| {
            drop(UnixListener::bind(i.path("logs/a.log")).unwrap());
        }),
        file("cannot be opened", |i| symlink("a.log", i.path("logs/a.log")).unwrap()),
        file("is missing", |i| symlink("/nowhere/else/a.log", i.path("logs/a.log")).unwrap()),
        case(By::Server, "Not a directory", json!({"file": "folder/a.log"}), |i| {
            fs::write(i.path("logs/folder"), "").unwrap();
        }),
        file("the log directory", |i| {
            fs::remove_dir(i.path("logs")).unwrap();
            fs::write(i.path("logs"), "").unwrap();
        }),
        file("the state directory", |i| {
            fs::remove_dir(i.path("state")).unwrap();
            fs::write(i.path("state"), "").unwrap();
        }),
        file("cannot be looked up", |i| {
            let log = i.read("log.json").replace("127.0.0.1", "no.such.host.invalid");
            i.write("log.json", &log);
        }),
    ]
}

fn units() -> Vec<Case> {
    vec![
        case(By::Units, "control character", json!({"file": "/srv/x\nExecStartPre=touch/a.log"}), nothing),
        case(By::Units, "control character", json!({"file": "/srv/tab\there/a.log"}), nothing),
        case(By::Units, "control character", json!({"file": "/srv/\u{7f}/a.log"}), nothing),
        case(By::Units, "control character", json!({"file": "/srv/\u{9b}/a.log"}), nothing),
        case(By::Units, "expected an IP address", json!({"host": "logs.example"}), nothing),
        case(By::Units, "is taken", json!({"host": "localhost"}), |i| add_log(i, "b", "127.0.0.1")),
        case(By::Units, "is taken", json!({"host": "::", "use_ipv6": true}), |i| {
            add_log(i, "b", "127.0.0.1");
        }),
        case(By::Units, "too long", json!({}), |i| add_log(i, &" ".repeat(58), "127.0.0.2")),
    ]
}

/// Adds a log with the port of the log `a`.
fn add_log(installation: &Installation, name: &str, host: &str) {
    let mut logs: Value = serde_json::from_str(&installation.read("log.json")).unwrap();
    logs[name] = json!({"host": host, "port": logs["a"]["port"], "file": "b.log"});
    installation.write("log.json", &logs.to_string());
}

/// Makes an installation on a machine that systemd runs or does not run.
fn installation(case: &Case) -> Installation {
    let mut log = json!({"host": "127.0.0.1", "port": free_port(), "file": "a.log"});
    for (option, value) in case.log.as_object().unwrap() {
        log[option] = value.clone();
    }
    let installation = Installation::new(&json!({"a": log}));
    if case.by == By::Units {
        fs::create_dir_all(installation.path("run/systemd/system")).unwrap();
        // The generator reads the configuration below its root directory.
        fs::create_dir(installation.path("etc")).unwrap();
        symlink("../config", installation.path("etc/moca-file-log")).unwrap();
    }
    (case.arrange)(&installation);
    installation
}

/// Starts the server, which must refuse.
fn server_refuses(installation: &Installation) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moca-file-log"));
    command.arg("a").stdin(Stdio::null());
    for (option, folder) in
        [("--config-dir", "config"), ("--log-dir", "logs"), ("--state-dir", "state"), ("--run-dir", "run")]
    {
        command.arg(option).arg(installation.path(folder));
    }
    // A server that starts is ended by `timeout` with the status 124.
    let mut limited = Command::new("timeout");
    limited.arg("20").arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    let output = CommandOutput::of(&limited.output().unwrap());
    assert!((64..=78).contains(&output.status), "the server does not refuse: {output:?}");
    output.err
}

fn units_refuse(installation: &Installation) -> String {
    let applied = installation.run(&["apply"]);
    assert_ne!(applied.status, 0, "apply does not refuse: {applied:?}");
    assert!(installation.calls("systemctl").is_empty(), "apply changed units");
    let out = installation.path("out");
    let generator = Command::new(env!("CARGO_BIN_EXE_moca-file-log-generator"))
        .arg(&out)
        .env("MOCA_FILE_LOG_ROOT", installation.root())
        .output()
        .unwrap();
    let messages = String::from_utf8(generator.stderr).unwrap();
    assert!(!messages.is_empty(), "the generator does not refuse");
    messages
}

#[test]
fn check_finds_what_others_refuse() {
    for case in invalid_files().into_iter().chain(certificates()).chain(files()).chain(units()) {
        let installation = installation(&case);
        let output = installation.run(&["check"]);
        let refused = match case.by {
            By::Server => server_refuses(&installation),
            By::Units => units_refuse(&installation),
        };
        assert_eq!(output.status, 78, "check finds nothing ({}): {output:?}\n{refused}", case.words);
        assert!(output.out.contains(case.words), "{}: {output:?}\n{refused}", case.words);
    }
}

#[test]
fn a_hook_without_its_interpreter_is_found() {
    let installation = Installation::of_one();
    installation.write("startup.py", "");
    let output = installation.command(&["check"]).env("PATH", "/nowhere").output().unwrap();
    let output = CommandOutput::of(&output);
    assert!(output.status == 78 && output.out.contains("needs `python3`"), "{output:?}");
}

#[test]
fn two_names_of_one_file_are_found() {
    let installation = Installation::new(&json!({
        "a": {"host": "127.0.0.1", "port": 5700, "file": "a.log"},
        "b": {"host": "127.0.0.1", "port": 5701, "file": "b.log"},
    }));
    fs::write(installation.path("logs/a.log"), "").unwrap();
    symlink("a.log", installation.path("logs/b.log")).unwrap();
    let output = installation.run(&["check"]);
    assert!(output.status == 78 && output.out.contains("is the file of log `a`"), "{output:?}");
}

#[test]
fn the_name_of_a_host_is_an_error_only_where_systemd_runs() {
    let log = json!({"a": {"host": "localhost.localdomain", "port": 5700, "file": "a.log"}});
    let installation = Installation::new(&log);
    // The name may be unknown here, and then the server refuses it as well.
    let without = installation.run(&["check", "--json"]).json();
    let errors = without["errors"].as_array().unwrap();
    assert!(errors.iter().all(|error| error["message"].as_str().unwrap().contains("looked up")), "{without}");
    assert!(without["warnings"].to_string().contains("expected an IP address"), "{without}");
    fs::create_dir_all(installation.path("run/systemd/system")).unwrap();
    let with = installation.run(&["check", "--json"]).json();
    assert!(with["errors"].to_string().contains("expected an IP address"), "{with}");
}
