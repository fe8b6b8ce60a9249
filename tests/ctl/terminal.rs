//! Tests that nothing which a file or a client holds controls the terminal of the operator. They use a
//! real terminal.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use nix::pty::openpty;
use serde_json::json;

use crate::harness::{KEY, Server, Setup};
use crate::installation::{CommandOutput, Installation};

/// A title, a colour, a cursor movement in 8 bits, a deletion, a bell, a reversed text.
const HOSTILE: &[u8] =
    b"\x1b]0;pwned\x07\x1b[31mforeign \xc2\x9b2J\x9b2J\x7f\x08 \xe2\x80\xaeevil\xe2\x81\xa6 \r end\n";

/// What a terminal gets of [`HOSTILE`].
const SHOWN: &str =
    "\\u{1b}]0;pwned\\u{7}\\u{1b}[31mforeign \\u{9b}2J\\x9b2J\\u{7f}\\u{8} \\u{202e}evil\\u{2066} \\r end";

/// Runs a command in a terminal of its own, without colours, and returns what the terminal got.
fn in_terminal(command: &mut Command) -> Vec<u8> {
    attached(command.env("NO_COLOR", "1"))
}

/// Runs a command in a terminal of its own, and returns what the terminal got.
fn attached(command: &mut Command) -> Vec<u8> {
    let pty = openpty(None, None).expect("a terminal");
    let end = || Stdio::from(pty.slave.try_clone().expect("duplicate a terminal"));
    command.env("TERM", "xterm").stdin(Stdio::null()).stdout(end()).stderr(end());
    let mut child = command.spawn().expect("run mocactl");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    drop(pty.slave);
    let mut master = File::from(pty.master);
    let mut shown = Vec::new();
    let mut piece = [0; 4096];
    // A read from a terminal that was closed ends with EIO.
    while let Ok(count) = master.read(&mut piece) {
        if count == 0 {
            break;
        }
        shown.extend_from_slice(&piece[..count]);
        if shown.ends_with(b"the last line\r\n") {
            child.kill().expect("end a command that follows");
        }
    }
    child.wait().expect("wait for mocactl");
    shown
}

/// Returns the text that a terminal got. Panics if it holds anything that a terminal obeys, except
/// line ends.
fn harmless(what: &str, shown: Vec<u8>) -> String {
    let text =
        String::from_utf8(shown).unwrap_or_else(|error| panic!("{what}: {error}")).replace("\r\n", "\n");
    for character in text.chars() {
        let obeyed = character.is_control() && !matches!(character, '\n' | '\t')
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        assert!(!obeyed, "{what}: {character:?} in {text:?}");
    }
    text
}

/// Makes an installation with a server whose log another program wrote as well.
fn adopted(name: &str) -> (Installation, Server) {
    let server = Setup::new().named(name).with_admin_socket().start();
    server.save("first");
    let mut file = OpenOptions::new().append(true).open(server.log_path()).expect("open the log");
    file.write_all(HOSTILE).expect("append a line");
    server.save("the last line");
    let log = std::fs::read_to_string(server.config_path("log.json")).expect("read log.json");
    let installation = Installation::new(&serde_json::from_str(&log).expect("JSON"));
    symlink(server.admin_socket(), installation.path(&format!("run/{name}.sock"))).expect("link the socket");
    installation.systemctl_shows(&["ActiveState=active\nSubState=running\n\nActiveState=active\n"]);
    (installation, server)
}

#[test]
fn lines_of_other_programs_are_escaped_on_a_terminal_only() {
    let (installation, server) = adopted("sample1");
    // A stream of events has no carriage returns: there it ends a line.
    for (arguments, expected) in [(&["get"][..], SHOWN), (&["tail", "-n", "9"], &SHOWN[..SHOWN.len() - 7])] {
        let shown = harmless(arguments[0], in_terminal(&mut installation.command(arguments)));
        assert!(shown.contains(expected), "{arguments:?}: {shown}");
        assert!(shown.ends_with("the last line\n"), "{arguments:?}: {shown}");
    }
    let shown = harmless("ndjson", in_terminal(&mut installation.command(&["get", "--json"])));
    for line in shown.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    let piped = installation.command(&["get"]).output().unwrap();
    assert_eq!(piped.stdout, std::fs::read(server.log_path()).unwrap(), "a pipe gets the bytes");
}

#[test]
fn names_and_files_are_escaped_on_a_terminal() {
    let name = "a\u{202e}b";
    let (installation, _server) = adopted(name);
    let hostile = "k\u{9b}31m\u{202e}\u{1b}[2J\u{7f}";
    installation.write(
        "api_key.json",
        &json!([{"key": KEY, "name": name, "status": true, "info": hostile}]).to_string(),
    );
    for arguments in [
        &["status", "--table"][..],
        &["status", "--json"],
        &["top", "--once", "--interval", "0.1"],
        &["top", "--json", "--interval", "0.1"],
        &["block", "list"],
        &["key", "list"],
        &["key", "list", "--json"],
        &["key", "explain", "--key", KEY, "--ip", "::1", "--path", "save-log"],
        &["turn-off"],
        &["check"],
        &["check", "--json"],
        &["clear-logs"],
        &["get", "unknown\u{202e}"],
        &["key", "add", "--rate", hostile],
    ] {
        harmless(&format!("{arguments:?}"), in_terminal(&mut installation.command(arguments)));
    }
    // Findings and errors quote the files.
    let quoted = json!({name: {"host": hostile, "port": 1, "file": hostile, "level": hostile}}).to_string();
    for text in [quoted, "{\"a\u{202e}\u{9b}\": x\u{1b}[31m}".to_owned()] {
        installation.write("log.json", &text);
        for arguments in [&["check"][..], &["check", "--json"], &["status"], &["apply"], &["get"]] {
            let shown =
                harmless(&format!("{arguments:?}"), in_terminal(&mut installation.command(arguments)));
            assert!(shown.contains("log.json"), "{arguments:?}: {shown}");
        }
    }
}

#[test]
fn colours_are_still_colours() {
    let (installation, _server) = adopted("sample1");
    let shown = attached(installation.command(&["status", "--table"]).env_remove("NO_COLOR"));
    assert!(String::from_utf8_lossy(&shown).contains("\u{1b}[32mrunning\u{1b}[0m"), "{shown:?}");
}

#[test]
fn fields_are_dimmed_and_escaped() {
    let (installation, server) = adopted("sample1");
    let head = "[INFO](2100-11-23 05:02:29.805789+00:00)<192.0.2.7|web|save-log|7|1>";
    let fields =
        " \\| at=2026-11-23T05:02:28.100000Z user=\u{202e}bob path=\"C:\\\\new \\u{1b}[2J \u{200f}\"";
    let lines = [
        ("hello", fields),
        ("escaped \\\\| user=eve", ""),
        ("not all \\| fields", ""),
        ("the last line", ""),
    ];
    let lines = lines.map(|(message, fields)| format!("{head}{message}{fields}\n"));
    let mut file = OpenOptions::new().append(true).open(server.log_path()).expect("open the log");
    file.write_all(lines.concat().as_bytes()).expect("append lines");
    let shown_fields = fields.replace('\u{202e}', "\\u{202e}").replace('\u{200f}', "\\u{200f}");
    for arguments in [&["get"][..], &["get", "-n", "4"], &["tail", "-n", "4"]] {
        let shown = attached(installation.command(arguments).env_remove("NO_COLOR"));
        let shown = String::from_utf8(shown).expect("UTF-8").replace("\r\n", "\n");
        let dimmed = format!("{head}hello\u{1b}[2m{shown_fields}\u{1b}[0m\n");
        assert!(shown.contains(&dimmed), "{arguments:?}: {shown:?}");
        assert_eq!(shown.matches('\u{1b}').count(), 2, "{arguments:?}: {shown:?}");
        assert!(shown.ends_with(&lines[1..].concat()), "{arguments:?}: {shown:?}");
        // Without colours, the line is the same but for the colours.
        let plain = harmless(arguments[0], in_terminal(&mut installation.command(arguments)));
        assert!(plain.contains(&format!("{head}hello{shown_fields}\n")), "{arguments:?}: {plain}");
    }
    let shown = harmless("json", in_terminal(&mut installation.command(&["get", "-n", "4", "--json"])));
    let object: serde_json::Value =
        serde_json::from_str(shown.lines().next().expect("a line")).expect("JSON");
    assert_eq!(object["fields"]["user"], "\u{202e}bob");
    let piped = installation.command(&["get"]).output().expect("run mocactl");
    assert_eq!(piped.stdout, std::fs::read(server.log_path()).expect("the log"), "a pipe gets the bytes");
}

#[test]
fn clearing_all_logs_needs_the_word_or_the_option() {
    let (installation, server) = adopted("sample1");
    let lines = || std::fs::read(server.log_path()).unwrap().len();
    // A script without a terminal, and --yes, do not clear all logs by a forgotten name.
    for arguments in [&["clear-logs"][..], &["clear-logs", "--yes"]] {
        let error = installation.run(arguments).failed(64);
        assert!(error.contains("--all"), "{error}");
    }
    installation.run(&["clear-logs", "--all", "sample1"]).failed(64);
    let answer = |arguments: &[&str], word: &str| {
        let pty = openpty(None, None).unwrap();
        let mut master = File::from(pty.master);
        let mut command = installation.command(arguments);
        command.stdin(Stdio::from(pty.slave)).stdout(Stdio::piped()).stderr(Stdio::piped());
        master.write_all(format!("{word}\n").as_bytes()).unwrap();
        CommandOutput::of(&command.output().unwrap())
    };
    for word in ["y", "yes", "sample1", "ALL", ""] {
        for arguments in [&["clear-logs"][..], &["clear-logs", "--all"]] {
            let output = answer(arguments, word);
            assert_eq!(output.status, 1, "{output:?}");
            assert!(output.err.contains("Type all to go on") && output.err.contains("Nothing was changed"));
        }
    }
    assert_eq!(answer(&["clear-logs", "sample1"], "all").status, 1, "a name needs y");
    assert!(lines() > 0);
    assert_eq!(answer(&["clear-logs"], "all").status, 0);
    assert_eq!(lines(), 0);
    for arguments in [&["clear-logs", "--all"][..], &["clear-logs", "--all", "--yes"]] {
        server.save("more");
        installation.run(arguments).ok();
        assert_eq!(lines(), 0);
    }
}
