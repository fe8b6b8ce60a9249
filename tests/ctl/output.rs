//! Tests that a closed pipe or a full disk ends a command without a panic.

use std::fs::OpenOptions;
use std::process::Stdio;

use crate::installation::{CommandOutput, Installation};
use crate::instance::{Instance, answer, chunked};

#[test]
fn a_closed_or_full_output_does_not_panic() {
    let installation = Installation::of_one();
    installation.systemctl_shows(&["ActiveState=active\n\nActiveState=active\n"]);
    let text = "x\n".repeat(100_000);
    let events = "id: A\ndata: x\n\n".repeat(10_000);
    let _instance =
        Instance::listen(&installation.path("run/sample1.sock"), move |asked| match asked.target.as_str() {
            "/moca-file-log/get-logs" => answer(200, &text),
            "/moca-file-log/tail" => chunked(&events),
            _ => answer(200, r#"[{"address":"::1","since":1,"reason":""}]"#),
        });
    for arguments in [
        &["version"][..],
        &["version", "--json"],
        &["--help"],
        &["check"],
        &["check", "--json"],
        &["key", "list"],
        &["get"],
        &["get", "--json"],
        &["get", "-n", "90000"],
        &["tail"],
        &["completions", "bash"],
        &["status", "--table"],
        &["block", "list"],
        &["turn-off"],
        &["key", "explain", "--key", "test-key", "--ip", "::1", "--path", "save-log"],
    ] {
        let mut command = installation.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = CommandOutput::of(&child.wait_with_output().unwrap());
        assert_eq!(output.status, 0, "{arguments:?}: {output:?}");

        let mut command = installation.command(arguments);
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        if arguments[0] == "--help" {
            continue;
        }
        let output = CommandOutput::of(&command.stdout(full).stderr(Stdio::piped()).output().unwrap());
        assert_eq!(output.status, 74, "{arguments:?}: {output:?}");
        assert!(output.err.contains("No space left"), "{output:?}");
    }
    let mut command = installation.command(&["get", "other"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(66), "stderr is closed as well");
}

#[test]
fn version_and_help_are_printed() {
    let installation = Installation::of_one();
    let number = env!("CARGO_PKG_VERSION");
    assert_eq!(installation.run(&["version"]).ok(), format!("MocaFileLog ({number})\n"));
    assert_eq!(installation.run(&["version", "--only-number"]).ok(), format!("{number}\n"));
    assert_eq!(installation.run(&["version", "--json"]).json()["version"], number);
    for mistake in ["gett", "generat", "generatee", "gen"] {
        let error = installation.run(&[mistake]).failed(64);
        assert!(!error.replace(mistake, "").contains("generate"), "{error}");
    }
    let help = installation.run(&["--help"]).ok();
    assert!(!help.contains("generate"), "{help}");
    for command in [
        "version",
        "run",
        "start",
        "stop",
        "restart",
        "status",
        "turn-off",
        "turn-on",
        "maintenance",
        "clear-logs",
        "update",
        "update-system",
        "reset-system",
        "check",
        "key",
        "passwd",
        "block",
        "get",
        "tail",
        "apply",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
        let help = installation.run(&[command, "--help"]).ok();
        assert!(help.contains("Usage: mocactl") && help.contains("Examples:\n  mocactl "), "{help}");
    }
}
